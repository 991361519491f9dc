//! Deciding one command on the state that all before it led to: what is answered, and what is to be recorded. Pure:
//! it waits for nothing and knows no log; `decider` does.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use chv_domain::{Context, Decided, Projection, Record, Submission, decide, fold_decided};
use chv_proto::convert;
use tracing::error;

use super::answered::{Answered, Sent};
use crate::answer::{self, Answer};

/// What came of one command, before it is known whether the log takes it.
#[derive(Debug)]
pub struct Verdict {
    /// What is answered.
    pub answer: Answer,
    /// What the command made a fact, once it is committed.
    pub record: Option<Record>,
}

/// Decides `submission` on `state`, and folds what it did into it. The answer is made while the state is as this
/// command left it.
///
/// An answer without a record is kept in `answered`, and a retry gets it again, also one that is decided before it is
/// known whether the log takes what is under way: when it doesn't, nobody is given any of these answers.
pub fn decide_one(
    state: &mut Projection,
    answered: &mut Answered,
    submission: &Submission,
    context: Context<'_>,
    now: Instant,
) -> Verdict {
    let sent = Sent::of(submission);
    if let Some(answer) = answered.of(&sent) {
        let answer = answer.clone();
        return Verdict { answer, record: None };
    }
    // Without a copy of the state to go back to, which would make each change copy what it touches: deciding changes
    // nothing, and folding is total.
    let attempt = catch_unwind(AssertUnwindSafe(|| decide(state, submission, context)));
    let (answer, record) = match attempt {
        Ok(Ok(decided)) => {
            fold_decided(state, &decided);
            let answer = answer::accepted(state, &decided);
            let record = match decided {
                Decided::Record(record) => Some(record),
                Decided::Repeat(_) | Decided::Unchanged { .. } => None,
            };
            (Ok(answer), record)
        }
        Ok(Err(rejection)) => (Err(answer::rejected(&rejection)), None),
        Err(_) => {
            // A defect in the rules must not take the other commands of the batch along.
            error!(
                id = %submission.id, verb = %submission.command.verb(), actor = %submission.actor,
                "deciding a command panicked"
            );
            let message = "deciding this command failed; that is a defect, please report it";
            (Err(convert::refused("internal", message, "")), None)
        }
    };
    if record.is_none() {
        answered.note(sent, answer.clone(), now);
    }
    Verdict { answer, record }
}

/// What an entry came to, where `failed` is why one before it did. One without records was confirmed by itself, but its
/// answers are about what those before it were to do: they are as those are. One with records is in the log only where
/// those before it are, whatever was known of them in time.
pub fn after<E: Clone>(failed: &mut Option<E>, taken: Result<(), E>, records: &[Record]) -> Result<(), E> {
    let taken = match failed {
        Some(why) if records.is_empty() => Err(why.clone()),
        _ => taken,
    };
    if let Err(why) = &taken {
        failed.get_or_insert_with(|| why.clone());
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_rest_on_an_entry_that_failed_are_not_given() {
        // Given an entry that was not taken,
        let mut failed = None;
        assert_eq!(after(&mut failed, Ok(()), &[]), Ok(()));
        assert_eq!(after(&mut failed, Err("lost"), &[]), Err("lost"));
        // then one that only told of what it was to do is refused for the same reason, though leadership was confirmed.
        assert_eq!(after(&mut failed, Ok(()), &[]), Err("lost"));
        assert_eq!(after(&mut failed, Err("no leader"), &[]), Err("lost"));
    }
}
