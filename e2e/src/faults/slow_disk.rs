//! A disk that can be slow, as one with faults that are mended by trying again: while it is, it takes no writes but for a
//! moment now and then, so each write and flush waits for the next such moment. Reads are as fast as ever.
//!
//! Between those moments its file system is frozen, which is the same on every kernel and needs no device mapper.

use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::frozen::Frozen;
use super::loop_disk::LoopDisk;

/// How long it takes writes between two pauses.
const MOMENT: Duration = Duration::from_millis(2);

/// The disk, mounted. Dropped, it is as fast as ever, and unmounted.
#[derive(Debug)]
pub struct SlowDisk {
    // It is thawed before it is unmounted: fields are dropped in this order.
    slow: Option<Slow>,
    disk: LoopDisk,
}

impl SlowDisk {
    /// Mounts one at `place` that is not slow yet, made of a file beside it. To be called [in own
    /// namespaces](super::in_own_namespaces).
    ///
    /// # Errors
    /// When it can't be made or mounted.
    pub fn mount(place: PathBuf) -> Result<Self> {
        let disk = LoopDisk::mount(place, "noatime")?;
        Ok(Self { slow: None, disk })
    }

    /// From now on it pauses for so long between two moments in which it takes writes.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn slow_down(&mut self, pause: Duration) -> Result<()> {
        self.slow = None;
        self.slow = Some(Slow::start(self.disk.place().to_owned(), pause)?);
        Ok(())
    }

    /// From now on it is as fast as ever.
    ///
    /// # Errors
    /// When it was not slow, or the kernel refused meanwhile.
    pub fn speed_up(&mut self) -> Result<()> {
        self.slow.take().context("the disk was not slow")?.end()
    }

    /// How long a small write of one's own takes, flush included.
    ///
    /// # Errors
    /// When it fails.
    pub fn write_takes(&self) -> Result<Duration> {
        let (began, path) = (Instant::now(), self.disk.place().join("probe"));
        let file = std::fs::File::create(&path)?;
        std::io::Write::write_all(&mut &file, b"probe")?;
        file.sync_data()?;
        let took = began.elapsed();
        std::fs::remove_file(path)?;
        Ok(took)
    }
}

/// What makes it slow. Dropped, it ends.
#[derive(Debug)]
struct Slow {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Slow {
    fn start(place: PathBuf, pause: Duration) -> Result<Self> {
        let (stop, stopped) = mpsc::channel::<()>();
        let mut frozen = Frozen::new(place.clone())?;
        let thread = std::thread::spawn(move || {
            loop {
                let over = stopped.recv_timeout(pause) != Err(RecvTimeoutError::Timeout);
                frozen.thaw()?;
                if over {
                    return Ok(());
                }
                std::thread::sleep(MOMENT);
                frozen = Frozen::new(place.clone())?;
            }
        });
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    fn end(mut self) -> Result<()> {
        self.join()
    }

    fn join(&mut self) -> Result<()> {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        ended.map_or(Ok(()), |ended| ended.expect("it does not panic"))
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        if let Err(error) = self.join() {
            eprintln!("{error:#}");
        }
    }
}
