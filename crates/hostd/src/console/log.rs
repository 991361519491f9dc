//! What a guest wrote on its console, in a file that its hypervisor appends to. An offset counts from the first
//! byte that the VM ever wrote here, over all its starts, for the file is never cut at its front: only what it
//! occupies on the disk is given back. Its last [`KEPT`] bytes can be read.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate};

/// How much of a console can be read, counted from its end, in bytes.
pub const KEPT: u64 = 4 << 20;

/// The most that one read gives, in bytes.
pub const CHUNK: usize = 64 << 10;

/// Blocks of this size are given back to the file system.
const BLOCK: u64 = 4096;

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// At this offset; at the first byte kept when that is later, at the end when that is earlier.
    Offset(u64),
    /// This many bytes before the end.
    Tail(u64),
}

/// A part of a console's output.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chunk {
    /// The offset of its first byte.
    pub offset: u64,
    /// The bytes; at most [`CHUNK`].
    pub data: Vec<u8>,
}

/// Reads from the log at `path`, where no link is followed; nothing at offset 0 when there is none. Blocks on the file
/// system.
pub fn read(path: &Path, from: From) -> io::Result<Chunk> {
    let file = match File::options()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
    {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Chunk::default()),
        Err(error) => return Err(error),
    };
    let end = file.metadata()?.len();
    let first = end.saturating_sub(KEPT);
    let offset = match from {
        From::Offset(offset) => offset,
        From::Tail(bytes) => end.saturating_sub(bytes),
    }
    .clamp(first, end);
    let length = usize::try_from(end - offset).unwrap_or(usize::MAX).min(CHUNK);
    let mut data = vec![0; length];
    file.read_exact_at(&mut data, offset)?;
    Ok(Chunk { offset, data })
}

/// Gives back the disk space of what can't be read any more, once it is as much as what can. Blocks on the file
/// system.
pub fn trim(path: &Path) -> io::Result<()> {
    let file = match File::options()
        .write(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
    {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    if metadata.blocks() * 512 <= 2 * KEPT {
        return Ok(());
    }
    let old = metadata.len().saturating_sub(KEPT) / BLOCK * BLOCK;
    Ok(fallocate(
        &file,
        FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
        0,
        old,
    )?)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn given_a_log_then_it_is_read_from_an_offset_or_from_its_tail() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console.log");
        assert_eq!(read(&path, From::Offset(7)).unwrap(), Chunk::default());
        std::fs::write(&path, "0123456789").unwrap();
        for (from, offset, data) in [
            (From::Offset(3), 3, "3456789"),
            (From::Offset(99), 10, ""),
            (From::Tail(2), 8, "89"),
            (From::Tail(99), 0, "0123456789"),
        ] {
            let chunk = read(&path, from).unwrap();
            assert_eq!(
                (chunk.offset, &*chunk.data),
                (offset, data.as_bytes()),
                "{from:?}"
            );
        }
    }

    #[test]
    fn given_a_log_that_grows_when_trimmed_then_offsets_stay_and_the_disk_is_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console.log");
        let mut log = File::options().create(true).append(true).open(&path).unwrap();
        let line = [b'x'; 1 << 20];
        for _ in 0..12 {
            log.write_all(&line).unwrap();
        }
        log.write_all(b"the end").unwrap();
        trim(&path).unwrap();

        let metadata = std::fs::metadata(&path).unwrap();
        assert!(metadata.blocks() * 512 < 2 * KEPT, "{} blocks", metadata.blocks());
        let end = (12 << 20) + 7;
        assert_eq!(metadata.len(), end);
        let first = read(&path, From::Offset(0)).unwrap();
        assert_eq!((first.offset, first.data.len()), (end - KEPT, CHUNK));
        assert!(
            first.data.iter().all(|&byte| byte == b'x'),
            "what can be read was not given back"
        );
        assert_eq!(read(&path, From::Tail(7)).unwrap().data, b"the end");
        // The hypervisor goes on appending.
        log.write_all(b"!").unwrap();
        assert_eq!(
            read(&path, From::Offset(end)).unwrap(),
            Chunk {
                offset: end,
                data: b"!".to_vec()
            }
        );
    }
}
