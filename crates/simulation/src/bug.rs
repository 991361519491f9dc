//! Rules that can be switched off, to see that the checks would notice. Only the model has these switches.

use std::fmt;
use std::str::FromStr;

/// A rule that is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// Replicas apply a batch whatever term and state it was decided in, and a new leader decides at once.
    Fencing,
    /// A retry is not known to be one.
    Dedupe,
    /// Nobody waits for the disk before saying that it has an entry.
    Flush,
    /// A leader that counts its own entries before they are flushed shows them, too.
    Gate,
    /// Leadership is not made sure of before a refusal or a read is answered.
    Confirm,
    /// Events count as published once they are handed over.
    Mark,
    /// A mark that is lost is not sent again.
    LostMark,
    /// What the client has no room for counts as handed over.
    Room,
    /// A new leader waits for no lease that it has not granted itself.
    Lease,
    /// Nobody but a host's daemon ends guests whose lease has ended.
    Guard,
    /// A host starts what it believes to be its own before it has followed what the leader named.
    Behind,
    /// An entry that was confirmed is answered although one before it failed.
    Rest,
}

impl Bug {
    /// Every one.
    pub const ALL: [Self; 12] = [
        Self::Fencing,
        Self::Dedupe,
        Self::Flush,
        Self::Gate,
        Self::Confirm,
        Self::Mark,
        Self::LostMark,
        Self::Room,
        Self::Lease,
        Self::Guard,
        Self::Behind,
        Self::Rest,
    ];

    /// Its name on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fencing => "fencing",
            Self::Dedupe => "dedupe",
            Self::Flush => "flush",
            Self::Gate => "gate",
            Self::Confirm => "confirm",
            Self::Mark => "mark",
            Self::LostMark => "lost-mark",
            Self::Room => "room",
            Self::Lease => "lease",
            Self::Guard => "guard",
            Self::Behind => "behind",
            Self::Rest => "rest",
        }
    }
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Bug {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = Self::ALL.into_iter().find(|bug| bug.as_str() == text);
        named.ok_or_else(|| format!("{text:?} is none of: {}", Self::ALL.map(Self::as_str).join(", ")))
    }
}
