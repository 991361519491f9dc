//! What a leader does while it can't decide: it refuses commands with the reason, so that their senders are not left to
//! think that nobody leads, and answers queries as far as it can.
//!
//! It can't as long as its own disk can't be written, or what was appended is not committed since too few disks take it.

use std::time::Duration;

use chv_eventlog::Leadership;
use futures::StreamExt;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::intake::{self, Messages};
use crate::answer::TryAgain;
use crate::query::{self, Reader};

/// How often it is looked whether the disks are why.
const LOOK: Duration = Duration::from_millis(500);

/// Resolves once all that this replica's log has is applied here, and its disk can be written: whether it leads then. What
/// comes of commands meanwhile is refused where it is known that disks are why, and so is what is `left` to be read.
pub(super) async fn until_settled(reader: &Reader, left: Option<Messages>) -> bool {
    let mut leadership = reader.log.leadership();
    let over = CancellationToken::new();
    let _ends = over.clone().drop_guard();
    tokio::select! {
        biased;
        () = reader.log.writable_and_settled() => true,
        _ = leadership.wait_for(|state| !matches!(state, Leadership::Leader { .. })) => false,
        () = say_why(reader, left, over) => false,
    }
}

/// Does so until it is dropped.
async fn say_why(reader: &Reader, left: Option<Messages>, over: CancellationToken) {
    let why = loop {
        match reader.log.disks() {
            Err(why) => break why,
            Ok(()) => tokio::time::sleep(LOOK).await,
        }
    };
    warn!(%why, "this replica leads, and takes no commands");
    let queries = async {
        if let Err(error) = query::answer_as_leader(reader.clone(), over).await {
            warn!(%error, "queries for the leader are not answered");
        }
    };
    tokio::join!(queries, refuse(reader, left));
    std::future::pending().await
}

async fn refuse(reader: &Reader, left: Option<Messages>) {
    let mut messages = match left {
        Some(messages) => messages,
        None => match intake::listen(&reader.connection).await {
            Ok(messages) => messages,
            Err(error) => return warn!(%error, "commands can't be refused with the reason"),
        },
    };
    while let Some(message) = messages.next().await {
        let why = reader.log.disks().err();
        let why = why.map_or(TryAgain::NotLeader, TryAgain::NoDisk);
        intake::refuse(&reader.connection, &message, &why).await;
    }
    info!("the broker's client ended what commands are heard with");
}
