//! What is asked for. A command is imperative and may be rejected; it is never stored, its events are.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::actor::Actor;
use crate::cluster::Introduction;
use crate::event::ExitReason;
use crate::host::{HostFacts, HypervisorKind};
use crate::ids::{CommandId, HostId, ReplicaId, VmId};
use crate::name::{HostName, ProjectName, VmName};
use crate::restart::Run;
use crate::retention::{Forgotten, KeepFor, Retention};
use crate::seq::{Epoch, Seq};
use crate::spec::{FieldPath, StopTimeout, VmSpec};
use crate::texts::TextsChange;
use crate::time::Timestamp;
use crate::trace::TraceContext;

/// A VM, named as a person would.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VmRef {
    /// By id.
    Id(VmId),
    /// By name in a project.
    Name(ProjectName, VmName),
}

impl fmt::Display for VmRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(project, name) => write!(f, "{project}/{name}"),
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Create a VM and place it.
    CreateVm {
        /// The project it belongs to.
        project: ProjectName,
        /// Its name, free in the project.
        name: VmName,
        /// Free-form labels.
        labels: BTreeMap<String, String>,
        /// Free-form annotations, which may be longer.
        annotations: BTreeMap<String, String>,
        /// Whether it can't be deleted before somebody lifts that.
        protected: bool,
        /// What it is.
        spec: Arc<VmSpec>,
        /// Whether it should run at once.
        start: bool,
    },
    /// Let a VM run. A VM that should run already is left as it is.
    StartVm {
        /// Which.
        vm: VmRef,
    },
    /// Stop a VM: power button, then after the timeout the hard way.
    StopVm {
        /// Which.
        vm: VmRef,
        /// The timeout, instead of the spec's.
        timeout: Option<StopTimeout>,
    },
    /// Stop a VM at once.
    KillVm {
        /// Which.
        vm: VmRef,
    },
    /// Hold a VM that runs, with its memory as it is.
    PauseVm {
        /// Which.
        vm: VmRef,
    },
    /// Let a VM run on that is held.
    ResumeVm {
        /// Which.
        vm: VmRef,
    },
    /// Boot a VM anew: power button and a new start, after the timeout a reset.
    RebootVm {
        /// Which.
        vm: VmRef,
        /// The timeout, instead of the spec's stop timeout.
        timeout: Option<StopTimeout>,
    },
    /// Boot a VM anew at once, as by the reset button.
    ResetVm {
        /// Which.
        vm: VmRef,
    },
    /// Give a VM another name in its project.
    RenameVm {
        /// Which.
        vm: VmRef,
        /// The name, free in the project.
        name: VmName,
    },
    /// Make something else of a VM: at once what its hypervisor can do while it runs, the rest at its next start.
    ChangeVm {
        /// Which.
        vm: VmRef,
        /// All that it is to be.
        spec: Arc<VmSpec>,
    },
    /// Change a VM's labels.
    LabelVm {
        /// Which.
        vm: VmRef,
        /// What of them.
        change: TextsChange,
    },
    /// Change a VM's annotations.
    AnnotateVm {
        /// Which.
        vm: VmRef,
        /// What of them.
        change: TextsChange,
    },
    /// Keep a VM from being deleted, or not any more.
    ProtectVm {
        /// Which.
        vm: VmRef,
        /// Whether it can't be deleted.
        protected: bool,
    },
    /// Remove a VM.
    DeleteVm {
        /// Which.
        vm: VmRef,
        /// Also when it should be running.
        force: bool,
        /// For how long it can be undeleted; not at all without.
        keep: Option<KeepFor>,
    },
    /// Take back that a VM was deleted.
    UndeleteVm {
        /// Which.
        vm: VmRef,
        /// Its name from then on, free in its project; the one that it had without.
        name: Option<VmName>,
    },
    /// Remove a deleted VM whose time is over. Only the leader may.
    PurgeVm {
        /// Which.
        vm: VmId,
    },
    /// Introduce a host, or tell what changed about it. Only the host itself may.
    RegisterHost {
        /// The host.
        host: HostId,
        /// What it found out.
        facts: HostFacts,
    },
    /// Keep new VMs away from a host.
    CordonHost {
        /// Which.
        host: HostName,
    },
    /// Let new VMs come to a host again.
    UncordonHost {
        /// Which.
        host: HostName,
    },
    /// Tell what was measured of a VM. Only the host that it is placed on may.
    ReportVm {
        /// The VM.
        vm: VmId,
        /// The grant that the host works under.
        epoch: Epoch,
        /// What it measured.
        observation: Observation,
    },
    /// Let a new replica hold the log, and vote once it has caught up.
    AddReplica {
        /// Its id, never given before.
        replica: ReplicaId,
        /// Where the other replicas reach it.
        address: SocketAddr,
    },
    /// Let a replica hold the log no more.
    RemoveReplica {
        /// Which.
        replica: ReplicaId,
    },
    /// Let a new replica take another one's place at the moment when it has caught up.
    ReplaceReplica {
        /// The one that leaves.
        old: ReplicaId,
        /// The new one's id, never given before.
        new: ReplicaId,
        /// Where the other replicas reach the new one.
        address: SocketAddr,
    },
    /// Let another replica lead.
    StepDown,
    /// Tell what the log's own membership is. Only the leader may.
    ReportReplicas {
        /// Who votes, and where each is reached.
        voters: BTreeMap<ReplicaId, SocketAddr>,
        /// Who holds the log without a vote.
        learners: BTreeSet<ReplicaId>,
    },
    /// Tell what the replicas say of themselves. Only the leader may.
    IntroduceReplicas {
        /// Those that the leader has talked with, itself among them.
        introduced: BTreeMap<ReplicaId, Introduction>,
    },
    /// Place a VM elsewhere whose host's lease is over. Only the leader may.
    FailOverVm {
        /// The VM.
        vm: VmId,
        /// The grant that its host has lost.
        epoch: Epoch,
    },
    /// Keep so much of history.
    SetRetention {
        /// How much.
        retention: Retention,
    },
    /// Keep history no more before an event, since it is beyond the setting. Only the leader may.
    ForgetHistory {
        /// Up to where.
        forgotten: Forgotten,
    },
}

/// What a host measured of one VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation {
    /// The hypervisor runs it.
    Started {
        /// What runs it.
        hypervisor: HypervisorKind,
        /// Its process.
        pid: u32,
        /// From the first step to the hypervisor's word, in microseconds.
        took_us: u64,
    },
    /// The guest said that it is ready.
    Ready,
    /// It ran already when the daemon started.
    Adopted {
        /// What runs it.
        hypervisor: HypervisorKind,
        /// Its process.
        pid: u32,
        /// How long that process has run, in milliseconds.
        uptime_ms: u64,
        /// Whether its vCPUs are held.
        paused: bool,
    },
    /// It ended, with these last lines on its console when nobody had asked for that, after this run.
    Exited(ExitReason, String, Run),
    /// A step can't be done now; the host goes on trying.
    Blocked(String),
    /// What stood in the way is gone.
    Unblocked,
    /// Nothing of it is left on the host.
    Removed,
    /// Its vCPUs are held.
    Paused,
    /// Its vCPUs run again.
    Resumed,
    /// It is what it should be by now, but for these fields, which need a new start.
    Applied {
        /// The fields; none when it is all of it.
        restart_needed: Vec<FieldPath>,
    },
    /// It booted anew in the process that it has.
    Rebooted {
        /// The order that this carries out; `None` when the guest did it by itself.
        order: Option<Seq>,
    },
}

/// What kind of command, as `noun.verb`: two tokens of the subject that it is published on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// [`Command::CreateVm`].
    VmCreate,
    /// [`Command::StartVm`].
    VmStart,
    /// [`Command::StopVm`].
    VmStop,
    /// [`Command::KillVm`].
    VmKill,
    /// [`Command::PauseVm`].
    VmPause,
    /// [`Command::ResumeVm`].
    VmResume,
    /// [`Command::RebootVm`].
    VmReboot,
    /// [`Command::ResetVm`].
    VmReset,
    /// [`Command::RenameVm`].
    VmRename,
    /// [`Command::ChangeVm`].
    VmChange,
    /// [`Command::LabelVm`].
    VmLabel,
    /// [`Command::AnnotateVm`].
    VmAnnotate,
    /// [`Command::ProtectVm`].
    VmProtect,
    /// [`Command::DeleteVm`].
    VmDelete,
    /// [`Command::RegisterHost`].
    HostRegister,
    /// [`Command::CordonHost`].
    HostCordon,
    /// [`Command::UncordonHost`].
    HostUncordon,
    /// [`Command::ReportVm`].
    HostReport,
    /// [`Command::AddReplica`].
    ClusterAddReplica,
    /// [`Command::RemoveReplica`].
    ClusterRemoveReplica,
    /// [`Command::ReplaceReplica`].
    ClusterReplaceReplica,
    /// [`Command::StepDown`].
    ClusterStepDown,
    /// [`Command::ReportReplicas`].
    ClusterReport,
    /// [`Command::IntroduceReplicas`].
    ClusterIntroduce,
    /// [`Command::FailOverVm`].
    VmFailOver,
    /// [`Command::SetRetention`].
    ClusterSetRetention,
    /// [`Command::ForgetHistory`].
    ClusterForgetHistory,
    /// [`Command::UndeleteVm`].
    VmUndelete,
    /// [`Command::PurgeVm`].
    VmPurge,
}

impl Verb {
    /// Every verb.
    pub const ALL: &'static [Self] = &[
        Self::VmCreate,
        Self::VmStart,
        Self::VmStop,
        Self::VmKill,
        Self::VmPause,
        Self::VmResume,
        Self::VmReboot,
        Self::VmReset,
        Self::VmRename,
        Self::VmChange,
        Self::VmLabel,
        Self::VmAnnotate,
        Self::VmProtect,
        Self::VmDelete,
        Self::HostRegister,
        Self::HostCordon,
        Self::HostUncordon,
        Self::HostReport,
        Self::ClusterAddReplica,
        Self::ClusterRemoveReplica,
        Self::ClusterReplaceReplica,
        Self::ClusterStepDown,
        Self::ClusterReport,
        Self::ClusterIntroduce,
        Self::VmFailOver,
        Self::ClusterSetRetention,
        Self::ClusterForgetHistory,
        Self::VmUndelete,
        Self::VmPurge,
    ];

    /// As `noun.verb`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::VmCreate => "vm.create",
            Self::VmStart => "vm.start",
            Self::VmStop => "vm.stop",
            Self::VmKill => "vm.kill",
            Self::VmPause => "vm.pause",
            Self::VmResume => "vm.resume",
            Self::VmReboot => "vm.reboot",
            Self::VmReset => "vm.reset",
            Self::VmRename => "vm.rename",
            Self::VmChange => "vm.change",
            Self::VmLabel => "vm.label",
            Self::VmAnnotate => "vm.annotate",
            Self::VmProtect => "vm.protect",
            Self::VmDelete => "vm.delete",
            Self::HostRegister => "host.register",
            Self::HostCordon => "host.cordon",
            Self::HostUncordon => "host.uncordon",
            Self::HostReport => "host.report",
            Self::ClusterAddReplica => "cluster.add-replica",
            Self::ClusterRemoveReplica => "cluster.remove-replica",
            Self::ClusterReplaceReplica => "cluster.replace-replica",
            Self::ClusterStepDown => "cluster.step-down",
            Self::ClusterReport => "cluster.report",
            Self::ClusterIntroduce => "cluster.introduce",
            Self::VmFailOver => "vm.fail-over",
            Self::ClusterSetRetention => "cluster.set-retention",
            Self::ClusterForgetHistory => "cluster.forget-history",
            Self::VmUndelete => "vm.undelete",
            Self::VmPurge => "vm.purge",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Command {
    /// Its kind.
    pub const fn verb(&self) -> Verb {
        match self {
            Self::CreateVm { .. } => Verb::VmCreate,
            Self::StartVm { .. } => Verb::VmStart,
            Self::StopVm { .. } => Verb::VmStop,
            Self::KillVm { .. } => Verb::VmKill,
            Self::PauseVm { .. } => Verb::VmPause,
            Self::ResumeVm { .. } => Verb::VmResume,
            Self::RebootVm { .. } => Verb::VmReboot,
            Self::ResetVm { .. } => Verb::VmReset,
            Self::RenameVm { .. } => Verb::VmRename,
            Self::ChangeVm { .. } => Verb::VmChange,
            Self::LabelVm { .. } => Verb::VmLabel,
            Self::AnnotateVm { .. } => Verb::VmAnnotate,
            Self::ProtectVm { .. } => Verb::VmProtect,
            Self::DeleteVm { .. } => Verb::VmDelete,
            Self::UndeleteVm { .. } => Verb::VmUndelete,
            Self::PurgeVm { .. } => Verb::VmPurge,
            Self::RegisterHost { .. } => Verb::HostRegister,
            Self::CordonHost { .. } => Verb::HostCordon,
            Self::UncordonHost { .. } => Verb::HostUncordon,
            Self::ReportVm { .. } => Verb::HostReport,
            Self::AddReplica { .. } => Verb::ClusterAddReplica,
            Self::RemoveReplica { .. } => Verb::ClusterRemoveReplica,
            Self::ReplaceReplica { .. } => Verb::ClusterReplaceReplica,
            Self::StepDown => Verb::ClusterStepDown,
            Self::ReportReplicas { .. } => Verb::ClusterReport,
            Self::IntroduceReplicas { .. } => Verb::ClusterIntroduce,
            Self::FailOverVm { .. } => Verb::VmFailOver,
            Self::SetRetention { .. } => Verb::ClusterSetRetention,
            Self::ForgetHistory { .. } => Verb::ClusterForgetHistory,
        }
    }
}

/// A command as it reached the leader: who sent it, and under which conditions it may be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// The sender's id for it; a retry has the same.
    pub id: CommandId,
    /// The sender, from the subject.
    pub actor: Actor,
    /// What is asked for.
    pub command: Command,
    /// The revision that the resource must have; any when not given.
    pub expected: Option<Seq>,
    /// The time after which it must not be done any more.
    pub deadline: Option<Timestamp>,
    /// The trace it belongs to.
    pub trace: Option<TraceContext>,
    /// The event that the sender acted on, for reports.
    pub follows: Option<Seq>,
}

impl Submission {
    /// A command that nothing but itself is said of: it may be done on any revision and at any time.
    pub fn new(id: CommandId, actor: Actor, command: Command) -> Self {
        Self {
            id,
            actor,
            command,
            expected: None,
            deadline: None,
            trace: None,
            follows: None,
        }
    }
}
