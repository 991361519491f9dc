//! Writes a cpio archive in the `newc` form that the kernel unpacks. Everything belongs to root and is of time 0, so
//! the same files give the same bytes.

use std::collections::BTreeMap;

const MAGIC: &str = "070701";
const END: &str = "TRAILER!!!";
const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_644;
const PROGRAM: u32 = 0o100_755;

/// An archive in the making. Directories on the way to a file are added with it.
#[derive(Debug, Default)]
pub struct Archive {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    mode: u32,
    content: Vec<u8>,
}

/// A path or file that the archive can't hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CpioError {
    /// Empty, absolute, or with an empty, `.` or `..` part.
    #[error("`{0}` is no path inside an archive")]
    Path(String),
    /// Over 4 GiB.
    #[error("{0} is too large for the archive: 4 GiB is the most")]
    Size(String),
}

impl Archive {
    /// Adds an empty directory.
    pub fn directory(&mut self, path: &str) -> Result<(), CpioError> {
        self.add(path, DIRECTORY, Vec::new())
    }

    /// Adds a file.
    pub fn file(&mut self, path: &str, content: Vec<u8>) -> Result<(), CpioError> {
        self.add(path, FILE, content)
    }

    /// Adds a file that can be run.
    pub fn program(&mut self, path: &str, content: Vec<u8>) -> Result<(), CpioError> {
        self.add(path, PROGRAM, content)
    }

    fn add(&mut self, path: &str, mode: u32, content: Vec<u8>) -> Result<(), CpioError> {
        if path.split('/').any(|part| matches!(part, "" | "." | "..")) || path.contains('\0') {
            return Err(CpioError::Path(path.to_owned()));
        }
        if u32::try_from(content.len()).is_err() {
            return Err(CpioError::Size(path.to_owned()));
        }
        for (end, _) in path.match_indices('/') {
            self.entries.entry(path[..end].to_owned()).or_insert(Entry {
                mode: DIRECTORY,
                content: Vec::new(),
            });
        }
        self.entries.insert(path.to_owned(), Entry { mode, content });
        Ok(())
    }

    /// The archive's bytes. Sorted by path, so a directory comes before what is in it.
    pub fn finish(self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (number, (path, entry)) in (1..).zip(self.entries) {
            put(&mut bytes, number, &path, &entry);
        }
        put(
            &mut bytes,
            0,
            END,
            &Entry {
                mode: 0,
                content: Vec::new(),
            },
        );
        bytes
    }
}

fn put(bytes: &mut Vec<u8>, number: u32, path: &str, entry: &Entry) {
    let links = if entry.mode == DIRECTORY { 2 } else { 1 };
    let size = entry.content.len() as u32;
    let name_size = path.len() as u32 + 1;
    // inode, mode, user, group, links, time, size, device (2), device of a node (2), name's size, checksum
    let fields = [number, entry.mode, 0, 0, links, 0, size, 0, 0, 0, 0, name_size, 0];
    bytes.extend(MAGIC.bytes());
    for field in fields {
        bytes.extend(format!("{field:08x}").bytes());
    }
    bytes.extend(path.bytes());
    bytes.push(0);
    pad(bytes);
    bytes.extend(&entry.content);
    pad(bytes);
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads an archive back: paths with their modes and contents.
    fn unpack(mut bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut entries = Vec::new();
        let mut offset = 0;
        loop {
            assert_eq!(&bytes[..6], MAGIC.as_bytes());
            let text = std::str::from_utf8(&bytes[6..110]).unwrap().to_owned();
            let field = |index: usize| u32::from_str_radix(&text[index * 8..][..8], 16).unwrap();
            let (mode, size, name_size) = (field(1), field(6) as usize, field(11) as usize);
            let path = String::from_utf8(bytes[110..110 + name_size - 1].to_vec()).unwrap();
            let start = (offset + 110 + name_size).next_multiple_of(4) - offset;
            let content = bytes[start..start + size].to_vec();
            let end = (offset + start + size).next_multiple_of(4) - offset;
            if path == END {
                assert_eq!(bytes.len(), end);
                return entries;
            }
            entries.push((path, mode, content));
            bytes = &bytes[end..];
            offset += end;
        }
    }

    #[test]
    fn given_files_in_any_order_when_packed_then_they_come_back_sorted_below_their_directories() {
        let mut archive = Archive::default();
        archive
            .file("lib/modules/order", b"virtio.ko\n".to_vec())
            .unwrap();
        archive.program("init", b"#!".to_vec()).unwrap();
        archive.directory("dev").unwrap();
        let expected = [
            ("dev", DIRECTORY, &b""[..]),
            ("init", PROGRAM, b"#!"),
            ("lib", DIRECTORY, b""),
            ("lib/modules", DIRECTORY, b""),
            ("lib/modules/order", FILE, b"virtio.ko\n"),
        ];
        let expected = expected.map(|(path, mode, content)| (path.to_owned(), mode, content.to_vec()));
        assert_eq!(unpack(&archive.finish()), expected);
    }

    #[test]
    fn given_a_path_that_leads_outside_when_added_then_it_is_refused() {
        for path in ["", "/init", "a/../b", "./a", "a//b"] {
            assert_eq!(
                Archive::default().file(path, vec![]),
                Err(CpioError::Path(path.to_owned()))
            );
        }
    }
}
