//! How `chv-scheduler` ends: the numbers that service managers tell apart. They never change their meaning, and
//! `deploy/systemd` names those after which a restart is of no use.

use std::process::ExitCode;

use chv_eventlog::{OpenError, Unwelcome};
use chv_scheduler::ReplicaError;

/// How a process ended that did not end as asked. Wrong arguments end it with 2, which is clap's doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Something failed that may be well after a restart.
    Failed = 1,
    /// The cluster writes what this version does not know.
    Outdated = 4,
    /// The cluster knows this replica by another data directory.
    OtherDirectory = 5,
}

impl Exit {
    /// After this error.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        match error.downcast_ref() {
            Some(
                ReplicaError::Outdated(_)
                | ReplicaError::Open(OpenError::TooOld { .. })
                | ReplicaError::Unwelcome(Unwelcome::TooOld { .. }),
            ) => Self::Outdated,
            Some(ReplicaError::Unwelcome(Unwelcome::OtherDirectory { .. })) => Self::OtherDirectory,
            _ => Self::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        (exit as u8).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chv_domain::{DirectoryId, ReplicaId};
    use clap::Parser as _;

    fn replica(number: u64) -> ReplicaId {
        ReplicaId::new(number).unwrap()
    }

    #[test]
    fn given_a_cluster_that_writes_more_when_open_or_told_then_it_ends_as_outdated() {
        let (needed, reads) = (2, 1);
        let opening = ReplicaError::Open(OpenError::TooOld { needed, reads });
        let by = replica(2);
        let told = ReplicaError::Unwelcome(Unwelcome::TooOld { by, needed, reads });
        for error in [opening, told] {
            assert_eq!(Exit::of(&anyhow::Error::from(error)), Exit::Outdated);
        }
    }

    #[test]
    fn given_another_directory_then_it_ends_so_and_what_else_fails_may_be_well_after_a_restart() {
        let other = ReplicaError::Unwelcome(Unwelcome::OtherDirectory {
            by: replica(2),
            replica: replica(1),
            own: DirectoryId::from_bytes([1; 16]),
            known: DirectoryId::from_bytes([2; 16]),
        });
        assert_eq!(Exit::of(&other.into()), Exit::OtherDirectory);
        assert_eq!(Exit::of(&ReplicaError::Log(String::new()).into()), Exit::Failed);
        assert_eq!(Exit::of(&anyhow::anyhow!("anything")), Exit::Failed);
    }

    #[test]
    fn the_unit_names_exactly_the_codes_after_which_a_restart_is_of_no_use() {
        let usage = crate::Cli::try_parse_from(["chv-scheduler", "run", "--no-such-option"]);
        let usage = usage.err().expect("there is no such option").exit_code();
        let of_no_use = [usage, Exit::Outdated as i32, Exit::OtherDirectory as i32];
        let unit = include_str!("../../../deploy/systemd/chv-scheduler.service");
        let named: Vec<i32> = unit
            .lines()
            .filter_map(|line| line.strip_prefix("RestartPreventExitStatus="))
            .flat_map(str::split_whitespace)
            .map(|code| code.parse().unwrap())
            .collect();
        assert_eq!(named, of_no_use);
    }
}
