//! What both sides of a connection say of themselves first, and what each makes of it: which data directory the other
//! one has, and which records it reads. Both count once the caller has proved to be of this cluster.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use chv_domain::{DirectoryId, Introduction, ReplicaId};
use tokio::sync::watch;

use super::message::{Hello, PROTOCOL};
use crate::files::Identity;
use crate::raft::state_machine::Applied;

/// Why the other replicas talk with this one no more. Its process should end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unwelcome {
    /// Its data directory is not the one that the cluster knows.
    #[error(
        "replica {by} knows replica {replica} by another data directory, {known}, and this one is {own}: what replica \
         {replica} had acknowledged may be lost, so it can't come back under its number. Start it on its old directory; \
         where that is gone, make one with a number that was never used, and `chv cluster replace-replica {replica} NUMBER \
         ADDRESS`"
    )]
    OtherDirectory {
        /// Who said so.
        by: ReplicaId,
        /// This replica.
        replica: ReplicaId,
        /// Its directory.
        own: DirectoryId,
        /// The one that the cluster knows.
        known: DirectoryId,
    },
    /// The cluster writes records that this program does not read.
    #[error(
        "replica {by} says that the cluster writes records up to format {needed}, and this program reads up to {reads}: \
         start a newer version on the same data"
    )]
    TooOld {
        /// Who said so.
        by: ReplicaId,
        /// What the cluster writes.
        needed: u32,
        /// What this program reads.
        reads: u32,
    },
}

/// What this replica says of itself, and knows of the others. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(crate) struct Greeting {
    pub(super) identity: Identity,
    /// The highest record format that it reads.
    format: u32,
    applied: Applied,
    told: Arc<Mutex<BTreeMap<ReplicaId, Introduction>>>,
    unwelcome: watch::Sender<Option<Unwelcome>>,
}

impl Greeting {
    pub(crate) fn new(
        identity: Identity,
        format: u32,
        applied: Applied,
        unwelcome: watch::Sender<Option<Unwelcome>>,
    ) -> Self {
        let own = Introduction {
            directory: identity.directory,
            format,
        };
        Self {
            identity,
            format,
            applied,
            told: Arc::new(Mutex::new(BTreeMap::from([(identity.replica, own)]))),
            unwelcome,
        }
    }

    /// What the replicas said of themselves, each the last time, this one among them.
    pub(crate) fn told(&self) -> BTreeMap<ReplicaId, Introduction> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is said first to `to`.
    pub(super) fn hello(&self, to: u64, secret: Bytes) -> Hello {
        let state = self.applied.projection.borrow();
        let known = ReplicaId::new(to).and_then(|to| state.cluster().member(to)?.directory);
        Hello {
            protocol: PROTOCOL,
            cluster: self.identity.cluster.to_bytes().to_vec().into(),
            from: self.identity.replica.get(),
            to,
            secret,
            format: self.format,
            directory: self.identity.directory.to_bytes().to_vec().into(),
            expects: known.map_or_else(Bytes::new, |known| known.to_bytes().to_vec().into()),
            needs: state.cluster().format(),
            refused: String::new(),
        }
    }

    /// Makes of what `peer` said that the two may talk, or why not.
    pub(super) fn heed(&self, peer: ReplicaId, hello: &Hello) -> Result<(), String> {
        let (replica, own) = (self.identity.replica, self.identity.directory);
        if let Some(known) = directory(&hello.expects)
            && known != own
        {
            return Err(self.end(Unwelcome::OtherDirectory {
                by: peer,
                replica,
                own,
                known,
            }));
        }
        if hello.needs > self.format {
            return Err(self.end(Unwelcome::TooOld {
                by: peer,
                needed: hello.needs,
                reads: self.format,
            }));
        }
        let told = directory(&hello.directory);
        let (known, needed) = {
            let state = self.applied.projection.borrow();
            let known = state.cluster().member(peer).and_then(|member| member.directory);
            (known, state.cluster().format())
        };
        if known.is_some() && told != known {
            return Err(format!(
                "replica {peer} has another data directory than the one that the cluster knows, so its log may be \
                 lost; start it on the old one, or replace it: `chv cluster replace-replica {peer} NUMBER ADDRESS`"
            ));
        }
        // One that says nothing of it reads what the first version did.
        let reads = hello.format.max(1);
        if reads < needed {
            return Err(format!(
                "replica {peer} reads records up to format {reads}, and the cluster writes up to {needed}; start a \
                 newer version there"
            ));
        }
        if let Some(directory) = told {
            let introduction = Introduction {
                directory,
                format: reads,
            };
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            told.insert(peer, introduction);
        }
        Ok(())
    }

    fn end(&self, why: Unwelcome) -> String {
        let words = why.to_string();
        self.unwelcome.send_replace(Some(why));
        words
    }
}

fn directory(bytes: &Bytes) -> Option<DirectoryId> {
    bytes.as_ref().try_into().ok().map(DirectoryId::from_bytes)
}
