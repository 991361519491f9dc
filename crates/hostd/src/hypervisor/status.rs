//! How a machine is, in the hypervisor's own words.

use super::process::Exit;

/// How a machine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Created; its vCPUs don't run yet.
    Booting,
    /// Its vCPUs run.
    Running,
    /// Its vCPUs are held.
    Paused,
    /// The guest has powered off; its process is about to end.
    ShuttingDown,
    /// The hypervisor holds it because something on this host failed, for this reason; it may be resumed.
    Stalled(String),
    /// The hypervisor gave the guest up, in this state of its own. It won't run again: kill it.
    Broken(String),
    /// Its process has ended.
    Gone(Exit),
    /// The hypervisor can't be asked now, for this reason. Says nothing about the machine.
    Unknown(String),
}
