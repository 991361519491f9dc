//! The end of a host's lease, noted where the guard and the next daemon read it. It counts for this boot of the machine
//! only: after another one no guest of before runs.
//!
//! The note is written over in place, so that a full disk stops no renewal. It has two lines of the same length, and the
//! one that is written is the one that ends sooner: whatever is read of a line that is only partly written, the other
//! one is whole. Each is `<version> <boot> <end in ns since it> <CRC-32 of what is before it>`.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::SinceBoot;

/// The form's version.
const VERSION: &str = "1";

/// A line's bytes: a digit, an id of 36, 20 digits, a checksum of 8, and what is between and after them.
const LINE: usize = 69;

/// The time by the clock that leases are counted on: that of the kernel that goes on while the machine sleeps.
pub fn now() -> SinceBoot {
    let now = clock_gettime(ClockId::Boottime);
    let (seconds, nanos) = (u64::try_from(now.tv_sec), u32::try_from(now.tv_nsec));
    SinceBoot(Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0)))
}

/// Reads the note; `None` when there is none of this boot, or none that can be read: then no lease is held.
pub(super) fn read(path: &Path) -> Option<SinceBoot> {
    newest(&std::fs::read(path).ok()?, &this_boot().ok()?)
}

/// Refuses a note that another version wrote.
///
/// # Errors
/// Says what to do.
pub(super) fn check(path: &Path) -> io::Result<()> {
    let text = std::fs::read(path).unwrap_or_default();
    let version = text.split(|byte| *byte == b' ').next().unwrap_or_default();
    let number = std::str::from_utf8(version)
        .ok()
        .and_then(|word| word.parse::<u32>().ok());
    if number.is_none() || version == VERSION.as_bytes() || version.len() == text.len() {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "{} has version {}, this program reads {VERSION}; start the chv-hostd that wrote it or a newer one, or remove \
         the file, which ends the guests that ask for failover",
        path.display(),
        String::from_utf8_lossy(version),
    )))
}

/// The end that a note of the boot `this` names: the later one of its lines that are whole.
fn newest(note: &[u8], this: &str) -> Option<SinceBoot> {
    note.chunks(LINE).filter_map(|line| parse(line, this)).max()
}

fn parse(line: &[u8], this: &str) -> Option<SinceBoot> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (text, checksum) = line.rsplit_once(' ')?;
    (checksum == checksum_of(text)).then_some(())?;
    let mut words = text.split(' ');
    let (version, boot, nanos) = (words.next()?, words.next()?, words.next()?);
    (version == VERSION && boot == this).then_some(())?;
    Some(SinceBoot(Duration::from_nanos(nanos.parse().ok()?)))
}

fn form(boot: &str, until: SinceBoot) -> String {
    let text = format!("{VERSION} {boot} {:020}", until.0.as_nanos());
    let checksum = checksum_of(&text);
    format!("{text} {checksum}\n")
}

fn checksum_of(text: &str) -> String {
    format!("{:08x}", crc32fast::hash(text.as_bytes()))
}

/// Notes the end of the lease. It need not survive the machine, so nothing is flushed. Blocks on the file system.
pub(super) fn write(path: &Path, until: SinceBoot) -> io::Result<()> {
    let boot = this_boot()?;
    let line = form(&boot, until);
    if line.len() != LINE {
        return Err(io::Error::other(format!(
            "the note {line:?} has not {LINE} bytes"
        )));
    }
    let mut options = OpenOptions::new();
    let file = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    let mut kept = [0; 2 * LINE];
    if file.read_exact_at(&mut kept, 0).is_err() {
        // All the room that it ever takes.
        return file.write_all_at(line.repeat(2).as_bytes(), 0);
    }
    let [first, second] = [0, LINE].map(|at| parse(&kept[at..at + LINE], &boot));
    let place = if first <= second { 0 } else { LINE };
    file.write_all_at(line.as_bytes(), place as u64)
}

fn this_boot() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?
        .trim_end()
        .to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use proptest::prelude::*;

    use super::*;

    const BOOT: &str = "7e2d5a0c-4d7c-4d0e-9f55-0d6c3c1b2a10";

    fn at(ms: u64) -> SinceBoot {
        SinceBoot(Duration::from_millis(ms))
    }

    #[test]
    fn given_a_note_then_it_is_read_in_this_boot_and_in_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lease");
        assert_eq!(read(&path), None);
        let until = SinceBoot(now().0 + Duration::from_secs(7));
        write(&path, until).unwrap();
        assert_eq!(read(&path), Some(until));
        for text in [form(BOOT, until).as_str(), "", "7"] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(read(&path), None, "{text}");
            // and the next one is noted all the same.
            write(&path, until).unwrap();
            assert_eq!(read(&path), Some(until));
        }
    }

    #[test]
    fn given_a_note_when_the_lease_is_renewed_then_it_takes_no_more_room_and_no_other_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lease");
        let file = || {
            let metadata = std::fs::metadata(&path).unwrap();
            (metadata.ino(), metadata.len())
        };
        write(&path, at(1)).unwrap();
        let first = file();
        for ms in 2..9 {
            write(&path, at(ms)).unwrap();
            assert_eq!((read(&path), file()), (Some(at(ms)), first));
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    proptest! {
        /// A write that was cut off, or is seen halfway, leaves the end before it.
        #[test]
        fn given_a_note_that_is_partly_written_then_the_one_before_counts(
            ends in prop::collection::btree_set(0u64..1 << 40, 3), cut in 0..LINE,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("lease");
            let ends: Vec<u64> = ends.into_iter().collect();
            write(&path, at(ends[0])).unwrap();
            write(&path, at(ends[1])).unwrap();
            let before = std::fs::read(&path).unwrap();
            write(&path, at(ends[2])).unwrap();
            let mut note = std::fs::read(&path).unwrap();
            let place = if note[..LINE] == before[..LINE] { LINE } else { 0 };
            note[place + cut..place + LINE].copy_from_slice(&before[place + cut..place + LINE]);
            let boot = this_boot().unwrap();
            let whole = note != before && note[place..place + LINE] == *form(&boot, at(ends[2])).as_bytes();
            prop_assert_eq!(newest(&note, &boot), Some(at(ends[if whole { 2 } else { 1 }])));
        }
    }

    /// The guard of one version may read what the daemon of another one wrote.
    #[test]
    fn golden_note_is_written_as_it_was_and_read_as_what_it_is() {
        let kept = include_str!("../../tests/golden/lease");
        let ends = [
            SinceBoot(Duration::new(86_400, 7)),
            SinceBoot(Duration::new(86_401, 7)),
        ];
        assert_eq!(ends.map(|end| form(BOOT, end)).concat(), kept);
        assert_eq!(newest(kept.as_bytes(), BOOT), Some(ends[1]));
    }

    #[test]
    fn given_a_note_of_a_newer_version_then_it_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lease");
        check(&path).unwrap();
        write(&path, at(1)).unwrap();
        check(&path).unwrap();
        std::fs::write(&path, form(BOOT, at(1)).replacen('1', "2", 1)).unwrap();
        let error = check(&path).unwrap_err().to_string();
        assert!(
            error.contains("version 2") && error.contains("remove the file"),
            "{error}"
        );
        assert_eq!(read(&path), None);
    }
}
