//! The next segment's file, zeroed ahead of need by a thread of its own, so that rolling to a new segment
//! does not wait for megabytes of zeros to be flushed.

use std::io;
use std::path::PathBuf;
use std::thread::JoinHandle;

use super::file::write_zeroed;
use crate::files::Haste;

/// Files smaller than this are zeroed on the spot.
const WORTH_A_THREAD: u64 = 1 << 20;

/// The thread that makes it.
#[derive(Debug)]
struct Making {
    thread: JoinHandle<io::Result<()>>,
    /// Set when the file is wanted.
    haste: Haste,
}

/// The file that becomes the next segment.
#[derive(Debug)]
pub(super) struct Spare {
    path: PathBuf,
    size: u64,
    making: Option<Making>,
}

impl Spare {
    /// Begins to make a file of `size` bytes at `path`, over what an earlier process left there.
    pub(super) fn new(path: PathBuf, size: u64) -> Self {
        let mut spare = Self {
            path,
            size,
            making: None,
        };
        spare.prepare();
        spare
    }

    /// A zeroed file of at least `size` bytes, and its size. It has to be renamed before [`Self::prepare`].
    pub(super) fn take(&mut self, size: u64) -> io::Result<(PathBuf, u64)> {
        let made = match self.making.take() {
            Some(Making { thread, haste }) => {
                haste.begin();
                thread
                    .join()
                    .map_err(|_| io::Error::other("the zeroing thread panicked"))?
                    .is_ok()
            }
            None => false,
        };
        let wanted = size.max(self.size);
        if !(made && wanted == self.size) {
            write_zeroed(&self.path, wanted, &Haste::now())?;
        }
        Ok((self.path.clone(), wanted))
    }

    /// Begins to make the next one.
    pub(super) fn prepare(&mut self) {
        if self.size < WORTH_A_THREAD {
            return;
        }
        let (path, size, haste) = (self.path.clone(), self.size, Haste::default());
        let wanted = haste.clone();
        let thread = std::thread::Builder::new().name("log-spare".to_owned());
        // Without a thread the next roll makes its file itself.
        let thread = thread.spawn(move || write_zeroed(&path, size, &haste));
        let making = |thread| Making {
            thread,
            haste: wanted,
        };
        self.making = thread.ok().map(making);
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        if let Some(Making { thread, haste }) = self.making.take() {
            haste.begin();
            // Its result matters to nobody any more.
            let _ = thread.join();
        }
    }
}
