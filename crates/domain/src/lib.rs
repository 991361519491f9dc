//! Chronovisor's rules, and nothing else: what a command may do, which events it decides, and what
//! state those events fold to.
//!
//! Pure by construction: no runtime, no broker, no disk, no clock, no randomness. Whoever calls
//! [`decide()`] hands in the time and the hosts that are alive; [`Projection::apply_batch`] needs neither.
//! The scheduler, the host daemon, the command line and every test use this one copy of the rules.

pub mod actor;
pub mod cluster;
pub mod command;
pub mod decide;
pub mod desired;
pub mod event;
mod evolve;
pub mod format;
mod hash;
pub mod host;
pub mod ids;
pub mod invariants;
pub mod lease;
pub mod life;
pub mod name;
pub mod parts;
pub mod placement;
pub mod projection;
pub mod record;
pub mod rejection;
pub mod restart;
pub mod retention;
pub mod seq;
pub mod spec;
pub mod stored;
mod text;
pub mod texts;
pub mod time;
pub mod trace;
pub mod units;
pub mod vm;
mod vm_names;

pub use actor::Actor;
pub use cluster::{Introduction, Member, Replicas, Standing};
pub use command::{Command, Observation, Submission, Verb, VmRef};
pub use decide::{Context, Decided, decide, decide_onto, fold_decided};
pub use desired::{DesiredVm, HostSlice};
pub use event::{Event, ExitReason, Resource};
pub use format::FORMAT;
pub use hash::RecordHash;
pub use host::{Capacity, Host, HostFacts, HypervisorFacts, HypervisorKind};
pub use ids::{ClusterId, CommandId, DirectoryId, HostId, ReplicaId, VmId};
pub use lease::LeaseDuration;
pub use name::{HostName, ProjectName, UserName, VmName};
pub use parts::{Parts, Rest, Table};
pub use placement::{Placed, Refusal, Verdict};
pub use projection::{BatchOutcome, Outcome, Projection};
pub use record::{Batch, Cause, Record, RecordBody};
pub use rejection::{Rejection, RejectionCode};
pub use restart::{Aftermath, NoMore, Run};
pub use retention::{Forgotten, KeepFor, KeepSize, Retention};
pub use seq::{Epoch, Seq, Term};
pub use spec::VmSpec;
pub use texts::TextsChange;
pub use time::Timestamp;
pub use trace::TraceContext;
pub use units::{Memory, Vcpus};
pub use vm::{Phase, Power, Reboot, Status, StopHow, Unapplied, Vm};
