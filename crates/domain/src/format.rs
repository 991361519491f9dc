//! The format of records: which kinds of events a program knows, as one number that replicas tell each other.
//!
//! A kind that is added later comes with the next number, here and in [`Event::format`]: a program with a lower one
//! can't read it, and stops where it meets it.

use crate::event::Event;

/// The highest format that this program knows.
pub const FORMAT: u32 = 1;

impl Event {
    /// The format that this kind came with.
    pub const fn format(&self) -> u32 {
        match self {
            Self::HostRegistered { .. }
            | Self::HostFactsChanged { .. }
            | Self::HostCordoned { .. }
            | Self::HostUncordoned { .. }
            | Self::VmCreated { .. }
            | Self::VmPlaced { .. }
            | Self::VmStartRequested { .. }
            | Self::VmStopRequested { .. }
            | Self::VmDeleteRequested { .. }
            | Self::VmStarted { .. }
            | Self::VmReady { .. }
            | Self::VmAdopted { .. }
            | Self::VmExited { .. }
            | Self::VmBlocked { .. }
            | Self::VmUnblocked { .. }
            | Self::VmDeleted { .. }
            | Self::ClusterFormed { .. }
            | Self::ReplicaAdded { .. }
            | Self::ReplicaJoined { .. }
            | Self::ReplicaRemoved { .. }
            | Self::ReplicaLeft { .. }
            | Self::StepDownRequested { .. }
            | Self::RetentionSet { .. }
            | Self::HistoryForgotten { .. } => 1,
        }
    }
}
