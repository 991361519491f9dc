//! The snapshot that another replica is sending: kept in a file while connections break, until it is whole.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::files::Dir;

const SUFFIX: &str = ".part";

/// Where the pieces go. One snapshot at a time.
#[derive(Clone)]
pub(crate) struct Incoming {
    dir: Arc<Dir>,
    /// Held by whoever answers a piece.
    pub(crate) one: Arc<tokio::sync::Mutex<()>>,
}

/// A piece of a snapshot.
pub(crate) struct Piece {
    /// Of the whole snapshot: its name on the way.
    pub(crate) digest: [u8; 32],
    /// Of the whole snapshot, in bytes.
    pub(crate) size: u64,
    pub(crate) offset: u64,
    pub(crate) data: bytes::Bytes,
}

/// What came of a piece.
pub(crate) enum Progress {
    /// The next one should begin there.
    Wanted(u64),
    /// All are there.
    Whole(File),
}

impl Incoming {
    pub(crate) fn new(dir: Arc<Dir>) -> Self {
        Self {
            dir,
            one: Arc::default(),
        }
    }

    /// Takes a piece; one that does not begin where the file ends changes nothing. Pieces of another snapshot than
    /// before take its place. Blocks.
    pub(crate) fn take(&self, piece: &Piece) -> io::Result<Progress> {
        let path = self.path(&piece.digest);
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.clear()?;
                let new = OpenOptions::new()
                    .read(true)
                    .write(true)
                    .create_new(true)
                    .open(&path);
                new?
            }
            Err(error) => return Err(error),
        };
        let mut have = file.metadata()?.len();
        if piece.offset == have && have + piece.data.len() as u64 <= piece.size {
            file.write_all_at(&piece.data, have)?;
            have += piece.data.len() as u64;
        }
        Ok(match have == piece.size {
            true => Progress::Whole(file),
            false => Progress::Wanted(have),
        })
    }

    /// Forgets what came so far.
    pub(crate) fn clear(&self) -> io::Result<()> {
        for entry in std::fs::read_dir(self.dir.path())? {
            let path = entry?.path();
            if path.to_str().is_some_and(|path| path.ends_with(SUFFIX)) {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    fn path(&self, digest: &[u8; 32]) -> PathBuf {
        let name: String = digest[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        self.dir.path().join(name + SUFFIX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(name: u8, offset: u64, data: &'static [u8]) -> Piece {
        Piece {
            digest: [name; 32],
            size: 10,
            offset,
            data: data.into(),
        }
    }

    #[test]
    fn pieces_go_on_where_the_file_ends_also_after_a_restart() {
        let temp = tempfile::tempdir().unwrap();
        let open = || Incoming::new(Arc::new(Dir::open(temp.path()).unwrap()));
        let wants = |incoming: &Incoming, piece: &Piece| match incoming.take(piece).unwrap() {
            Progress::Wanted(next) => Some(next),
            Progress::Whole(_) => None,
        };
        assert_eq!(wants(&open(), &piece(1, 0, b"")), Some(0));
        assert_eq!(wants(&open(), &piece(1, 0, b"01234")), Some(5));
        // Again, too late, and too much.
        assert_eq!(wants(&open(), &piece(1, 0, b"01234")), Some(5));
        assert_eq!(wants(&open(), &piece(1, 7, b"789")), Some(5));
        assert_eq!(wants(&open(), &piece(1, 5, b"56789X")), Some(5));
        assert_eq!(wants(&open(), &piece(1, 5, b"56789")), None);
        // Another snapshot takes its place.
        assert_eq!(wants(&open(), &piece(2, 5, b"")), Some(0));
        assert_eq!(wants(&open(), &piece(1, 0, b"")), Some(0));
    }
}
