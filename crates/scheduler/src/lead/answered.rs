//! Answers that left no event: refusals, and commands that changed nothing. They are kept for a while, so that
//! a retry gets the first answer there too. A new leader knows none of them; see docs/adr/0009. Pure: told the time.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use chv_domain::{Actor, CommandId, Submission, Verb};

use crate::answer::Answer;

/// How long an answer is kept: longer than a client goes on with one command.
const KEPT_FOR: Duration = Duration::from_secs(300);

/// How many are kept.
const KEPT: usize = 16 << 10;

/// Which command it was: the id alone is the sender's word.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sent {
    id: CommandId,
    actor: Actor,
    verb: Verb,
}

impl Sent {
    /// The command of this submission.
    pub fn of(submission: &Submission) -> Self {
        Self {
            id: submission.id,
            actor: submission.actor.clone(),
            verb: submission.command.verb(),
        }
    }
}

/// The answers of one term.
#[derive(Default)]
pub struct Answered {
    answers: HashMap<Sent, Answer>,
    oldest_first: VecDeque<(Instant, Sent)>,
}

impl Answered {
    /// What was answered to this command.
    pub fn of(&self, sent: &Sent) -> Option<&Answer> {
        self.answers.get(sent)
    }

    /// Keeps an answer, unless there is one already, and lets go of the oldest.
    pub fn note(&mut self, sent: Sent, answer: Answer, now: Instant) {
        if self.answers.contains_key(&sent) {
            return;
        }
        self.answers.insert(sent.clone(), answer);
        self.oldest_first.push_back((now, sent));
        while let Some((since, _)) = self.oldest_first.front() {
            if self.answers.len() <= KEPT && now.saturating_duration_since(*since) < KEPT_FOR {
                break;
            }
            if let Some((_, oldest)) = self.oldest_first.pop_front() {
                self.answers.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chv_proto::{convert, v1};

    fn sent(number: u8, actor: &str) -> Sent {
        let actor = actor.parse().unwrap();
        Sent {
            id: CommandId::from_bytes([number; 16]),
            actor,
            verb: Verb::VmStart,
        }
    }

    fn refused(message: &str) -> Answer {
        Err(convert::refused("no_host", message, ""))
    }

    #[test]
    fn a_retry_gets_the_first_answer_and_another_actor_does_not() {
        let mut answered = Answered::default();
        let now = Instant::now();
        answered.note(sent(1, "alice"), refused("first"), now);
        answered.note(sent(1, "alice"), Ok(v1::Accepted::default()), now);
        assert_eq!(answered.of(&sent(1, "alice")), Some(&refused("first")));
        assert_eq!(answered.of(&sent(1, "bob")), None);
    }

    #[test]
    fn answers_are_let_go_of_when_they_are_old_or_too_many() {
        let (mut answered, start) = (Answered::default(), Instant::now());
        answered.note(sent(1, "alice"), refused("old"), start);
        answered.note(sent(2, "alice"), refused("new"), start + KEPT_FOR);
        assert_eq!(answered.of(&sent(1, "alice")), None);
        assert!(answered.of(&sent(2, "alice")).is_some());
        for number in 0..=KEPT as u64 {
            let id = CommandId::from_bytes((u128::from(number) << 64).to_be_bytes());
            answered.note(
                Sent {
                    id,
                    ..sent(3, "alice")
                },
                refused("many"),
                start + KEPT_FOR,
            );
        }
        assert_eq!(answered.answers.len(), KEPT);
    }
}
