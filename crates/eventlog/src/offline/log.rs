//! The segments of a directory, one after the other. One at a time is in memory.

use std::path::{Path, PathBuf};

use super::finding::{Finding, FindingKind};
use crate::segment::{ScannedSegment, SegmentError, segment_files};

/// The segments that count: those that hold more than was purged.
#[derive(Debug)]
pub(super) struct Segments {
    dir: PathBuf,
    firsts: Vec<u64>,
    /// The first entry that was not purged.
    first: u64,
}

impl Segments {
    pub(super) fn of(dir: &Path, first: u64) -> Result<Self, Finding> {
        let firsts = match segment_files(dir) {
            Ok(firsts) => firsts,
            // It is made when the replica runs for the first time.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(Finding::new(FindingKind::Unreadable, dir, error.to_string())),
        };
        let purged = firsts.windows(2).take_while(|pair| pair[1] <= first).count();
        Ok(Self {
            dir: dir.to_owned(),
            firsts: firsts[purged..].to_vec(),
            first,
        })
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.firsts.len()
    }

    /// Each, scanned, in order; ends after the first that does not check or does not follow the one before it.
    pub(super) fn scan(&self) -> impl Iterator<Item = Result<ScannedSegment, SegmentError>> + '_ {
        let mut expected = None;
        let mut ended = false;
        self.firsts.iter().enumerate().map_while(move |(at, begins)| {
            if ended {
                return None;
            }
            let scanned = self.scan_one(at, *begins, expected);
            match &scanned {
                Ok(segment) => expected = Some(segment.next()),
                Err(_) => ended = true,
            }
            Some(scanned)
        })
    }

    fn scan_one(
        &self,
        at: usize,
        begins: u64,
        expected: Option<u64>,
    ) -> Result<ScannedSegment, SegmentError> {
        let segment = ScannedSegment::read(&self.dir, begins, at + 1 == self.firsts.len())?;
        let fits = match expected {
            Some(expected) => begins == expected,
            None => begins <= self.first,
        };
        if fits {
            return Ok(segment);
        }
        Err(SegmentError::Gap {
            path: segment.path,
            expected: expected.unwrap_or(self.first),
        })
    }
}
