//! A bit flipped anywhere, a file cut anywhere, a file gone or put back from before: refused or repaired, never
//! served; and told where.

use std::path::{Path, PathBuf};

use super::rig::{Begun, EVENTS, begin, copy, files_of, written};
use crate::files::in_memory;
use crate::offline::{ClosedDir, FindingKind, verify};

/// Whether checking the directory finds anything wrong.
fn is_told(path: &Path) -> bool {
    match ClosedDir::open(path) {
        Ok(dir) => !verify(&dir, &mut |_| {}).is_sound(),
        Err(_) => true,
    }
}

/// A sound directory, what a replica begins with there, and a copy to be changed.
struct Trial {
    sound: tempfile::TempDir,
    begun: Begun,
    copied: tempfile::TempDir,
}

impl Trial {
    async fn of(purged: bool) -> Self {
        let sound = written(purged).await;
        let copied = in_memory();
        copy(sound.path(), copied.path());
        let begun = begin(copied.path()).await.unwrap();
        Self { sound, begun, copied }
    }

    /// Changes `file` of a fresh copy, and begins a replica with it: it refuses, or begins with all that was
    /// acknowledged. Returns whether it was refused, and whether checking the copy tells of it.
    async fn with(&self, file: &Path, change: impl Fn(&mut Vec<u8>), what: &str) -> (bool, bool) {
        copy(self.sound.path(), self.copied.path());
        let at = self.copied.path().join(file);
        let mut bytes = std::fs::read(&at).unwrap();
        change(&mut bytes);
        std::fs::write(&at, bytes).unwrap();
        let told = is_told(self.copied.path());
        match begin(self.copied.path()).await {
            Ok(begun) => {
                assert_eq!(
                    begun,
                    self.begun,
                    "{}, {what}: something else is served",
                    file.display()
                );
                (false, told)
            }
            Err(_) => (true, told),
        }
    }

    fn parts(&self) -> Vec<(PathBuf, usize)> {
        parts(self.sound.path())
    }
}

/// The files of `sound`, below it, with their sizes.
fn parts(sound: &Path) -> Vec<(PathBuf, usize)> {
    let size = |file: &Path| std::fs::metadata(file).unwrap().len() as usize;
    files_of(sound)
        .into_iter()
        .map(|file| (file.strip_prefix(sound).unwrap().to_owned(), size(&file)))
        .collect()
}

fn is_segment(file: &Path) -> bool {
    file.extension().is_some_and(|suffix| suffix == "seg")
}

fn is_snapshot(file: &Path) -> bool {
    file.extension().is_some_and(|suffix| suffix == "snapshot")
}

/// Of every byte a bit, each time another one.
async fn flip_everywhere(purged: bool, files: impl Fn(&Path) -> bool) {
    let trial = Trial::of(purged).await;
    for (file, size) in trial.parts().into_iter().filter(|(file, _)| files(file)) {
        for at in 0..size {
            let flip = |bytes: &mut Vec<u8>| bytes[at] ^= 1 << (at % 8);
            let (refused, told) = trial.with(&file, flip, &format!("byte {at}")).await;
            let what = format!("{}, byte {at} (purged: {purged})", file.display());
            // Whatever stops a replica is found without starting it.
            assert!(
                !refused || told,
                "{what}: it is refused, and the check finds nothing"
            );
            if is_snapshot(&file) {
                assert!(told, "{what}: the check finds nothing");
                // Where the log is whole, it is folded again; where it is not, there is nothing to begin with.
                assert_eq!(refused, purged, "{what}");
            }
        }
    }
}

#[tokio::test]
async fn a_bit_flipped_anywhere_in_a_directory_is_refused_or_repaired() {
    flip_everywhere(false, |_| true).await;
}

#[tokio::test]
async fn a_bit_flipped_anywhere_in_what_a_purged_log_depends_on_is_refused_or_repaired() {
    flip_everywhere(true, |file| !is_segment(file)).await;
}

#[tokio::test]
async fn a_small_file_or_snapshot_cut_at_any_length_is_refused_or_repaired() {
    let trial = Trial::of(true).await;
    for (file, size) in trial.parts().into_iter().filter(|(file, _)| !is_segment(file)) {
        for length in 0..size {
            let cut = |bytes: &mut Vec<u8>| bytes.truncate(length);
            let (refused, told) = trial.with(&file, cut, &format!("cut at {length}")).await;
            let what = format!("{}, cut at {length}", file.display());
            assert!(
                !refused || told,
                "{what}: it is refused, and the check finds nothing"
            );
            // A hint that does not read is as good as none; everything else is refused.
            assert_eq!(refused, !file.ends_with("committed"), "{what}");
        }
    }
}

#[tokio::test]
async fn a_file_that_is_gone_is_missed() {
    let sound = written(true).await;
    for (file, _) in parts(sound.path()) {
        let copied = tempfile::tempdir().unwrap();
        copy(sound.path(), copied.path());
        std::fs::remove_file(copied.path().join(&file)).unwrap();
        let last_segment = is_segment(&file)
            && file
                == parts(sound.path())
                    .iter()
                    .rfind(|(file, _)| is_segment(file))
                    .unwrap()
                    .0;
        // What comes after the last segment that is there can't be told from what never was.
        if file.ends_with("committed") || last_segment {
            continue;
        }
        assert!(
            is_told(copied.path()),
            "{} is gone, and the check finds nothing",
            file.display()
        );
        assert!(begin(copied.path()).await.is_err(), "{} is gone", file.display());
    }
}

#[tokio::test]
async fn a_break_is_told_with_its_place() {
    // given a log with a flipped bit in the frame of one of its records
    let sound = written(false).await;
    let segments: Vec<_> = parts(sound.path())
        .into_iter()
        .filter(|(file, _)| is_segment(file))
        .collect();
    let (file, _) = &segments[1];
    let copied = tempfile::tempdir().unwrap();
    copy(sound.path(), copied.path());
    let at = copied.path().join(file);
    let mut bytes = std::fs::read(&at).unwrap();
    bytes[100] ^= 4;
    std::fs::write(&at, bytes).unwrap();
    // when it is checked
    let verified = verify(&ClosedDir::open(copied.path()).unwrap(), &mut |_| {});
    // then it says where, and from which event on nothing is vouched for
    let finding = &verified.findings[0];
    assert_eq!((finding.kind, &finding.file), (FindingKind::Damaged, &at));
    assert!(finding.offset.is_some_and(|offset| offset <= 100));
    assert_eq!(finding.seq, Some(verified.last_seq.next()));
    assert!(verified.last_seq.0 > 0 && verified.last_seq.0 < EVENTS);
}
