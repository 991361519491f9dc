//! In which order events are read. Pure.

use chv_domain::Seq;

/// In which order events are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// Upward.
    #[default]
    OldestFirst,
    /// Downward.
    NewestFirst,
}

impl Order {
    /// The number that comes after `seq` in this order; `None` when there is none.
    pub fn after(self, seq: Seq) -> Option<Seq> {
        let next = match self {
            Self::OldestFirst => seq.0.checked_add(1),
            Self::NewestFirst => seq.0.checked_sub(1),
        };
        next.map(Seq)
    }

    /// Whether `one` comes after `other` in this order.
    pub fn is_after(self, one: Seq, other: Seq) -> bool {
        match self {
            Self::OldestFirst => one > other,
            Self::NewestFirst => one < other,
        }
    }
}
