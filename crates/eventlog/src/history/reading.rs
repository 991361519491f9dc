//! Reading records out of the sealed files. A file is opened for each read and closed again, so their number costs no
//! descriptors. One that is found to be damaged is set aside. Calls block on the disk.

use std::fs::File;
use std::io;
use std::path::Path;

use chv_domain::{Projection, Record, Seq};

use super::checkpoint;
use super::error::HistoryError;
use super::format::{FormatError, Layout};
use super::sealed::Sealed;
use super::store::History;

impl History {
    /// Opens the file of `sealed`.
    pub(crate) fn open_file(&self, sealed: &Sealed) -> Result<File, HistoryError> {
        let path = self.path(sealed);
        File::open(&path).map_err(|source| HistoryError::Io { path, source })
    }

    /// The sealed records with events from `from` on, in order, ending before a hole and after `records` of them
    /// or about `bytes`, but never before one. Empty when `from` is not sealed.
    pub(crate) fn records(
        &self,
        from: Seq,
        records: usize,
        bytes: usize,
    ) -> Result<Vec<Record>, HistoryError> {
        let (mut found, mut size, mut next) = (Vec::new(), 0, from.max(Seq(1)));
        while found.len() < records && size < bytes {
            let Some((block, average)) = self.block(next)? else {
                break;
            };
            for record in block.into_iter().filter(|record| record.last() >= next) {
                if found.len() >= records || (size >= bytes && !found.is_empty()) {
                    return Ok(found);
                }
                size += average;
                found.push(record);
            }
            next = found.last().map_or(next, |record| record.last().next());
        }
        Ok(found)
    }

    /// The event of the newest state up to `seq` that is kept here.
    pub(crate) fn newest_checkpoint(&self, seq: Seq) -> io::Result<Option<Seq>> {
        checkpoint::newest(self, seq)
    }

    /// The state that is kept at an event; `None` when it does not read any more.
    pub(crate) fn read_checkpoint(&self, at: Seq) -> io::Result<Option<Projection>> {
        checkpoint::read(self, at)
    }

    /// The records that are stored together with the one that holds `seq`, which is among them; empty when it is not
    /// sealed.
    pub(crate) fn stored_with(&self, seq: Seq) -> Result<Vec<Record>, HistoryError> {
        Ok(self.block(seq)?.map_or_else(Vec::new, |(records, _)| records))
    }

    /// The records of the block that holds `seq`, checked, and about how large each is.
    fn block(&self, seq: Seq) -> Result<Option<(Vec<Record>, usize)>, HistoryError> {
        let Some(sealed) = self.file_of(seq) else {
            return Ok(None);
        };
        let path = self.path(&sealed);
        let read = || {
            let file = File::open(&path)?;
            Ok::<_, io::Error>(Layout::read(&file).and_then(|layout| {
                let Some(index) = layout.footer.block_of(seq) else {
                    return Ok(None);
                };
                let info = layout.footer.blocks[index];
                let average = info.raw as usize / info.records.max(1) as usize;
                Ok(Some((layout.verified(&file, index)?, average)))
            }))
        };
        match read() {
            Ok(Ok(block)) => Ok(block),
            // Trimmed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.forget(&sealed);
                Ok(None)
            }
            Ok(Err(FormatError::Io { why, .. })) => Err(HistoryError::Io {
                path,
                source: io::Error::other(why),
            }),
            Err(source) => Err(HistoryError::Io { path, source }),
            Ok(Err(source)) => {
                let aside = set_aside(&path);
                self.forget(&sealed);
                aside.map_err(|source| HistoryError::Io {
                    path: path.clone(),
                    source,
                })?;
                let error = HistoryError::Damaged { path, source };
                tracing::error!(%error, "a sealed file is damaged");
                Err(error)
            }
        }
    }
}

/// Where everything is in the file at `path`, as its ends tell it.
pub(super) fn read_layout(path: &Path) -> Result<Layout, HistoryError> {
    let file = File::open(path).map_err(|source| HistoryError::Io {
        path: path.to_owned(),
        source,
    })?;
    Layout::read(&file).map_err(|source| HistoryError::Damaged {
        path: path.to_owned(),
        source,
    })
}

/// Gives a damaged file another name, under which nobody looks, so that a person still can.
pub(super) fn set_aside(path: &Path) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".damaged");
    std::fs::rename(path, name)
}
