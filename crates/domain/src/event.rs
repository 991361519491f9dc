//! What happened. Events are facts in the past tense: committed, never rejected, never changed.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::host::{HostFacts, HypervisorKind};
use crate::ids::{DirectoryId, HostId, ReplicaId, VmId};
use crate::name::{HostName, ProjectName, VmName};
use crate::placement::Placed;
use crate::restart::Aftermath;
use crate::retention::{Forgotten, Retention};
use crate::seq::{Epoch, Seq};
use crate::spec::{FieldPath, VmSpec};
use crate::time::Timestamp;
use crate::vm::{Power, StopHow};

/// How a guest ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExitReason {
    /// The guest powered itself off, as it was asked to by the power button.
    PoweredOff,
    /// The host killed it because a kill or a forced delete was asked for.
    Killed,
    /// It did not stop within its timeout, so the host killed it.
    StopTimedOut,
    /// The hypervisor ended with an error; its status and last words.
    Crashed(String),
    /// The hypervisor's process was gone, and nobody had asked for that.
    Vanished,
    /// Ended for its host's lease: by the host, or as the leader knows that the host has done.
    LeaseEnded,
    /// The guest powered itself off, and nobody had asked it to.
    PoweredOffItself,
    /// The guest's kernel panicked; what it said of that.
    Panicked(String),
    /// Guest and hypervisor used more memory than they may, so the host's kernel ended them.
    OutOfMemory,
}

impl ExitReason {
    /// Whether somebody had asked for the end.
    pub const fn was_asked_for(&self) -> bool {
        matches!(self, Self::PoweredOff | Self::Killed | Self::StopTimedOut)
    }
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PoweredOff => f.write_str("powered off"),
            Self::Killed => f.write_str("killed as asked"),
            Self::StopTimedOut => f.write_str("killed after the stop timeout"),
            Self::Crashed(detail) => write!(f, "hypervisor failed: {detail}"),
            Self::Vanished => f.write_str("process gone, not by Chronovisor"),
            Self::LeaseEnded => f.write_str("ended with its host's lease"),
            Self::PoweredOffItself => f.write_str("powered off by the guest itself"),
            Self::Panicked(detail) => write!(f, "guest's kernel panicked: {detail}"),
            Self::OutOfMemory => f.write_str("used more memory than its host lets it"),
        }
    }
}

/// One fact. Its number, time, actor and cause are its record's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Event {
    /// A host daemon introduced its host.
    HostRegistered {
        /// The host.
        host: HostId,
        /// Its name.
        name: HostName,
        /// What it found out about itself.
        facts: HostFacts,
    },
    /// A host daemon found out something new about its host.
    HostFactsChanged {
        /// The host.
        host: HostId,
        /// All of its facts, as they are now.
        facts: HostFacts,
    },
    /// New VMs are kept away from the host.
    HostCordoned {
        /// The host.
        host: HostId,
    },
    /// New VMs may come to the host again.
    HostUncordoned {
        /// The host.
        host: HostId,
    },
    /// A VM was accepted into a project.
    VmCreated {
        /// The VM.
        vm: VmId,
        /// Its project.
        project: ProjectName,
        /// Its name.
        name: VmName,
        /// Its labels.
        labels: BTreeMap<String, String>,
        /// What it is.
        spec: Arc<VmSpec>,
        /// What it should do from the start.
        power: Power,
    },
    /// A host was chosen; this event's seq is the VM's epoch there.
    VmPlaced {
        /// The VM.
        vm: VmId,
        /// Where, and why there.
        placed: Placed,
    },
    /// The VM should run.
    VmStartRequested {
        /// The VM.
        vm: VmId,
    },
    /// The VM should not run.
    VmStopRequested {
        /// The VM.
        vm: VmId,
        /// How to stop it.
        how: StopHow,
    },
    /// The VM should be held.
    VmPauseRequested {
        /// The VM.
        vm: VmId,
    },
    /// The VM should run on.
    VmResumeRequested {
        /// The VM.
        vm: VmId,
    },
    /// The VM should boot anew, once, after this event.
    VmRebootRequested {
        /// The VM.
        vm: VmId,
        /// How the guest that runs is ended for it.
        how: StopHow,
    },
    /// The VM should be removed.
    VmDeleteRequested {
        /// The VM.
        vm: VmId,
    },
    /// The VM is deleted, and can be undeleted for a time. It should not run, and its name is free again.
    VmBinned {
        /// The VM.
        vm: VmId,
        /// When it is to be removed.
        until: Timestamp,
        /// How the guest is ended, should it run.
        how: StopHow,
    },
    /// The VM is deleted no more. It should not run.
    VmUndeleted {
        /// The VM.
        vm: VmId,
        /// Its name.
        name: VmName,
    },
    /// The hypervisor said that the guest's processors run.
    VmStarted {
        /// The VM.
        vm: VmId,
        /// The grant under which it was started.
        epoch: Epoch,
        /// What runs it.
        hypervisor: HypervisorKind,
        /// Its process on the host.
        pid: u32,
        /// From the first step to the hypervisor's word, in microseconds, by the host's clock.
        took_us: u64,
    },
    /// The guest said that it is ready.
    VmReady {
        /// The VM.
        vm: VmId,
        /// The grant under which it runs.
        epoch: Epoch,
    },
    /// A restarted host daemon found the guest still running, and looks after it again.
    VmAdopted {
        /// The VM.
        vm: VmId,
        /// The grant under which it runs.
        epoch: Epoch,
        /// What runs it.
        hypervisor: HypervisorKind,
        /// Its process on the host.
        pid: u32,
        /// How long that process has run, in milliseconds.
        uptime_ms: u64,
        /// Whether its vCPUs are held.
        paused: bool,
    },
    /// The guest ended.
    VmExited {
        /// The VM.
        vm: VmId,
        /// The grant under which it ran.
        epoch: Epoch,
        /// How it ended.
        reason: ExitReason,
        /// The last lines of its console, when nobody had asked for its end; as the guest wrote them.
        console: String,
        /// What becomes of it.
        then: Aftermath,
    },
    /// The host can't make the VM what it should be; it goes on trying.
    VmBlocked {
        /// The VM.
        vm: VmId,
        /// The grant under which the host tries.
        epoch: Epoch,
        /// What stands in the way, and what to do.
        reason: String,
    },
    /// What stood in the way is gone, without another event that says so.
    VmUnblocked {
        /// The VM.
        vm: VmId,
        /// The grant under which the host tried.
        epoch: Epoch,
    },
    /// The VM has another name in its project.
    VmRenamed {
        /// The VM.
        vm: VmId,
        /// Its name.
        name: VmName,
    },
    /// The VM is to be something else.
    VmSpecChanged {
        /// The VM.
        vm: VmId,
        /// All that it is to be.
        spec: Arc<VmSpec>,
    },
    /// The guest that runs is what its VM is to be since the last change, as far as that goes without a new start.
    VmSpecApplied {
        /// The VM.
        vm: VmId,
        /// The grant under which it runs.
        epoch: Epoch,
        /// What needs a new start; none when all of it is so.
        restart_needed: Vec<FieldPath>,
    },
    /// The VM has other labels.
    VmLabelsChanged {
        /// The VM.
        vm: VmId,
        /// All of them, as they are now.
        labels: BTreeMap<String, String>,
    },
    /// The VM has other annotations.
    VmAnnotationsChanged {
        /// The VM.
        vm: VmId,
        /// All of them, as they are now.
        annotations: BTreeMap<String, String>,
    },
    /// The VM can't be deleted from now on, or can again.
    VmProtectionChanged {
        /// The VM.
        vm: VmId,
        /// Whether it can't be deleted.
        protected: bool,
    },
    /// The guest is held.
    VmPaused {
        /// The VM.
        vm: VmId,
        /// The grant under which it runs.
        epoch: Epoch,
    },
    /// The guest runs again.
    VmResumed {
        /// The VM.
        vm: VmId,
        /// The grant under which it runs.
        epoch: Epoch,
    },
    /// The guest booted anew in the process that it has.
    VmRebooted {
        /// The VM.
        vm: VmId,
        /// The grant under which it runs.
        epoch: Epoch,
        /// The event that ordered it; `None` when the guest did it by itself.
        order: Option<Seq>,
    },
    /// Nothing of the VM is left on its host, and its name is free again.
    VmDeleted {
        /// The VM.
        vm: VmId,
    },
    /// The first leader recorded who the replicas are.
    ClusterFormed {
        /// The voters, and where each is reached.
        replicas: BTreeMap<ReplicaId, SocketAddr>,
    },
    /// A new replica should hold the log, and vote once it has caught up.
    ReplicaAdded {
        /// The replica.
        replica: ReplicaId,
        /// Where the others reach it.
        address: SocketAddr,
        /// The voter that leaves at that moment.
        instead_of: Option<ReplicaId>,
    },
    /// A replica has caught up and votes.
    ReplicaJoined {
        /// The replica.
        replica: ReplicaId,
    },
    /// A replica should hold the log no more.
    ReplicaRemoved {
        /// The replica.
        replica: ReplicaId,
    },
    /// A replica is no part of the log's membership any more. Its id is not given again.
    ReplicaLeft {
        /// The replica.
        replica: ReplicaId,
    },
    /// The leader of this record's term should let another replica lead.
    StepDownRequested {
        /// That leader.
        leader: ReplicaId,
    },
    /// So much of history is kept from now on.
    RetentionSet {
        /// How much.
        retention: Retention,
    },
    /// History is kept no more before an event, by any replica.
    HistoryForgotten {
        /// Up to where.
        forgotten: Forgotten,
    },
    /// The leader heard which data directory a replica has. Under another one its number counts for nothing.
    ReplicaIntroduced {
        /// The replica.
        replica: ReplicaId,
        /// Its data directory.
        directory: DirectoryId,
    },
    /// Every replica reads records up to this format, so they may be written from now on.
    FormatRaised {
        /// The format.
        format: u32,
    },
}

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resource {
    /// A VM.
    Vm(VmId),
    /// A host.
    Host(HostId),
    /// The cluster itself.
    Cluster,
}

impl Event {
    /// What it is about.
    pub const fn resource(&self) -> Resource {
        match self {
            Self::HostRegistered { host, .. }
            | Self::HostFactsChanged { host, .. }
            | Self::HostCordoned { host }
            | Self::HostUncordoned { host } => Resource::Host(*host),
            Self::VmCreated { vm, .. }
            | Self::VmPlaced { vm, .. }
            | Self::VmStartRequested { vm }
            | Self::VmStopRequested { vm, .. }
            | Self::VmPauseRequested { vm }
            | Self::VmResumeRequested { vm }
            | Self::VmRebootRequested { vm, .. }
            | Self::VmDeleteRequested { vm }
            | Self::VmBinned { vm, .. }
            | Self::VmUndeleted { vm, .. }
            | Self::VmStarted { vm, .. }
            | Self::VmReady { vm, .. }
            | Self::VmAdopted { vm, .. }
            | Self::VmExited { vm, .. }
            | Self::VmBlocked { vm, .. }
            | Self::VmUnblocked { vm, .. }
            | Self::VmPaused { vm, .. }
            | Self::VmRenamed { vm, .. }
            | Self::VmSpecChanged { vm, .. }
            | Self::VmSpecApplied { vm, .. }
            | Self::VmLabelsChanged { vm, .. }
            | Self::VmAnnotationsChanged { vm, .. }
            | Self::VmProtectionChanged { vm, .. }
            | Self::VmResumed { vm, .. }
            | Self::VmRebooted { vm, .. }
            | Self::VmDeleted { vm } => Resource::Vm(*vm),
            Self::ClusterFormed { .. }
            | Self::ReplicaAdded { .. }
            | Self::ReplicaJoined { .. }
            | Self::ReplicaRemoved { .. }
            | Self::ReplicaLeft { .. }
            | Self::StepDownRequested { .. }
            | Self::RetentionSet { .. }
            | Self::HistoryForgotten { .. }
            | Self::ReplicaIntroduced { .. }
            | Self::FormatRaised { .. } => Resource::Cluster,
        }
    }

    /// Its kind: the last token of the subject that it is published on, and what `chv events` shows.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::HostRegistered { .. } => "registered",
            Self::HostFactsChanged { .. } => "facts-changed",
            Self::HostCordoned { .. } => "cordoned",
            Self::HostUncordoned { .. } => "uncordoned",
            Self::VmCreated { .. } => "created",
            Self::VmPlaced { .. } => "placed",
            Self::VmStartRequested { .. } => "start-requested",
            Self::VmStopRequested { .. } => "stop-requested",
            Self::VmPauseRequested { .. } => "pause-requested",
            Self::VmResumeRequested { .. } => "resume-requested",
            Self::VmRebootRequested { .. } => "reboot-requested",
            Self::VmDeleteRequested { .. } => "delete-requested",
            Self::VmBinned { .. } => "binned",
            Self::VmUndeleted { .. } => "undeleted",
            Self::VmStarted { .. } => "started",
            Self::VmReady { .. } => "ready",
            Self::VmAdopted { .. } => "adopted",
            Self::VmExited { .. } => "exited",
            Self::VmBlocked { .. } => "blocked",
            Self::VmUnblocked { .. } => "unblocked",
            Self::VmPaused { .. } => "paused",
            Self::VmRenamed { .. } => "renamed",
            Self::VmSpecChanged { .. } => "spec-changed",
            Self::VmSpecApplied { .. } => "spec-applied",
            Self::VmLabelsChanged { .. } => "labels-changed",
            Self::VmAnnotationsChanged { .. } => "annotations-changed",
            Self::VmProtectionChanged { .. } => "protection-changed",
            Self::VmResumed { .. } => "resumed",
            Self::VmRebooted { .. } => "rebooted",
            Self::VmDeleted { .. } => "deleted",
            Self::ClusterFormed { .. } => "formed",
            Self::ReplicaAdded { .. } => "replica-added",
            Self::ReplicaJoined { .. } => "replica-joined",
            Self::ReplicaRemoved { .. } => "replica-removed",
            Self::ReplicaLeft { .. } => "replica-left",
            Self::StepDownRequested { .. } => "step-down-requested",
            Self::RetentionSet { .. } => "retention-set",
            Self::HistoryForgotten { .. } => "history-forgotten",
            Self::ReplicaIntroduced { .. } => "replica-introduced",
            Self::FormatRaised { .. } => "format-raised",
        }
    }
}
