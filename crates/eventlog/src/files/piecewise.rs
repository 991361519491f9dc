//! Writing much while the log is written too. What is written lies in memory until it is flushed, and a flush of the log,
//! which commands wait for, would wait for all of it; so it is flushed piece by piece, with the disk left to others between
//! two.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How much is flushed at a time, in bytes: some milliseconds of a common disk.
pub(crate) const PIECE: usize = 1 << 20;

/// The longest pause: a disk that took longer for a flush was busy with more than this.
const LONGEST: Duration = Duration::from_millis(100);

/// Whether somebody waits for what is written; may change while it is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Haste(Arc<AtomicBool>);

impl Haste {
    /// Somebody does.
    pub(crate) fn now() -> Self {
        let haste = Self::default();
        haste.begin();
        haste
    }

    /// From here on somebody does.
    pub(crate) fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_there(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Writes to the end of a file. Blocks, and without haste pauses after each piece for as long as its flush took.
pub(crate) struct Piecewise<'a> {
    file: &'a File,
    haste: &'a Haste,
    unflushed: usize,
}

impl<'a> Piecewise<'a> {
    pub(crate) const fn new(file: &'a File, haste: &'a Haste) -> Self {
        Self {
            file,
            haste,
            unflushed: 0,
        }
    }

    /// Flushes what is left, and the file's own data.
    pub(crate) fn finish(self) -> io::Result<()> {
        self.file.sync_all()
    }
}

impl Write for Piecewise<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = &bytes[..bytes.len().min(PIECE - self.unflushed)];
        let mut file = self.file;
        let count = file.write(bytes)?;
        self.unflushed += count;
        if self.unflushed == PIECE {
            let begun = Instant::now();
            file.sync_data()?;
            if !self.haste.is_there() {
                thread::sleep(begun.elapsed().min(LONGEST));
            }
            self.unflushed = 0;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
