//! Many commands: several to a message, several messages at a time, each command answered by itself.
//!
//! A message is asked until it is answered, as [`Client::submit`] does it. What its answer refuses for now is sent
//! again in a smaller message; what can't be read keeps a whole message from being done, so each of its commands is
//! then sent alone, and only the one at fault is refused. Every command keeps its id, so it is done once at most.

mod split;

use std::ops::Range;
use std::time::Duration;

use async_nats::{HeaderMap, Message};
use chv_domain::{Actor, CommandId, Submission, UserName};
use futures::{Stream, StreamExt as _, stream};
use prost::Message as _;
use tokio::time::Instant;

use super::ask::{LAST_TRY, Question, Unanswered, Verdict};
use super::error::{CommandError, Refusal, Whom};
use super::submit::{Reply, nothing_done, read_reply};
use super::{Client, Waiting};
use crate::convert::{VERSION, encode_batch};
use crate::subject::{self, MAX_COMMAND_BYTES};
use crate::v1;

/// How many messages are under way at a time.
const AT_ONCE: usize = 8;

/// The bounds of what refusals may ask to wait.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(4));

/// What came of a command.
pub type Outcome = Result<v1::Accepted, CommandError>;

/// A command that has no last answer yet, by its place in the list.
struct Open {
    place: usize,
    /// How it was refused for now the last time; nothing else is an answer that leaves it open.
    refused: Option<ForNow>,
}

/// A refusal that another attempt may not get.
struct ForNow {
    refusal: Refusal,
    /// Whether this attempt, or one before, may have been taken on.
    in_doubt: bool,
}

impl Open {
    fn new(place: usize) -> Self {
        Self { place, refused: None }
    }

    fn in_doubt(&self) -> bool {
        self.refused.as_ref().is_some_and(|refused| refused.in_doubt)
    }
}

/// What the answer to a message says.
enum Answered {
    /// Of each command, in their order.
    Each(Vec<Reply>),
    /// The whole message was refused, and nothing of it was done.
    Whole,
}

impl Client {
    /// Sends commands, several to a message where they are of one actor and verb, and tells what came of each, with its
    /// place in `submissions`, as it becomes known. Each is answered by itself: one that is refused does not keep the
    /// others from being done.
    ///
    /// All is tried again as by [`Client::submit`], until `patience` is over for all of them. Those in one message are
    /// decided in their order; messages are not, so commands that need each other don't belong in one call. `heard` is
    /// told what is waited for. Nothing is sent before the stream is polled.
    pub fn submit_all<'a>(
        &'a self,
        submissions: &'a [Submission],
        patience: Duration,
        heard: &'a (dyn Fn(Waiting) + Sync),
    ) -> impl Stream<Item = (usize, Outcome)> + Send + 'a {
        let room = MAX_COMMAND_BYTES.min(self.nats().max_payload());
        let deadline = Instant::now() + patience;
        stream::iter(split::split(submissions, room))
            .map(move |run| {
                let message = Batch {
                    client: self,
                    submissions,
                    patience,
                    deadline,
                    heard,
                };
                message.send(run)
            })
            .buffer_unordered(AT_ONCE)
            .flat_map(stream::iter)
    }
}

/// What all messages of a list share.
struct Batch<'a> {
    client: &'a Client,
    submissions: &'a [Submission],
    patience: Duration,
    deadline: Instant,
    heard: &'a (dyn Fn(Waiting) + Sync),
}

impl Batch<'_> {
    /// Sends the commands at these places until each has an outcome.
    async fn send(self, run: Range<usize>) -> Vec<(usize, Outcome)> {
        let first = &self.submissions[run.start];
        let user = match &first.actor {
            Actor::User(user) if run.len() > 1 => user.clone(),
            Actor::User(_) | Actor::Host(_) | Actor::Replica(_) => {
                return self.each_alone(run.map(Open::new)).await;
            }
        };
        let mut open: Vec<Open> = run.map(Open::new).collect();
        let mut outcomes = Vec::with_capacity(open.len());
        while !open.is_empty() {
            if Instant::now() >= self.deadline {
                outcomes.extend(open.into_iter().map(|open| (open.place, Err(self.late(open)))));
                break;
            }
            match self.ask(&user, &open).await {
                Ok(Answered::Each(replies)) => {
                    open = sort(open, replies, &mut outcomes);
                    if !self.pause(&open).await {
                        outcomes.extend(open.into_iter().map(|open| (open.place, Err(self.late(open)))));
                        break;
                    }
                }
                Ok(Answered::Whole) => {
                    outcomes.extend(self.each_alone(open.into_iter()).await);
                    break;
                }
                Err(unanswered) => {
                    outcomes.extend(self.unanswered(open, unanswered).await);
                    break;
                }
            }
        }
        outcomes
    }

    async fn ask(&self, user: &UserName, open: &[Open]) -> Result<Answered, Unanswered> {
        let commands: Vec<Submission> = open
            .iter()
            .map(|open| self.submissions[open.place].clone())
            .collect();
        let ids: Vec<CommandId> = commands.iter().map(|command| command.id).collect();
        let question = Question {
            subject: subject::command_batch(user, commands[0].command.verb()),
            // Each command has its trace with it.
            headers: HeaderMap::new(),
            payload: encode_batch(&commands).encode_to_vec().into(),
            whom: Whom::Leader,
            patience: self.left(),
            answer_may_take: Duration::ZERO,
            again: true,
        };
        let mut hear = |waiting| (self.heard)(waiting);
        self.client
            .ask(question, |message| judge(message, &ids), Some(&mut hear))
            .await
    }

    async fn each_alone(&self, open: impl Iterator<Item = Open>) -> Vec<(usize, Outcome)> {
        let mut outcomes = Vec::new();
        for open in open {
            let (place, in_doubt) = (open.place, open.in_doubt());
            let outcome = match self.left() {
                Duration::ZERO => Err(self.late(open)),
                left => {
                    let mut hear = |waiting| (self.heard)(waiting);
                    self.client
                        .submit_again(&self.submissions[place], in_doubt, left, Some(&mut hear))
                        .await
                }
            };
            outcomes.push((place, outcome));
        }
        outcomes
    }

    /// Waits as long as the refusals ask for; `false`, and at once, when there is no time left for another try then.
    async fn pause(&self, open: &[Open]) -> bool {
        let longest = open
            .iter()
            .filter_map(|open| open.refused.as_ref())
            .map(|refused| &refused.refusal)
            .max_by_key(|refusal| refusal.retry_after);
        let Some(refusal) = longest else { return true };
        let (least, most) = PAUSE;
        let until = Instant::now() + refusal.retry_after.clamp(least, most);
        if until + LAST_TRY > self.deadline {
            return false;
        }
        (self.heard)(Waiting::NextTry(refusal.clone()));
        tokio::time::sleep_until(until).await;
        true
    }

    /// The time is over, and no attempt is under way.
    fn late(&self, open: Open) -> CommandError {
        let (id, waited) = (self.submissions[open.place].id, self.patience);
        let Some(ForNow { refusal, in_doubt }) = open.refused else {
            return CommandError::NotSent { id, waited };
        };
        match in_doubt {
            true => CommandError::TimedOut {
                id,
                waited,
                waiting: Waiting::NextTry(refusal),
            },
            false => CommandError::Refused(refusal),
        }
    }

    async fn unanswered(&self, open: Vec<Open>, unanswered: Unanswered) -> Vec<(usize, Outcome)> {
        let Some(first) = open.first() else {
            return Vec::new();
        };
        let replicas = self
            .client
            .count_replicas(&unanswered, &self.submissions[first.place].actor)
            .await;
        let each = |open: Open| {
            let submission = &self.submissions[open.place];
            let unanswered = unanswered.clone().doubted(open.in_doubt());
            let error = self
                .client
                .command_error(unanswered, submission, self.patience, replicas);
            (open.place, Err(error))
        };
        open.into_iter().map(each).collect()
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// Puts what is answered for good with the outcomes; what is left is to be sent again.
fn sort(open: Vec<Open>, replies: Vec<Reply>, outcomes: &mut Vec<(usize, Outcome)>) -> Vec<Open> {
    let mut left = Vec::new();
    for (open, reply) in open.into_iter().zip(replies) {
        match reply {
            Ok(accepted) => outcomes.push((open.place, Ok(accepted))),
            Err(refusal) if refusal.retryable => {
                let in_doubt = open.in_doubt() || !nothing_done(&refusal);
                let refused = Some(ForNow { refusal, in_doubt });
                left.push(Open { refused, ..open });
            }
            Err(refusal) => outcomes.push((open.place, Err(CommandError::Refused(refusal)))),
        }
    }
    left
}

fn judge(message: &Message, ids: &[CommandId]) -> Verdict<Answered> {
    let reply = match v1::CommandBatchReply::decode(message.payload.as_ref()) {
        Ok(reply) => reply,
        Err(error) => return Verdict::Garbled(error.to_string()),
    };
    if reply.version != VERSION {
        return Verdict::Garbled(format!("it has version {}", reply.version));
    }
    if let Some(refused) = reply.refused {
        let refusal = Refusal::from(refused);
        return match refusal.retryable {
            true => Verdict::Later {
                nothing_done: true,
                refusal,
            },
            false => Verdict::Final(Answered::Whole),
        };
    }
    if reply.replies.len() != ids.len() {
        return Verdict::Garbled(format!(
            "it answers {} of {} commands",
            reply.replies.len(),
            ids.len()
        ));
    }
    let each = reply
        .replies
        .into_iter()
        .zip(ids)
        .map(|(reply, id)| read_reply(reply, *id));
    match each.collect() {
        Ok(each) => Verdict::Final(Answered::Each(each)),
        Err(problem) => Verdict::Garbled(problem),
    }
}
