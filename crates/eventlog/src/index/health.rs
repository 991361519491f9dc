//! How the index is, for those who look after a replica.

use chv_domain::Seq;

/// What the index can be used for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum IndexState {
    /// It is being opened, or begun again; searches wait for it.
    #[default]
    Opening,
    /// It answers.
    Ready,
    /// It can't be used; searches are refused. The replica's log tells why.
    Unusable,
}

impl IndexState {
    /// In one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Ready => "ready",
            Self::Unusable => "unusable",
        }
    }
}

/// How the index is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IndexHealth {
    /// What it can be used for.
    pub state: IndexState,
    /// The last event that is in it.
    pub seq: Seq,
    /// Up to this event it was last compared, whole, with the log and with sealed history, and agreed.
    pub verified: Seq,
    /// How often it was made again since the replica was started, because it did not agree with them.
    pub rebuilt: u32,
}
