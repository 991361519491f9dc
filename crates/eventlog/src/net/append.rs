//! The leader's entries on their way in: handed to Raft, or refused while the disk takes no more of them.
//!
//! While there is too little room, what can't wait is taken from the reserve: the entry by which a new leader begins its
//! term, membership, and what makes room. While the disk can't be written, nothing is handed to Raft, which would have to
//! write even who leads now: it stands still, and learns that from the first word after. A refusing replica still hears its
//! leader, and so does not stand for election.

use std::io;
use std::time::Duration;

use openraft::EntryPayload;
use openraft::raft::AppendEntriesResponse;

use super::message::{Append, Appended, Told};
use super::server::Answering;
use crate::raft::Entry;

/// A refused leader asks again at once, so it is told so after a while.
const SLOWLY: Duration = Duration::from_millis(100);

pub(super) async fn take(replica: &Answering, append: Append) -> io::Result<Told> {
    let stored = append.stored();
    let mut request = append.request()?;
    let vote = request.vote;
    replica.hear(vote);
    if let Err(trouble) = replica.disk.writable() {
        replica.heard.note_leader(vote);
        tokio::time::sleep(SLOWLY).await;
        return Ok(Told::Disk(trouble.into()));
    }
    let short = match request.entries.iter().any(takes_room) {
        true => replica.disk.check().err(),
        false => None,
    };
    if short.is_some() {
        request.entries.clear();
    }
    let ids = request.entries.iter().map(|entry| entry.log_id);
    replica.log.note_arrived(ids.zip(stored).collect());
    Ok(match (replica.raft.append_entries(request).await, short) {
        (Err(error), _) => Told::Failed(error.to_string()),
        (Ok(AppendEntriesResponse::Success | AppendEntriesResponse::PartialSuccess(_)), Some(short)) => {
            tokio::time::sleep(SLOWLY).await;
            Told::Disk(short.into())
        }
        (Ok(response), _) => {
            // A replica that led before may still have entries of its own on their way to the disk, and this
            // says that it has them.
            replica.log.all_flushed().await.map_err(io::Error::other)?;
            replica.hear(vote);
            Told::Append(Appended::of(&response).with(replica.disk.check().err()))
        }
    })
}

fn takes_room(entry: &Entry) -> bool {
    matches!(&entry.payload, EntryPayload::Normal(batch) if !batch.makes_room())
}
