//! Fetches from other replicas the history that this one lacks: backward from what it knows, file by file, slowly. Then the
//! state before it ([`super::base`]).
//!
//! A file is taken only when it holds the record whose hash this replica knows already: from its own state, or from
//! what it fetched before. So a replica that is damaged, or lies, is found out.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chv_domain::{RecordHash, ReplicaId, Seq};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::format::{Builder, verify};
use super::sealed::Sealed;
use super::store::History;
use super::upkeep::Missing;
use crate::files::Disk;
use crate::net::{Peer, Peers};
use crate::raft::state_machine::Applied;

/// At most this many bytes a second, so that commits have the network and the disk.
pub(super) const RATE: u32 = 32 << 20;

/// The largest file that is taken.
pub(super) const LARGEST: u64 = 1 << 30;

/// How long to wait when no replica has what is wanted.
const AGAIN: Duration = Duration::from_secs(1);

/// The same, for the state before the kept history: perhaps none has it any more, and it is missed for little.
const BASE_AGAIN: Duration = Duration::from_secs(10);

/// So often it goes on with a file from a replica that does not answer, before another one's is begun.
const TRIES: u32 = 10;

/// A file that is being fetched. `.new`: what a killed process leaves of it is removed at the next opening.
const PART: &str = "fetching.new";

/// The last event that is wanted, and its record's hash.
type Wanted = (Seq, RecordHash);

/// What fetching works with.
pub(crate) struct Fetch {
    pub(crate) history: History,
    pub(crate) applied: Applied,
    pub(crate) peers: Peers,
    /// What the log does not lead back to.
    pub(crate) missing: watch::Receiver<Missing>,
    /// Nothing is fetched while the disk is nearly full, or can't be written.
    pub(crate) disk: Disk,
}

/// What is there of a file.
#[derive(Clone, Copy)]
struct Part {
    digest: [u8; 32],
    have: u64,
    /// How often nothing came of it since the last piece.
    tries: u32,
}

impl Fetch {
    /// Fetches until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut span = self.history.span();
        let mut part = None;
        loop {
            span.mark_unchanged();
            self.missing.mark_unchanged();
            let (wanted, base) = (self.wanted(), self.wanted_base().await);
            let work = async {
                let mut again = Duration::MAX;
                match (wanted, base) {
                    (Some(wanted), _) if self.fetch(wanted, &mut part).await => return,
                    (Some(_), _) => return tokio::time::sleep(AGAIN).await,
                    (None, Some(base)) if self.fetch_base(base).await => return,
                    (None, Some(_)) => again = BASE_AGAIN,
                    (None, None) => {}
                }
                tokio::select! {
                    _ = span.changed() => {}
                    _ = self.missing.changed() => {}
                    () = tokio::time::sleep(again) => {}
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = work => {}
            }
        }
    }

    fn wanted(&self) -> Option<Wanted> {
        let oldest = self.applied.projection.borrow().cluster().oldest_kept();
        let missing = *self.missing.borrow();
        let before = self
            .history
            .span()
            .borrow()
            .filter(|span| span.oldest > oldest)
            .map(|span| (Seq(span.oldest.0 - 1), span.prev));
        missing.or(before).filter(|(seq, _)| *seq >= oldest)
    }

    /// Whether one of the others had the file.
    async fn fetch(&mut self, wanted: Wanted, part: &mut Option<Part>) -> bool {
        let mut failed = false;
        for (replica, node) in self.peers.others() {
            let mut peer = self.peers.peer(replica.get(), &node);
            match self.fetch_from(&mut peer, replica, wanted, part).await {
                Ok(true) => return true,
                Ok(false) => {}
                Err(error) => {
                    failed = true;
                    debug!(%replica, %error, "history is not fetched from there for now");
                }
            }
        }
        // Who has the rest of what was begun may answer again soon.
        *part = part
            .map(|part| Part {
                tries: part.tries + 1,
                ..part
            })
            .filter(|part| failed && part.tries < TRIES);
        false
    }

    async fn fetch_from(
        &self,
        peer: &mut Peer,
        replica: ReplicaId,
        wanted: Wanted,
        part: &mut Option<Part>,
    ) -> io::Result<bool> {
        let path = self.history.dir().join(PART);
        loop {
            self.disk.check().map_err(io::Error::other)?;
            let (digest, have) = part.map_or((None, 0), |part| (Some(part.digest), part.have));
            let Some(piece) = peer.history(wanted.0, digest, have).await? else {
                return Ok(false);
            };
            if piece.size > LARGEST || digest.is_some_and(|digest| digest != piece.digest) {
                return Err(io::Error::other("another file than was asked for"));
            }
            let (to, data) = (path.clone(), piece.data.clone());
            let written = tokio::task::spawn_blocking(move || append(&to, have, &data)).await;
            written.map_err(io::Error::other)??;
            let have = have + piece.data.len() as u64;
            *part = Some(Part {
                digest: piece.digest,
                have,
                tries: 0,
            });
            if have >= piece.size {
                *part = None;
                let (history, path) = (self.history.clone(), path.clone());
                let took = tokio::task::spawn_blocking(move || take_over(&history, &path, wanted)).await;
                return match took.map_err(io::Error::other)? {
                    Ok(sealed) => {
                        info!(%replica, first = %sealed.first, last = %sealed.last, "history was fetched");
                        Ok(true)
                    }
                    Err(why) => {
                        warn!(%replica, upto = %wanted.0, why, "a file of history from there is refused");
                        Ok(false)
                    }
                };
            }
            if piece.data.is_empty() {
                return Err(io::Error::other("a piece without bytes"));
            }
            tokio::time::sleep(Duration::from_secs(1) * piece.data.len() as u32 / RATE).await;
        }
    }
}

pub(super) fn append(path: &PathBuf, at: u64, data: &[u8]) -> io::Result<()> {
    let mut file = match at {
        0 => File::create(path)?,
        _ => File::options().append(true).open(path)?,
    };
    file.write_all(data)
}

/// Makes the file at `path` history, up to the record that is wanted. Why not, when it does not hold that.
fn take_over(history: &History, path: &Path, wanted: Wanted) -> Result<Sealed, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.sync_all().map_err(|error| error.to_string())?;
    let (mut records, mut held) = (Vec::new(), false);
    let layout = verify(&file, |block| {
        records.extend(block.into_iter().filter(|record| record.last() <= wanted.0));
        held |= records
            .last()
            .is_some_and(|last| (last.last(), last.hash()) == wanted);
    });
    let layout = layout.map_err(|error| error.to_string())?;
    if !held || layout.header.cluster != history.cluster() {
        return Err("it does not hold the record that has the hash which is known here".to_owned());
    }
    let taken = match layout.footer.last == wanted.0 {
        true => history.take_over(path),
        false => {
            // What comes after is here already, or not known to be true.
            let mut builder = Builder::new(layout.header);
            for record in &records {
                builder.push(record).map_err(|error| error.to_string())?;
            }
            let bytes = builder.finish().ok_or("it holds no record")?;
            history.add(&bytes)
        }
    };
    taken.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use chv_domain::Record;

    use super::super::format::samples::{CLUSTER, chain, sealed};
    use super::*;

    /// What comes of fetching the file of `records` up to `wanted`.
    fn fetched(records: &[Record], wanted: Wanted) -> Result<Vec<Record>, String> {
        let temp = tempfile::tempdir().unwrap();
        let history = History::open(temp.path(), CLUSTER).unwrap();
        let path = temp.path().join(PART);
        append(&path, 0, &sealed(records)).unwrap();
        take_over(&history, &path, wanted)?;
        Ok(history.records(Seq(1), usize::MAX, usize::MAX).unwrap())
    }

    #[test]
    fn a_file_is_history_up_to_the_record_that_is_known_and_not_at_all_without_it() {
        let records = chain(Seq(1), RecordHash::ZERO, &[(2, 100); 10]);
        let end = |record: &Record| (record.last(), record.hash());
        assert_eq!(fetched(&records, end(&records[9])).unwrap(), records);
        assert_eq!(fetched(&records, end(&records[6])).unwrap(), records[..7]);
        // Another history, whole in itself, as a replica that lies would send it.
        let other = chain(Seq(1), RecordHash::ZERO, &[(2, 101); 10]);
        assert!(fetched(&other, end(&records[9])).is_err());
        assert!(fetched(&other, end(&records[6])).is_err());
        // One that ends before.
        assert!(fetched(&records[..5], end(&records[6])).is_err());
    }
}
