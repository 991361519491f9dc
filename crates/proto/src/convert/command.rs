//! Commands: what is asked of the leader.

use chv_domain::{
    Actor, Command, CommandId, Epoch, KeepFor, Seq, Submission, TextsChange, Timestamp, TraceContext,
};
use prost::Message as _;

use super::VERSION;
use super::cluster;
use super::error::{DecodeError, WireError, mismatch, other_version, parse, parse_optional};
use super::host::{facts_from_wire, facts_to_wire};
use super::observation::{observation_from_wire, observation_to_wire};
use super::retention::{forgotten_from_wire, forgotten_to_wire, retention_from_wire, retention_to_wire};
use super::spec::{spec_from_wire, spec_to_wire, stop_timeout};
use super::vm::{vm_ref_from_wire, vm_ref_to_wire};
use crate::v1;
use crate::v1::command_envelope::Command as Wire;

/// A command with its conditions, as it is sent. The actor is not in it: that is the subject's.
pub fn encode_submission(submission: &Submission) -> v1::CommandEnvelope {
    v1::CommandEnvelope {
        version: VERSION,
        id: submission.id.to_string(),
        expected_revision: submission.expected.map(|seq| seq.0),
        // 0 says that there is none, so a deadline at the epoch itself is one microsecond later.
        deadline_us: submission.deadline.map_or(0, |deadline| deadline.0.max(1)),
        traceparent: submission
            .trace
            .map(|trace| trace.to_string())
            .unwrap_or_default(),
        follows: submission.follows.unwrap_or_default().0,
        command: Some(command_to_wire(&submission.command)),
    }
}

/// A command, as `actor` sent it on a subject that says `verb_in_subject` (`noun.verb`). `header_trace` is
/// the NATS header `traceparent`, which counts when the envelope has none, and is ignored when unreadable.
pub fn decode_envelope(
    payload: &[u8],
    actor: Actor,
    verb_in_subject: &str,
    header_trace: Option<&str>,
) -> Result<Submission, DecodeError> {
    let envelope = v1::CommandEnvelope::decode(payload).map_err(|error| {
        DecodeError::new(
            "malformed",
            format!("the payload is not a CommandEnvelope: {error}"),
        )
    })?;
    let id = envelope.id.parse().ok();
    submission(envelope, actor, verb_in_subject, header_trace).map_err(|error| error.of(id))
}

/// The most commands in one message.
pub const MAX_COMMANDS: usize = 256;

/// Commands of one kind in one message. The actor is not in it: that is the subject's.
pub fn encode_batch(submissions: &[Submission]) -> v1::CommandBatch {
    v1::CommandBatch {
        version: VERSION,
        commands: submissions.iter().map(encode_submission).collect(),
    }
}

/// The commands of one message, as [`decode_envelope`] would read each of them; all, or what is wrong with one.
pub fn decode_batch(
    payload: &[u8],
    actor: &Actor,
    verb_in_subject: &str,
    header_trace: Option<&str>,
) -> Result<Vec<Submission>, DecodeError> {
    let batch = v1::CommandBatch::decode(payload).map_err(|error| {
        DecodeError::new("malformed", format!("the payload is not a CommandBatch: {error}"))
    })?;
    if batch.version != VERSION {
        return Err(other_version(batch.version));
    }
    let count = batch.commands.len();
    if count == 0 || count > MAX_COMMANDS {
        let problem = format!("a message has 1 to {MAX_COMMANDS} commands, not {count}");
        return Err(WireError::new("commands", problem).into());
    }
    let one = |(at, envelope): (usize, v1::CommandEnvelope)| {
        submission(envelope, actor.clone(), verb_in_subject, header_trace)
            .map_err(|error| error.within(format_args!("commands[{at}]")))
    };
    batch.commands.into_iter().enumerate().map(one).collect()
}

fn submission(
    envelope: v1::CommandEnvelope,
    actor: Actor,
    verb_in_subject: &str,
    header_trace: Option<&str>,
) -> Result<Submission, DecodeError> {
    if envelope.version != VERSION {
        return Err(other_version(envelope.version));
    }
    let id: CommandId = parse("id", &envelope.id)?;
    let command = envelope.command.ok_or_else(|| WireError::missing("command"))?;
    let command = command_from_wire(command)?;
    let verb = command.verb();
    if verb.as_str() != verb_in_subject {
        return Err(mismatch(verb_in_subject, verb.as_str()));
    }
    let trace: Option<TraceContext> = parse_optional("traceparent", &envelope.traceparent)?;
    Ok(Submission {
        id,
        actor,
        command,
        expected: envelope.expected_revision.map(Seq),
        deadline: (envelope.deadline_us != 0).then_some(Timestamp(envelope.deadline_us)),
        trace: trace.or_else(|| header_trace.and_then(|text| text.parse().ok())),
        follows: (envelope.follows != 0).then_some(Seq(envelope.follows)),
    })
}

fn command_to_wire(command: &Command) -> Wire {
    match command {
        Command::CreateVm {
            project,
            name,
            labels,
            annotations,
            protected,
            spec,
            start,
        } => Wire::CreateVm(v1::CreateVm {
            project: project.to_string(),
            name: name.to_string(),
            labels: labels.clone(),
            annotations: annotations.clone(),
            protected: *protected,
            spec: Some(spec_to_wire(spec)),
            start: *start,
        }),
        Command::StartVm { vm } => Wire::StartVm(v1::StartVm {
            vm: Some(vm_ref_to_wire(vm)),
        }),
        Command::StopVm { vm, timeout } => Wire::StopVm(v1::StopVm {
            vm: Some(vm_ref_to_wire(vm)),
            timeout_s: timeout.map_or(0, |timeout| timeout.seconds()),
        }),
        Command::KillVm { vm } => Wire::KillVm(v1::KillVm {
            vm: Some(vm_ref_to_wire(vm)),
        }),
        Command::PauseVm { vm } => Wire::PauseVm(v1::PauseVm {
            vm: Some(vm_ref_to_wire(vm)),
        }),
        Command::ResumeVm { vm } => Wire::ResumeVm(v1::ResumeVm {
            vm: Some(vm_ref_to_wire(vm)),
        }),
        Command::RebootVm { vm, timeout } => Wire::RebootVm(v1::RebootVm {
            vm: Some(vm_ref_to_wire(vm)),
            timeout_s: timeout.map_or(0, |timeout| timeout.seconds()),
        }),
        Command::ResetVm { vm } => Wire::ResetVm(v1::ResetVm {
            vm: Some(vm_ref_to_wire(vm)),
        }),
        Command::RenameVm { vm, name } => Wire::RenameVm(v1::RenameVm {
            vm: Some(vm_ref_to_wire(vm)),
            name: name.to_string(),
        }),
        Command::LabelVm { vm, change } => Wire::LabelVm(v1::LabelVm {
            vm: Some(vm_ref_to_wire(vm)),
            change: Some(texts_to_wire(change)),
        }),
        Command::AnnotateVm { vm, change } => Wire::AnnotateVm(v1::AnnotateVm {
            vm: Some(vm_ref_to_wire(vm)),
            change: Some(texts_to_wire(change)),
        }),
        Command::ProtectVm { vm, protected } => Wire::ProtectVm(v1::ProtectVm {
            vm: Some(vm_ref_to_wire(vm)),
            protected: *protected,
        }),
        Command::ChangeVm { vm, spec } => Wire::ChangeVm(v1::ChangeVm {
            vm: Some(vm_ref_to_wire(vm)),
            spec: Some(spec_to_wire(spec)),
        }),
        Command::DeleteVm { vm, force, keep } => Wire::DeleteVm(v1::DeleteVm {
            vm: Some(vm_ref_to_wire(vm)),
            force: *force,
            keep_s: keep.map_or(0, KeepFor::seconds),
        }),
        Command::UndeleteVm { vm, name } => Wire::UndeleteVm(v1::UndeleteVm {
            vm: Some(vm_ref_to_wire(vm)),
            name: name.as_ref().map(ToString::to_string).unwrap_or_default(),
        }),
        Command::PurgeVm { vm } => Wire::PurgeVm(v1::PurgeVm { vm: vm.to_string() }),
        Command::RegisterHost { host, facts } => Wire::RegisterHost(v1::RegisterHost {
            host: host.to_string(),
            facts: Some(facts_to_wire(facts)),
        }),
        Command::CordonHost { host } => Wire::CordonHost(v1::CordonHost {
            host: host.to_string(),
        }),
        Command::UncordonHost { host } => Wire::UncordonHost(v1::UncordonHost {
            host: host.to_string(),
        }),
        Command::ReportVm {
            vm,
            epoch,
            observation,
        } => Wire::ReportVm(v1::ReportVm {
            vm: vm.to_string(),
            epoch: epoch.0.0,
            observation: Some(observation_to_wire(observation)),
        }),
        Command::AddReplica { replica, address } => {
            Wire::AddReplica(cluster::add_to_wire(*replica, *address))
        }
        Command::RemoveReplica { replica } => Wire::RemoveReplica(v1::RemoveReplica {
            replica: replica.get(),
        }),
        Command::ReplaceReplica { old, new, address } => {
            Wire::ReplaceReplica(cluster::replace_to_wire(*old, *new, *address))
        }
        Command::StepDown => Wire::StepDown(v1::StepDown {}),
        Command::ReportReplicas { voters, learners } => {
            Wire::ReportReplicas(cluster::report_to_wire(voters, learners))
        }
        Command::IntroduceReplicas { introduced } => {
            Wire::IntroduceReplicas(cluster::introduce_to_wire(introduced))
        }
        Command::FailOverVm { vm, epoch } => Wire::FailOverVm(v1::FailOverVm {
            vm: vm.to_string(),
            epoch: epoch.0.0,
        }),
        Command::SetRetention { retention } => Wire::SetRetention(v1::SetRetention {
            retention: Some(retention_to_wire(*retention)),
        }),
        Command::ForgetHistory { forgotten } => Wire::ForgetHistory(v1::ForgetHistory {
            forgotten: Some(forgotten_to_wire(*forgotten)),
        }),
    }
}

fn command_from_wire(command: Wire) -> Result<Command, WireError> {
    match command {
        Wire::CreateVm(create) => create_vm(create).map_err(|error| error.within("create_vm")),
        Wire::StartVm(start) => Ok(Command::StartVm {
            vm: vm_ref_from_wire(start.vm, "start_vm.vm")?,
        }),
        Wire::StopVm(stop) => Ok(Command::StopVm {
            vm: vm_ref_from_wire(stop.vm, "stop_vm.vm")?,
            timeout: stop_timeout("stop_vm.timeout_s", stop.timeout_s)?,
        }),
        Wire::KillVm(kill) => Ok(Command::KillVm {
            vm: vm_ref_from_wire(kill.vm, "kill_vm.vm")?,
        }),
        Wire::PauseVm(pause) => Ok(Command::PauseVm {
            vm: vm_ref_from_wire(pause.vm, "pause_vm.vm")?,
        }),
        Wire::ResumeVm(resume) => Ok(Command::ResumeVm {
            vm: vm_ref_from_wire(resume.vm, "resume_vm.vm")?,
        }),
        Wire::RebootVm(reboot) => Ok(Command::RebootVm {
            vm: vm_ref_from_wire(reboot.vm, "reboot_vm.vm")?,
            timeout: stop_timeout("reboot_vm.timeout_s", reboot.timeout_s)?,
        }),
        Wire::ResetVm(reset) => Ok(Command::ResetVm {
            vm: vm_ref_from_wire(reset.vm, "reset_vm.vm")?,
        }),
        Wire::RenameVm(rename) => Ok(Command::RenameVm {
            vm: vm_ref_from_wire(rename.vm, "rename_vm.vm")?,
            name: parse("rename_vm.name", &rename.name)?,
        }),
        Wire::LabelVm(label) => Ok(Command::LabelVm {
            vm: vm_ref_from_wire(label.vm, "label_vm.vm")?,
            change: texts_from_wire(label.change),
        }),
        Wire::AnnotateVm(annotate) => Ok(Command::AnnotateVm {
            vm: vm_ref_from_wire(annotate.vm, "annotate_vm.vm")?,
            change: texts_from_wire(annotate.change),
        }),
        Wire::ProtectVm(protect) => Ok(Command::ProtectVm {
            vm: vm_ref_from_wire(protect.vm, "protect_vm.vm")?,
            protected: protect.protected,
        }),
        Wire::ChangeVm(change) => change_vm(change).map_err(|error| error.within("change_vm")),
        Wire::DeleteVm(delete) => Ok(Command::DeleteVm {
            vm: vm_ref_from_wire(delete.vm, "delete_vm.vm")?,
            force: delete.force,
            keep: KeepFor::from_seconds(delete.keep_s).ok(),
        }),
        Wire::UndeleteVm(undelete) => Ok(Command::UndeleteVm {
            vm: vm_ref_from_wire(undelete.vm, "undelete_vm.vm")?,
            name: parse_optional("undelete_vm.name", &undelete.name)?,
        }),
        Wire::PurgeVm(purge) => Ok(Command::PurgeVm {
            vm: parse("purge_vm.vm", &purge.vm)?,
        }),
        Wire::RegisterHost(register) => {
            register_host(register).map_err(|error| error.within("register_host"))
        }
        Wire::CordonHost(cordon) => Ok(Command::CordonHost {
            host: parse("cordon_host.host", &cordon.host)?,
        }),
        Wire::UncordonHost(uncordon) => Ok(Command::UncordonHost {
            host: parse("uncordon_host.host", &uncordon.host)?,
        }),
        Wire::ReportVm(report) => report_vm(report).map_err(|error| error.within("report_vm")),
        Wire::AddReplica(add) => cluster::add_from_wire(&add).map_err(|error| error.within("add_replica")),
        Wire::RemoveReplica(remove) => {
            cluster::remove_from_wire(remove).map_err(|error| error.within("remove_replica"))
        }
        Wire::ReplaceReplica(replace) => {
            cluster::replace_from_wire(&replace).map_err(|error| error.within("replace_replica"))
        }
        Wire::StepDown(v1::StepDown {}) => Ok(Command::StepDown),
        Wire::ReportReplicas(report) => {
            cluster::report_from_wire(report).map_err(|error| error.within("report_replicas"))
        }
        Wire::IntroduceReplicas(introduce) => {
            cluster::introduce_from_wire(introduce).map_err(|error| error.within("introduce_replicas"))
        }
        Wire::FailOverVm(lost) => Ok(Command::FailOverVm {
            vm: parse("fail_over_vm.vm", &lost.vm)?,
            epoch: Epoch(Seq(lost.epoch)),
        }),
        Wire::SetRetention(set) => retention_from_wire(set.retention)
            .map(|retention| Command::SetRetention { retention })
            .map_err(|error| error.within("set_retention")),
        Wire::ForgetHistory(forget) => forgotten_from_wire(forget.forgotten)
            .map(|forgotten| Command::ForgetHistory { forgotten })
            .map_err(|error| error.within("forget_history")),
    }
}

fn texts_to_wire(change: &TextsChange) -> v1::TextsChange {
    v1::TextsChange {
        set: change.set.clone(),
        remove: change.remove.iter().cloned().collect(),
    }
}

/// Nothing said is nothing changed.
fn texts_from_wire(change: Option<v1::TextsChange>) -> TextsChange {
    let v1::TextsChange { set, remove } = change.unwrap_or_default();
    TextsChange {
        set,
        remove: remove.into_iter().collect(),
    }
}

fn change_vm(change: v1::ChangeVm) -> Result<Command, WireError> {
    let spec = change.spec.ok_or_else(|| WireError::missing("spec"))?;
    Ok(Command::ChangeVm {
        vm: vm_ref_from_wire(change.vm, "vm")?,
        spec: spec_from_wire(spec).map_err(|error| error.within("spec"))?.into(),
    })
}

fn create_vm(create: v1::CreateVm) -> Result<Command, WireError> {
    let spec = create.spec.ok_or_else(|| WireError::missing("spec"))?;
    Ok(Command::CreateVm {
        project: parse("project", &create.project)?,
        name: parse("name", &create.name)?,
        labels: create.labels,
        annotations: create.annotations,
        protected: create.protected,
        spec: spec_from_wire(spec).map_err(|error| error.within("spec"))?.into(),
        start: create.start,
    })
}

fn register_host(register: v1::RegisterHost) -> Result<Command, WireError> {
    let facts = register.facts.ok_or_else(|| WireError::missing("facts"))?;
    Ok(Command::RegisterHost {
        host: parse("host", &register.host)?,
        facts: facts_from_wire(facts).map_err(|error| error.within("facts"))?,
    })
}

fn report_vm(report: v1::ReportVm) -> Result<Command, WireError> {
    let observation = report
        .observation
        .ok_or_else(|| WireError::missing("observation"))?;
    Ok(Command::ReportVm {
        vm: parse("vm", &report.vm)?,
        epoch: Epoch(Seq(report.epoch)),
        observation: observation_from_wire(observation)?,
    })
}
