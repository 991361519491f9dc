//! Which commands share a message. Pure.

use std::ops::Range;

use chv_domain::{Actor, Submission};
use prost::Message as _;

use crate::convert::encode_submission;

/// The most commands that share a message: more of them make an answer come later and not much cheaper.
pub(super) const TOGETHER: usize = 16;

/// What is around a command in a message, in bytes, and around all of them.
const AROUND: usize = 8;

/// The runs of `submissions` that go into a message each, in their order: of one actor and verb, at most
/// [`TOGETHER`], and together at most `room` bytes unless there is but one.
pub(super) fn split(submissions: &[Submission], room: usize) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    let mut size = 0;
    for (at, submission) in submissions.iter().enumerate() {
        let bytes = encode_submission(submission).encoded_len() + AROUND;
        let joins = |run: &Range<usize>| {
            let first = &submissions[run.start];
            run.len() < TOGETHER
                && size + bytes <= room
                && matches!(first.actor, Actor::User(_))
                && first.actor == submission.actor
                && first.command.verb() == submission.command.verb()
        };
        match runs.last_mut().filter(|run| joins(run)) {
            Some(run) => {
                run.end += 1;
                size += bytes;
            }
            None => {
                runs.push(at..at + 1);
                size = bytes + AROUND;
            }
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::convert::encode_batch;
    use crate::strategies;

    proptest! {
        #[test]
        fn every_command_is_in_one_message_that_fits(
            // Runs of the same, so that there is something to put together.
            pool in prop::collection::vec((strategies::submission(), 1..40_usize), 0..6),
            room in 64..4096_usize,
        ) {
            let submissions: Vec<Submission> =
                pool.into_iter().flat_map(|(one, times)| vec![one; times]).collect();
            let runs = split(&submissions, room);
            // Every command is in a message, in their order, and none in two.
            let mut next = 0;
            for run in &runs {
                prop_assert!(run.start == next && run.end > run.start && run.len() <= TOGETHER);
                next = run.end;
                let shared = &submissions[run.clone()];
                let alike = |one: &Submission| {
                    one.actor == shared[0].actor && one.command.verb() == shared[0].command.verb()
                };
                prop_assert!(shared.iter().all(alike));
                // Only one that is too large by itself is larger than the room.
                prop_assert!(shared.len() == 1 || encode_batch(shared).encoded_len() <= room);
            }
            prop_assert_eq!(next, submissions.len());
        }
    }

    #[test]
    fn small_commands_of_a_person_share_messages() {
        let one = |actor: &str| {
            Submission::new(
                chv_domain::CommandId::from_bytes([1; 16]),
                actor.parse().unwrap(),
                chv_domain::Command::CordonHost {
                    host: "h1".parse().unwrap(),
                },
            )
        };
        let lengths = |actor, count| -> Vec<usize> {
            split(&vec![one(actor); count], 1 << 18)
                .iter()
                .map(ExactSizeIterator::len)
                .collect()
        };
        assert_eq!(lengths("alice", 40), [16, 16, 8]);
        assert_eq!(lengths("host/h1", 3), [1, 1, 1]);
    }
}
