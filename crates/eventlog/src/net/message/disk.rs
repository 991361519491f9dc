//! What a replica says of its disk.

use crate::files::DiskTrouble;

/// Why a replica takes no more of the log.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(in crate::net) struct Trouble {
    /// Whether its disk can't be written; otherwise it is nearly full.
    #[prost(bool, tag = "1")]
    read_only: bool,
    /// In words, with what to do.
    #[prost(string, tag = "2")]
    why: String,
}

impl From<DiskTrouble> for Trouble {
    fn from(trouble: DiskTrouble) -> Self {
        let why = trouble.to_string();
        let read_only = matches!(trouble, DiskTrouble::ReadOnly(_));
        Self { read_only, why }
    }
}

impl From<Trouble> for DiskTrouble {
    fn from(told: Trouble) -> Self {
        match told.read_only {
            true => Self::ReadOnly(told.why),
            false => Self::NearlyFull(told.why),
        }
    }
}
