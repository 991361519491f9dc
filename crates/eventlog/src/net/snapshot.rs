//! Snapshots on their way: sent in pieces that go on where the receiver's file ends, so that a broken connection costs
//! a piece and not the snapshot.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::error::{Fatal, NetworkError, ReplicationClosed, StreamingError, Unreachable};
use openraft::raft::SnapshotResponse;
use openraft::{AnyError, Raft, Snapshot};

use super::message::{Ask, SnapshotPiece, SnapshotTaken, Told};
use super::peer::Peer;
use crate::raft::incoming::{Incoming, Progress};
use crate::raft::{TypeConfig, Vote, snapshot_file};

/// Bytes of a piece.
const PIECE: usize = 1 << 20;

/// How long a piece may take; the last one is answered once the snapshot is installed.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often in a row a piece is sent again before Raft is told.
const TRIES: u32 = 5;

/// How long to wait before that.
const PAUSE: Duration = Duration::from_millis(200);

type Failed = StreamingError<TypeConfig, Fatal<u64>>;

/// Sends `snapshot` until it is installed there, or the replica there says that it need not be.
pub(super) async fn send(
    peer: &mut Peer,
    vote: Vote,
    snapshot: Snapshot<TypeConfig>,
    cancel: impl Future<Output = ReplicationClosed>,
) -> Result<SnapshotResponse<u64>, Failed> {
    let sending = async {
        let file = Arc::new(snapshot.snapshot.into_std().await);
        let digest = snapshot_file::digest(&file).map_err(io::Error::other)?;
        let all = SnapshotPiece::of(vote, &snapshot.meta, digest, file.metadata()?.len())?;
        let (mut piece, mut tries) = (all.at(0, Bytes::new()), 0);
        loop {
            let asked = peer.ask(Ask::Snapshot(piece.clone()), PATIENCE).await;
            let taken = match asked {
                Ok(Told::Snapshot(taken)) => taken,
                Ok(_) => return Err(io::Error::other("an answer to another question")),
                Err(error) if tries < TRIES => {
                    tracing::debug!(%error, tries, "a piece of a snapshot is sent again");
                    tries += 1;
                    tokio::time::sleep(PAUSE).await;
                    // Where its file ends is not known: the answer may be what was lost.
                    piece = all.at(0, Bytes::new());
                    continue;
                }
                Err(error) => return Err(error),
            };
            tries = 0;
            let theirs = taken.vote()?;
            if taken.done || theirs > vote {
                return Ok(SnapshotResponse { vote: theirs });
            }
            let file = Arc::clone(&file);
            let data = tokio::task::spawn_blocking(move || read(&file, taken.next));
            piece = all.at(taken.next, data.await.map_err(io::Error::other)??);
        }
    };
    tokio::select! {
        closed = cancel => Err(closed.into()),
        sent = sending => sent.map_err(|error| match error.kind() {
            io::ErrorKind::NotConnected => Unreachable::new(&error).into(),
            _ => StreamingError::Network(NetworkError::new(&AnyError::new(&error))),
        }),
    }
}

fn read(file: &std::fs::File, from: u64) -> io::Result<Bytes> {
    let rest = file.metadata()?.len().saturating_sub(from);
    let mut data = vec![0; rest.min(PIECE as u64) as usize];
    file.read_exact_at(&mut data, from)?;
    Ok(data.into())
}

/// Takes a piece, and installs the snapshot that is whole with it.
pub(super) async fn take(
    raft: &Raft<TypeConfig>,
    incoming: &Incoming,
    piece: SnapshotPiece,
) -> io::Result<SnapshotTaken> {
    let _one = incoming.one.lock().await;
    let (vote, meta, piece) = piece.parts()?;
    let (own, applied) = {
        let metrics = raft.metrics();
        let metrics = metrics.borrow();
        (metrics.vote, metrics.last_applied)
    };
    if own > vote {
        // Who sends it leads no more.
        return Ok(SnapshotTaken::of(own, 0, false));
    }
    if applied >= meta.last_log_id {
        // It is installed, and only that answer was lost.
        return Ok(SnapshotTaken::of(vote, 0, true));
    }
    let files = incoming.clone();
    let progress = tokio::task::spawn_blocking(move || files.take(&piece))
        .await
        .map_err(io::Error::other)??;
    let file = match progress {
        Progress::Wanted(next) => return Ok(SnapshotTaken::of(vote, next, false)),
        Progress::Whole(file) => file,
    };
    let files = incoming.clone();
    let (file, checked) = tokio::task::spawn_blocking(move || {
        let mut file = file;
        let checked = snapshot_file::check(&mut file);
        // Open, it needs no name any more; and what is damaged is sent anew.
        files.clear().map(|()| (file, checked))
    })
    .await
    .map_err(io::Error::other)??;
    checked.map_err(io::Error::other)?;
    let snapshot = Snapshot {
        meta,
        snapshot: Box::new(tokio::fs::File::from_std(file)),
    };
    let installed = raft
        .install_full_snapshot(vote, snapshot)
        .await
        .map_err(io::Error::other)?;
    Ok(SnapshotTaken::of(installed.vote, 0, true))
}
