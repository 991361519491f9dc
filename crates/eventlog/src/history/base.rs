//! The state before the first kept event, of a replica that lacks it: it was away, or came, after what leads there was
//! forgotten. Fetched once the kept history is here, so that this replica too has every state of the past.
//!
//! It is taken only when the kept history goes on from it: its event and its hash are those that the first kept record
//! names. What else it holds is its sender's word, as with a snapshot.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chv_domain::{ReplicaId, Seq};
use tracing::{debug, info, warn};

use super::checkpoint;
use super::fetch::{Fetch, LARGEST, RATE, append};
use super::store::History;
use crate::net::Peer;
use crate::raft::snapshot_file;

/// A file that is being fetched. `.new`: what a killed process leaves of it is removed at the next opening.
const PART: &str = "base.new";

impl Fetch {
    /// The event of the state that is wanted: all that is kept after it is here.
    pub(super) async fn wanted_base(&self) -> Option<Seq> {
        let oldest = self.applied.projection.borrow().cluster().oldest_kept();
        let base = Seq(oldest.0.checked_sub(1).filter(|base| *base > 0)?);
        let span = *self.history.span().borrow();
        if span.is_none_or(|span| span.oldest > oldest) {
            return None;
        }
        let history = self.history.clone();
        let lacks = tokio::task::spawn_blocking(move || !checkpoint::is_there(&history, base));
        lacks.await.unwrap_or(false).then_some(base)
    }

    /// Whether one of the others had it.
    pub(super) async fn fetch_base(&mut self, base: Seq) -> bool {
        for (replica, node) in self.peers.others() {
            let mut peer = self.peers.peer(replica.get(), &node);
            match self.base_from(&mut peer, replica, base).await {
                Ok(true) => return true,
                Ok(false) => {}
                Err(error) => {
                    debug!(%replica, %error, "the state before the kept history is not fetched from there")
                }
            }
        }
        false
    }

    async fn base_from(&self, peer: &mut Peer, replica: ReplicaId, base: Seq) -> io::Result<bool> {
        let path = self.history.dir().join(PART);
        let (mut digest, mut have) = (None, 0);
        loop {
            self.disk.check().map_err(io::Error::other)?;
            let Some(piece) = peer.checkpoint(base, digest, have).await? else {
                return Ok(false);
            };
            let other = digest.is_some_and(|digest| digest != piece.digest);
            if other || piece.size > LARGEST || piece.data.is_empty() {
                return Err(io::Error::other("a piece of another file"));
            }
            let (to, data) = (path.clone(), piece.data.clone());
            let written = tokio::task::spawn_blocking(move || append(&to, have, &data)).await;
            written.map_err(io::Error::other)??;
            (digest, have) = (Some(piece.digest), have + piece.data.len() as u64);
            if have >= piece.size {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1) * piece.data.len() as u32 / RATE).await;
        }
        let history = self.history.clone();
        let took = tokio::task::spawn_blocking(move || take_over(&history, &path, base)).await;
        let took = took.map_err(io::Error::other)?;
        match &took {
            Ok(()) => info!(%replica, seq = %base, "the state before the kept history was fetched"),
            Err(why) => warn!(%replica, seq = %base, why, "the state from there is refused"),
        }
        Ok(took.is_ok())
    }
}

/// Makes the file at `path` the checkpoint at `base`. Why not, when the kept history does not go on from it.
fn take_over(history: &History, path: &PathBuf, base: Seq) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let mut file = File::open(path).map_err(|error| text(&error))?;
    let state = snapshot_file::read(&mut file).map_err(|error| text(&error))?;
    let next = history
        .records(base.next(), 1, usize::MAX)
        .map_err(|error| text(&error))?;
    let held = (state.projection.seq(), state.projection.hash());
    let follows = next
        .first()
        .is_some_and(|record| (Seq(record.first.0 - 1), record.prev) == held);
    match follows && held.0 == base {
        true => checkpoint::take_over(history, Path::new(path), base).map_err(|error| text(&error)),
        false => Err("the kept history does not go on from it".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use chv_domain::{Projection, Record, RecordHash};

    use super::super::format::samples::{CLUSTER, chain, sealed};
    use super::*;
    use crate::raft::snapshot_file::LastWritten;

    /// What comes of the state after `upto` of `records`, where those from the sixth on are kept.
    fn fetched(records: &[Record], upto: usize) -> Result<(), String> {
        let temp = tempfile::tempdir().unwrap();
        let history = History::open(&temp.path().join("history"), CLUSTER).unwrap();
        let kept = chain(Seq(1), RecordHash::ZERO, &[(2, 100); 10]);
        history.add(&sealed(&kept[5..])).unwrap();
        let mut state = Projection::default();
        state.replay(&records[..upto]);
        checkpoint::write(temp.path(), &state, &LastWritten::default()).unwrap();
        let (_, bytes) = checkpoint::oldest_from(temp.path(), Seq::ZERO).unwrap().unwrap();
        let path = history.dir().join(PART);
        append(&path, 0, &bytes).unwrap();
        take_over(&history, &path, Seq(10))?;
        assert_eq!(checkpoint::at_or_before(&history, Seq(12)).unwrap(), Some(state));
        Ok(())
    }

    #[test]
    fn a_state_is_taken_only_when_the_kept_history_goes_on_from_it() {
        let records = chain(Seq(1), RecordHash::ZERO, &[(2, 100); 10]);
        fetched(&records, 5).unwrap();
        fetched(&records, 4).unwrap_err();
        fetched(&records, 6).unwrap_err();
        // One of another history, at the same event.
        fetched(&chain(Seq(1), RecordHash::ZERO, &[(2, 101); 10]), 5).unwrap_err();
    }
}
