//! What the leader records by itself: commands of its own, which go the way of all others, and whose answers it reads.

use chv_domain::{Actor, Command, CommandId, Projection, ReplicaId, Submission, Timestamp};
use chv_proto::client::{new_command_id, now};
use chv_proto::v1;
use tokio::sync::{mpsc, oneshot};
use ulid::Ulid;

use super::Office;
use super::intake::{self, Waiting};
use crate::answer::TryAgain;

/// What the leader asked for itself was not done.
#[derive(Debug, thiserror::Error)]
#[error("it was refused: {message} ({code})")]
pub(super) struct Refused {
    code: String,
    message: String,
}

/// The leader's own `command`, sent at `now`; 80 bits of `random` make its id its own. It is made at the log's time where
/// the clock is behind that: an id older than the log's outcomes would be refused.
pub fn submission(
    command: Command,
    state: &Projection,
    leader: ReplicaId,
    now: Timestamp,
    random: u128,
) -> Submission {
    let made = now.max(state.time()).as_millis();
    let id = CommandId::from_ulid(Ulid::from_parts(made, random));
    Submission::new(id, Actor::Replica(leader), command)
}

/// Has `command` done, and waits until it is known whether it was. Returns `None` when that will not be known in this
/// office, which has ended then.
pub(super) async fn record(
    office: &Office,
    queue: &mpsc::Sender<Waiting>,
    command: Command,
) -> Option<Result<(), Refused>> {
    let random = new_command_id().ulid().random();
    let state = office.reader.log.projection();
    let submission = submission(command, &state, office.reader.replica, now(), random);
    let (tell, told) = oneshot::channel();
    intake::own(office, queue, submission, tell).await;
    let answer = tokio::select! {
        biased;
        () = office.stop.cancelled() => return None,
        answer = told => answer,
    };
    match answer {
        Ok(Ok(_)) => Some(Ok(())),
        Ok(Err(refused)) if is_known(&refused) => Some(Err(Refused {
            code: refused.code,
            message: refused.message,
        })),
        // It may have been appended, and be committed yet. The decider ends the office for that.
        Ok(Err(_)) | Err(_) => {
            office.stop.cancelled().await;
            None
        }
    }
}

/// Whether a refusal says that the command was not done, and will not be by having been sent.
fn is_known(refused: &v1::Refused) -> bool {
    let unknown = [TryAgain::NotLeader, TryAgain::Unavailable];
    unknown
        .iter()
        .all(|unknown| unknown.refused().code != refused.code)
}

#[cfg(test)]
mod tests {
    use chv_proto::convert;

    use super::*;

    #[test]
    fn what_may_have_been_appended_is_not_known_to_be_refused() {
        let known = |reason: TryAgain| is_known(&reason.refused());
        assert!(known(TryAgain::Busy) && is_known(&convert::refused("disk_full", "", "")));
        assert!(!known(TryAgain::Unavailable) && !known(TryAgain::NotLeader));
        assert!(is_known(&convert::refused("no_host", "none has room", "")));
    }
}
