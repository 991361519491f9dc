//! The rule: what a command does to the state, as the events it decides, or why it is refused.
//!
//! A new command gets its arm in [`decide_events`] and its rule in the file of its noun.

mod cluster;
mod host;
mod report;
mod retention;
mod vm_about;
mod vm_bin;
mod vm_change;
mod vm_create;
mod vm_failover;
mod vm_power;

use std::collections::BTreeSet;

use crate::actor::Actor;
use crate::cluster::Replicas;
use crate::command::{Command, Submission};
use crate::event::{Event, Resource};
use crate::format;
use crate::ids::HostId;
use crate::name::HostName;
use crate::projection::{CLOCK_SLACK, OUTCOME_WINDOW, Outcome, Projection};
use crate::record::{Cause, Record, RecordBody};
use crate::rejection::{Rejection, RejectionCode};
use crate::seq::{Seq, Term};
use crate::time::Timestamp;

/// What the rule may know besides the state and the command.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The leader's clock.
    pub now: Timestamp,
    /// The leader's term.
    pub term: Term,
    /// The hosts whose heartbeats are fresh.
    pub alive: &'a BTreeSet<HostId>,
    /// Who leads, and which replicas answer.
    pub replicas: &'a Replicas,
}

/// What was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decided {
    /// New facts. They count once they are committed.
    Record(Record),
    /// It was done before: this is what came of it.
    Repeat(Outcome),
    /// It is so already: nothing is to be recorded.
    Unchanged {
        /// What the command is about.
        resource: Resource,
        /// That resource's revision.
        revision: Seq,
    },
}

/// A rule's finding: events to record, or that it is so already.
pub(crate) enum Finding {
    Events(Vec<Event>),
    Already(Resource, Seq),
}

/// Decides one command on `state`.
pub fn decide(
    state: &Projection,
    submission: &Submission,
    context: Context<'_>,
) -> Result<Decided, Rejection> {
    if let Some(outcome) = state.outcome(submission.id) {
        return repeated(submission, outcome);
    }
    // Outcomes are forgotten by the log's time, so a command's age is told by it too: a leader whose clock is
    // behind must not take an old command for a new one.
    in_time(submission, context.now.max(state.time()))?;
    match decide_events(state, submission, context)? {
        Finding::Events(events) => {
            format::all_read(&events, state.cluster().format())?;
            Ok(Decided::Record(record(state, submission, context, events)))
        }
        Finding::Already(resource, revision) => Ok(Decided::Unchanged { resource, revision }),
    }
}

/// Decides `submission` and, when it makes a record, folds that record into `state`, so that the next
/// command of the same batch is decided on what this one did.
pub fn decide_onto(
    state: &mut Projection,
    submission: &Submission,
    context: Context<'_>,
) -> Result<Decided, Rejection> {
    let decided = decide(state, submission, context)?;
    fold_decided(state, &decided);
    Ok(decided)
}

/// Folds what was decided on `state` into it.
pub fn fold_decided(state: &mut Projection, decided: &Decided) {
    if let Decided::Record(record) = decided {
        state.fold(record);
    }
}

fn decide_events(
    state: &Projection,
    submission: &Submission,
    context: Context<'_>,
) -> Result<Finding, Rejection> {
    match &submission.command {
        Command::CreateVm {
            project,
            name,
            labels,
            annotations,
            protected,
            spec,
            start,
        } => {
            user(submission)?;
            vm_create::create(
                state,
                submission,
                context,
                vm_create::Wanted {
                    project,
                    name,
                    labels,
                    annotations,
                    protected: *protected,
                    spec,
                    start: *start,
                },
            )
        }
        Command::StartVm { vm } => user(submission).and_then(|()| vm_power::start(state, submission, vm)),
        Command::StopVm { vm, timeout } => {
            user(submission).and_then(|()| vm_power::stop(state, submission, vm, *timeout))
        }
        Command::KillVm { vm } => user(submission).and_then(|()| vm_power::kill(state, submission, vm)),
        Command::PauseVm { vm } => user(submission).and_then(|()| vm_power::pause(state, submission, vm)),
        Command::ResumeVm { vm } => user(submission).and_then(|()| vm_power::resume(state, submission, vm)),
        Command::RebootVm { vm, timeout } => {
            user(submission).and_then(|()| vm_power::reboot(state, submission, vm, *timeout))
        }
        Command::ResetVm { vm } => user(submission).and_then(|()| vm_power::reset(state, submission, vm)),
        Command::RenameVm { vm, name } => {
            user(submission).and_then(|()| vm_about::rename(state, submission, vm, name))
        }
        Command::ChangeVm { vm, spec } => {
            user(submission).and_then(|()| vm_change::change(state, submission, vm, spec))
        }
        Command::LabelVm { vm, change } => {
            user(submission).and_then(|()| vm_about::label(state, submission, vm, change))
        }
        Command::AnnotateVm { vm, change } => {
            user(submission).and_then(|()| vm_about::annotate(state, submission, vm, change))
        }
        Command::ProtectVm { vm, protected } => {
            user(submission).and_then(|()| vm_about::protect(state, submission, vm, *protected))
        }
        Command::DeleteVm { vm, force, keep } => {
            let asked = vm_bin::Asked {
                force: *force,
                keep: *keep,
            };
            user(submission).and_then(|()| vm_bin::delete(state, submission, context, vm, asked))
        }
        Command::UndeleteVm { vm, name } => {
            user(submission).and_then(|()| vm_bin::undelete(state, submission, vm, name.as_ref()))
        }
        Command::PurgeVm { vm } => from_replica(submission).and_then(|()| vm_bin::purge(state, context, *vm)),
        Command::RegisterHost { host, facts } => host::register(state, from_host(submission)?, *host, facts),
        Command::CordonHost { host } => {
            user(submission).and_then(|()| host::cordon(state, submission, host, true))
        }
        Command::UncordonHost { host } => {
            user(submission).and_then(|()| host::cordon(state, submission, host, false))
        }
        Command::ReportVm {
            vm,
            epoch,
            observation,
        } => report::report(
            state,
            submission,
            from_host(submission)?,
            (*vm, *epoch),
            observation,
        ),
        Command::AddReplica { replica, address } => {
            user(submission).and_then(|()| cluster::add(state.cluster(), submission, *replica, *address))
        }
        Command::RemoveReplica { replica } => {
            user(submission).and_then(|()| cluster::remove(state.cluster(), submission, context, *replica))
        }
        Command::ReplaceReplica { old, new, address } => user(submission)
            .and_then(|()| cluster::replace(state.cluster(), submission, context, *old, (*new, *address))),
        Command::StepDown => {
            user(submission).and_then(|()| cluster::step_down(state.cluster(), submission, context))
        }
        Command::ReportReplicas { voters, learners } => {
            from_replica(submission).and_then(|()| cluster::report(state.cluster(), voters, learners))
        }
        Command::IntroduceReplicas { introduced } => {
            from_replica(submission).and_then(|()| cluster::introduce(state.cluster(), introduced))
        }
        Command::FailOverVm { vm, epoch } => {
            from_replica(submission).and_then(|()| vm_failover::fail_over(state, context, *vm, *epoch))
        }
        Command::SetRetention { retention } => {
            user(submission).and_then(|()| retention::set(state.cluster(), submission, *retention))
        }
        Command::ForgetHistory { forgotten } => {
            from_replica(submission).and_then(|()| retention::forget(state, *forgotten))
        }
    }
}

/// A retry gets the first answer. An id that was another command's is not a retry.
fn repeated(submission: &Submission, outcome: &Outcome) -> Result<Decided, Rejection> {
    if outcome.actor == submission.actor && outcome.verb == submission.command.verb() {
        return Ok(Decided::Repeat(outcome.clone()));
    }
    let message = format!(
        "the id {} was another command's; send this one with an id of its own",
        submission.id
    );
    Err(Rejection::new(RejectionCode::Exists, message))
}

fn in_time(submission: &Submission, now: Timestamp) -> Result<(), Rejection> {
    if submission.deadline.is_some_and(|deadline| deadline < now) {
        let message = "the command's deadline passed before it was decided; send it again with a later one";
        return Err(Rejection::new(RejectionCode::Expired, message));
    }
    let made = Timestamp::from_millis(submission.id.made_at_ms());
    if made.plus(OUTCOME_WINDOW) < now {
        let message = format!(
            "command {} was made over {} minutes ago, too long to tell a retry from a new one; send it with a new id",
            submission.id,
            OUTCOME_WINDOW.as_secs() / 60
        );
        return Err(Rejection::new(RejectionCode::Clock, message));
    }
    if made > now.plus(CLOCK_SLACK) {
        let message = format!(
            "command {} is from {} seconds in the future; set the sender's clock",
            submission.id,
            made.since(now).as_secs()
        );
        return Err(Rejection::new(RejectionCode::Clock, message));
    }
    Ok(())
}

fn record(state: &Projection, submission: &Submission, context: Context<'_>, events: Vec<Event>) -> Record {
    let cause = Cause {
        command: submission.id,
        verb: submission.command.verb(),
        follows: submission.follows,
    };
    Record::new(RecordBody {
        first: state.seq().next(),
        term: context.term,
        time: context.now.max(state.time()),
        actor: submission.actor.clone(),
        cause,
        trace: submission.trace,
        prev: state.hash(),
        events,
    })
}

fn user(submission: &Submission) -> Result<(), Rejection> {
    match &submission.actor {
        Actor::User(_) => Ok(()),
        Actor::Host(_) | Actor::Replica(_) => Err(not_permitted(format!(
            "{} may not ask for {}",
            submission.actor,
            submission.command.verb()
        ))),
    }
}

fn from_host(submission: &Submission) -> Result<&HostName, Rejection> {
    match &submission.actor {
        Actor::Host(name) => Ok(name),
        Actor::User(_) | Actor::Replica(_) => Err(not_permitted(format!(
            "{} is not a host; only hosts may send {}",
            submission.actor,
            submission.command.verb()
        ))),
    }
}

fn from_replica(submission: &Submission) -> Result<(), Rejection> {
    match submission.actor {
        Actor::Replica(_) => Ok(()),
        Actor::User(_) | Actor::Host(_) => Err(not_permitted(format!(
            "{} is no replica; only the leading one may send {}",
            submission.actor,
            submission.command.verb()
        ))),
    }
}

pub(crate) fn not_permitted(message: String) -> Rejection {
    Rejection::new(RejectionCode::NotPermitted, message)
}

/// Refuses when the command expects another revision than the resource has.
pub(crate) fn expects(submission: &Submission, what: &str, revision: Seq) -> Result<(), Rejection> {
    match submission.expected {
        Some(expected) if expected != revision => Err(Rejection::new(
            RejectionCode::Conflict,
            format!("{what} is at revision {revision}, not {expected}; look at it again, then decide"),
        )),
        _ => Ok(()),
    }
}
