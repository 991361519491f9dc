//! What the client's errors mean to a person, and how `chv` ends with them.

use chv_domain::CommandId;
use chv_proto::client::follow::FollowError;
use chv_proto::client::{CommandError, ConnectError, QueryError, Refusal, Whom};

use crate::exit::Exit;
use crate::failure::Failure;

const START_NATS: &str = "start nats-server, or say where it is with --server or CHV_SERVER";
const START_SCHEDULER: &str =
    "`chv status`; more than half of the schedulers' replicas must run and reach each other";
const WHO: &str = "another --user and password; deploy/nats says which users there are and what they may";
const VERSIONS: &str = "`chv --version` and `chv status -o json`: the versions may not fit together";

pub(crate) fn connect(error: ConnectError) -> Failure {
    match &error {
        ConnectError::Unreachable { .. } => {
            Failure::new(Exit::Unreachable, error.to_string()).or_try(START_NATS)
        }
        ConnectError::Refused { .. } => Failure::new(Exit::NotPermitted, error.to_string()).or_try(WHO),
        ConnectError::Url { .. } => Failure::new(Exit::Usage, error.to_string()),
    }
}

pub(crate) fn command(error: CommandError) -> Failure {
    let what = error.to_string();
    match error {
        CommandError::Refused(refusal) => refused(&refusal),
        CommandError::NoLeader { .. } => Failure::new(Exit::Unreachable, what).or_try(START_SCHEDULER),
        CommandError::Unreachable { .. } => Failure::new(Exit::Unreachable, what).or_try(START_NATS),
        CommandError::ShutOut { .. } | CommandError::NotPermitted { .. } => {
            Failure::new(Exit::NotPermitted, what).or_try(WHO)
        }
        CommandError::TooLarge { .. } => Failure::new(Exit::Rejected, what),
        CommandError::TimedOut { id, waited, waiting } => {
            let waited = crate::output::duration(waited);
            let what = format!(
                "no answer to command {id} after {waited} ({waiting}); it may or may not have been done, at most once"
            );
            Failure::new(Exit::TimedOut, what).or_try(look_up(id))
        }
        CommandError::NotSent { .. } => {
            Failure::new(Exit::TimedOut, what).or_try("again, or with a longer --timeout")
        }
        CommandError::Protocol(_) => Failure::new(Exit::Internal, what).or_try(VERSIONS),
    }
}

pub(crate) fn query(error: QueryError) -> Failure {
    let what = error.to_string();
    match error {
        QueryError::Refused(refusal) => refused(&refusal),
        QueryError::NobodyAnswers { whom, .. } => {
            let tip = match whom {
                Whom::Leader | Whom::Replica => START_SCHEDULER,
                Whom::Host(_) => "`chv host list`; start chv-hostd on that host",
            };
            Failure::new(Exit::Unreachable, what).or_try(tip)
        }
        QueryError::Unreachable { .. } => Failure::new(Exit::Unreachable, what).or_try(START_NATS),
        QueryError::ShutOut { .. } | QueryError::NotPermitted { .. } => {
            Failure::new(Exit::NotPermitted, what).or_try(WHO)
        }
        QueryError::TooLarge { .. } => Failure::new(Exit::Rejected, what),
        QueryError::TimedOut { .. } => {
            Failure::new(Exit::TimedOut, what).or_try("again, or with a longer --timeout")
        }
        QueryError::Protocol { .. } => Failure::new(Exit::Internal, what).or_try(VERSIONS),
    }
}

/// Events ended, and why if that is known.
pub(crate) fn follow(error: Option<FollowError>) -> Failure {
    let Some(error) = error else {
        return Failure::new(Exit::Internal, "the events stopped coming");
    };
    let what = error.to_string();
    match error {
        FollowError::NotPermitted { .. } | FollowError::ShutOut { .. } => {
            Failure::new(Exit::NotPermitted, what).or_try(WHO)
        }
        FollowError::Refused(refusal) => refused(&refusal),
        FollowError::Hole { .. } => Failure::new(Exit::Internal, what)
            .or_try("keep the replicas' data directories, and report it: this must never happen"),
        FollowError::Protocol(_) => Failure::new(Exit::Internal, what).or_try(VERSIONS),
    }
}

/// Interrupted while these commands had no answer yet.
pub(crate) fn interrupted(ids: &[CommandId]) -> Failure {
    match ids {
        [id] => {
            let what =
                format!("interrupted before command {id} was answered; it may or may not have been done");
            Failure::new(Exit::Interrupted, what).or_try(look_up(*id))
        }
        ids => {
            let what = format!(
                "interrupted before {} commands were answered; each may or may not have been done",
                ids.len()
            );
            Failure::new(Exit::Interrupted, what).or_try("`chv vm list`: it shows what was done")
        }
    }
}

fn look_up(id: CommandId) -> String {
    format!("`chv events --command {id}`: it shows events if it was done")
}

fn refused(refusal: &Refusal) -> Failure {
    Failure::new(Exit::of_code(&refusal.code), refusal.message.clone())
}
