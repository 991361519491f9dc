//! The format of records: which kinds of events a program knows, as one number that replicas tell each other.
//!
//! From the first release on, a kind that is added comes with the next number, here and in [`Event::format`]: a program
//! with a lower one can't read it, and stops where it meets it. So none is written before each replica has said that it
//! reads it: see [`crate::cluster::Cluster::format`]. Format 1 is what the first release has; until then kinds are added
//! to it, and what one build wrote another one need not read (docs/adr/0019-versions.md).

use crate::event::Event;
use crate::rejection::{Rejection, RejectionCode};

/// What every program reads.
pub(crate) const FIRST_FORMAT: u32 = 1;

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
            | Self::VmPauseRequested { .. }
            | Self::VmResumeRequested { .. }
            | Self::VmRebootRequested { .. }
            | Self::VmDeleteRequested { .. }
            | Self::VmBinned { .. }
            | Self::VmUndeleted { .. }
            | Self::VmStarted { .. }
            | Self::VmReady { .. }
            | Self::VmAdopted { .. }
            | Self::VmExited { .. }
            | Self::VmBlocked { .. }
            | Self::VmUnblocked { .. }
            | Self::VmPaused { .. }
            | Self::VmRenamed { .. }
            | Self::VmSpecChanged { .. }
            | Self::VmSpecApplied { .. }
            | Self::VmLabelsChanged { .. }
            | Self::VmAnnotationsChanged { .. }
            | Self::VmProtectionChanged { .. }
            | Self::VmResumed { .. }
            | Self::VmRebooted { .. }
            | Self::VmDeleted { .. }
            | Self::ClusterFormed { .. }
            | Self::ReplicaAdded { .. }
            | Self::ReplicaJoined { .. }
            | Self::ReplicaRemoved { .. }
            | Self::ReplicaLeft { .. }
            | Self::StepDownRequested { .. }
            | Self::RetentionSet { .. }
            | Self::HistoryForgotten { .. }
            | Self::ReplicaIntroduced { .. }
            | Self::FormatRaised { .. } => 1,
        }
    }
}

/// Refuses events that some replica could not read yet; `agreed` is what all of them do.
pub(crate) fn all_read(events: &[Event], agreed: u32) -> Result<(), Rejection> {
    let Some(newer) = events.iter().find(|event| event.format() > agreed) else {
        return Ok(());
    };
    let message = format!(
        "this would record {:?}, of format {}, and the cluster writes up to format {agreed} for as long as a replica \
         reads no more; upgrade every replica, then send it again",
        newer.kind(),
        newer.format(),
    );
    Err(Rejection::new(RejectionCode::ReplicasTooOld, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_a_replica_could_not_read_is_refused_until_all_can() {
        let events = [Event::FormatRaised { format: 2 }];
        let refused = all_read(&events, 0).unwrap_err();
        assert_eq!(refused.code, RejectionCode::ReplicasTooOld);
        assert!(refused.message.contains("upgrade every replica"), "{refused}");
        assert_eq!(all_read(&events, 1), Ok(()));
    }
}
