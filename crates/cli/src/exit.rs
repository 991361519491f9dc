//! How `chv` ends: the numbers that scripts tell apart. They never change their meaning.

use std::process::ExitCode;

/// How an invocation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done, or it was so already.
    Done = 0,
    /// A defect in Chronovisor, or versions that don't fit together.
    Internal = 1,
    /// The arguments or a manifest are wrong; nothing was sent.
    Usage = 2,
    /// Refused; nothing changed.
    Rejected = 3,
    /// Refused, as the name exists already or the revision is another one; nothing changed.
    Conflict = 4,
    /// There is no such thing.
    NotFound = 5,
    /// Not in time: the outcome is unknown, or it was taken on and is not there yet.
    TimedOut = 6,
    /// No NATS, or no scheduler answers on it.
    Unreachable = 7,
    /// This user may not do that.
    NotPermitted = 8,
    /// It was taken on, and can't be reached: the VM is blocked, or somebody changed it meanwhile.
    Blocked = 9,
    /// A file is not what was written.
    Damaged = 10,
    /// Interrupted by Ctrl-C; what was taken on goes on.
    Interrupted = 130,
}

impl Exit {
    /// Every way to end.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 12] = [
        Self::Done,
        Self::Internal,
        Self::Usage,
        Self::Rejected,
        Self::Conflict,
        Self::NotFound,
        Self::TimedOut,
        Self::Unreachable,
        Self::NotPermitted,
        Self::Blocked,
        Self::Damaged,
        Self::Interrupted,
    ];

    /// The number.
    pub(crate) const fn number(self) -> u8 {
        self as u8
    }

    /// For a refusal with this code. Codes that this version does not know are rejections.
    pub(crate) fn of_code(code: &str) -> Self {
        match code {
            "exists" | "conflict" | "id_used" | "under_way" => Self::Conflict,
            "not_found" => Self::NotFound,
            "not_permitted" => Self::NotPermitted,
            "busy" | "disk_full" | "disk_read_only" | "not_leader" | "unavailable" | "behind" => {
                Self::Unreachable
            }
            "timeout" => Self::TimedOut,
            "internal" => Self::Internal,
            _ => Self::Rejected,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.number().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docs_cli_names_every_exit_code() {
        let docs = include_str!("../../../docs/cli.md");
        for exit in Exit::ALL {
            let row = format!("| {} | ", exit.number());
            assert!(docs.contains(&row), "docs/cli.md has no row for {exit:?}");
        }
    }

    #[test]
    fn every_code_ends_as_documented() {
        let docs = include_str!("../../../docs/reference/codes.md");
        let mut rows = 0;
        for row in docs.lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let (code, exit) = (cells[1].trim_matches('`'), cells[4]);
            if !exit.is_empty() {
                assert_eq!(Exit::of_code(code).number().to_string(), exit, "{code}");
                rows += 1;
            }
        }
        assert!(
            rows > chv_domain::RejectionCode::ALL.len(),
            "{rows} codes are documented"
        );
    }
}
