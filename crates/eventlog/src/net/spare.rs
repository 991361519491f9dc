//! Connections that are not used for now. Raft makes a client of its own for each question to all, and drops it when it
//! has an answer or no patience; the connection, or the handshake that is under way, is kept for the next one.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::task::AbortOnDropHandle;

use super::dial::Connection;

/// A handshake that is under way.
pub(super) type Dialling = AbortOnDropHandle<io::Result<Connection>>;

/// What is kept of one replica.
pub(super) enum Spare {
    /// Ready.
    Connection(Connection),
    /// Soon.
    Dialling(Dialling),
}

/// One connection to each replica, at most, that nobody uses. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub(super) struct Spares(Arc<Mutex<BTreeMap<(u64, SocketAddr), Spare>>>);

impl Spares {
    /// Takes what is kept for the replica `target` at `address`.
    pub(super) fn take(&self, target: u64, address: SocketAddr) -> Option<Spare> {
        let mut spares = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        spares.remove(&(target, address))
    }

    /// Keeps `spare`, instead of what was kept. One that is elsewhere than before is not kept beside that.
    pub(super) fn keep(&self, target: u64, address: SocketAddr, spare: Spare) {
        let mut spares = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        spares.retain(|(other, _), _| *other != target);
        spares.insert((target, address), spare);
    }
}
