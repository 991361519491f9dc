//! Asking until there is an answer: the loop behind every question.
//!
//! It sends the same bytes again when nobody listens, when the connection was lost meanwhile, when the
//! answer says so, and when none comes; and it takes the first answer that comes to any of those. What an
//! answer means is its caller's to judge.

use std::fmt;
use std::time::Duration;

use async_nats::{HeaderMap, Message, RequestError, RequestErrorKind};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;

use super::Client;
use super::error::{Refusal, Whom};
use super::news::Violation;

/// How long the first answer is waited for before the same is sent again; twice as long each time after.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest of those pauses.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// How long after nobody listened it is tried again: while leadership is handed over, that takes about as long.
const NOBODY_PAUSE: Duration = Duration::from_millis(20);

/// How soon the broker says so when nobody listens.
const SAID_BY: Duration = Duration::from_millis(100);

/// After a refusal, or when nobody listened, nothing is tried again with less time left than this: the time would end
/// before the answer came, and what is known not to be done would be in doubt.
pub(super) const LAST_TRY: Duration = Duration::from_millis(250);

/// The bounds of what a refusal may ask to wait.
const REFUSED_PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(4));

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waiting {
    /// The broker: the connection is lost.
    Broker,
    /// Somebody who answers.
    Listener(Whom),
    /// The answer of somebody who has the question, as far as is known.
    Answer(Whom),
    /// The next try, after a refusal that says that it may succeed later.
    NextTry(Refusal),
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broker => f.write_str("waiting for NATS to be back"),
            Self::Listener(whom) => write!(f, "waiting for a {whom}"),
            Self::Answer(whom) => write!(f, "waiting for the answer of the {whom}"),
            Self::NextTry(refusal) => write!(f, "waiting to try again: {refusal}"),
        }
    }
}

/// Hears what is waited for, whenever that changes.
pub(super) type Progress<'a> = Option<&'a mut (dyn FnMut(Waiting) + Send)>;

/// A question.
pub(super) struct Question {
    pub(super) subject: String,
    pub(super) headers: HeaderMap,
    pub(super) payload: Bytes,
    pub(super) whom: Whom,
    /// How long all of it may take.
    pub(super) patience: Duration,
    /// How long the one who is asked may take on purpose.
    pub(super) answer_may_take: Duration,
    /// Whether it may be sent more than once.
    pub(super) again: bool,
}

/// What an answer means.
pub(super) enum Verdict<T> {
    /// The answer.
    Final(T),
    /// The same question may get another answer later.
    Later {
        refusal: Refusal,
        /// Whether it is sure that the refused attempt did nothing, and won't.
        nothing_done: bool,
    },
    /// Unreadable.
    Garbled(String),
}

/// Why there is no answer.
#[derive(Clone)]
pub(super) enum Unanswered {
    NotPermitted,
    ShutOut,
    TooLarge {
        size: usize,
        max: usize,
    },
    Garbled(String),
    Late {
        /// What was waited for last.
        waiting: Waiting,
        /// Whether some attempt may have been heard, or may yet be.
        maybe_heard: bool,
    },
}

impl Unanswered {
    /// The same, where an attempt before may have been heard, too.
    pub(super) fn doubted(self, before: bool) -> Self {
        match self {
            Self::Late { waiting, maybe_heard } => Self::Late {
                waiting,
                maybe_heard: maybe_heard || before,
            },
            other => other,
        }
    }
}

impl Client {
    /// Asks until there is an answer.
    pub(super) async fn ask<T>(
        &self,
        question: Question,
        judge: impl FnMut(&Message) -> Verdict<T> + Send,
        progress: Progress<'_>,
    ) -> Result<T, Unanswered> {
        let max = self.nats().max_payload();
        if question.payload.len() > max {
            return Err(Unanswered::TooLarge {
                size: question.payload.len(),
                max,
            });
        }
        Asking::new(self, question, judge, progress).run().await
    }
}

type Attempt = BoxFuture<'static, Result<Message, RequestError>>;

struct Asking<'c, 'p, J> {
    client: &'c Client,
    question: Question,
    judge: J,
    progress: Progress<'p>,
    waiting: Option<Waiting>,
    attempts: FuturesUnordered<Attempt>,
    /// How many attempts may have been heard, or may yet be.
    in_doubt: usize,
    deadline: Instant,
    /// When the next attempt is due.
    due: Instant,
    pause: Duration,
    /// How often the connection had been made when the last attempt was sent.
    connects: u64,
    /// When the last attempt was sent, while nothing came of it.
    on_its_way: Option<Instant>,
}

impl<'c, 'p, T, J: FnMut(&Message) -> Verdict<T> + Send> Asking<'c, 'p, J> {
    fn new(client: &'c Client, question: Question, judge: J, progress: Progress<'p>) -> Self {
        let now = Instant::now();
        Self {
            client,
            judge,
            progress,
            waiting: None,
            attempts: FuturesUnordered::new(),
            in_doubt: 0,
            deadline: now + question.patience,
            due: now,
            pause: FIRST_PAUSE + question.answer_may_take,
            connects: client.connects(),
            on_its_way: None,
            question,
        }
    }

    async fn run(mut self) -> Result<T, Unanswered> {
        let mut violations = self.client.shared.news.violations();
        let mut link = self.client.shared.news.link();
        loop {
            self.suppose_heard();
            if Instant::now() >= self.deadline {
                return Err(self.late());
            }
            if self.client.shared.news.shut_out() {
                return Err(Unanswered::ShutOut);
            }
            self.send_if_due();
            if !self.question.again && self.attempts.is_empty() && self.waiting != Some(Waiting::Broker) {
                return Err(self.late());
            }
            tokio::select! {
                Some(answer) = self.attempts.next() => {
                    if let Some(end) = self.answered(answer) {
                        return end;
                    }
                }
                violation = violations.next() => {
                    if violation == Violation::Publish(self.question.subject.clone()) {
                        return Err(Unanswered::NotPermitted);
                    }
                }
                () = link.next() => {}
                () = tokio::time::sleep_until(self.due.min(self.deadline)), if self.due > Instant::now() => {}
                () = tokio::time::sleep_until(self.deadline) => {}
            }
        }
    }

    fn send_if_due(&mut self) {
        if !self.client.is_up() {
            self.wait_for(Waiting::Broker);
            self.on_its_way = None;
            return;
        }
        let connects = self.client.connects();
        let sent_before = !self.attempts.is_empty() || self.in_doubt > 0;
        // What was on its way when the connection was lost may be lost with it.
        let lost = connects != self.connects && sent_before;
        if sent_before && !self.question.again {
            self.wait_for(Waiting::Answer(self.question.whom.clone()));
            return;
        }
        if Instant::now() < self.due && !lost {
            return;
        }
        self.connects = connects;
        self.due = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE.max(self.question.answer_may_take + FIRST_PAUSE));
        // After a refusal, the next one may come as quickly: not every try is news.
        if !matches!(self.waiting, Some(Waiting::Listener(_) | Waiting::NextTry(_))) {
            self.wait_for(Waiting::Answer(self.question.whom.clone()));
        }
        self.on_its_way = Some(Instant::now());
        self.in_doubt += 1;
        self.attempts.push(self.attempt());
    }

    /// The broker says at once when nobody listens; so after a while, somebody has heard the attempt.
    fn suppose_heard(&mut self) {
        if self.on_its_way.is_some_and(|sent| sent.elapsed() >= SAID_BY) && self.client.is_up() {
            self.wait_for(Waiting::Answer(self.question.whom.clone()));
        }
    }

    fn attempt(&self) -> Attempt {
        let nats = self.client.nats().clone();
        let subject = self.question.subject.clone();
        let mut request = async_nats::Request::new()
            .payload(self.question.payload.clone())
            // The loop ends at the deadline; until then an answer to an earlier attempt is as good.
            .timeout(None);
        if !self.question.headers.is_empty() {
            request = request.headers(self.question.headers.clone());
        }
        Box::pin(async move { nats.send_request(subject, request).await })
    }

    /// Takes the end of one attempt; `Some` when it is the end of the question.
    fn answered(&mut self, answer: Result<Message, RequestError>) -> Option<Result<T, Unanswered>> {
        let error = match answer {
            Ok(message) => return self.judged(&message),
            Err(error) => error,
        };
        match error.kind() {
            RequestErrorKind::NoResponders => {
                self.in_doubt -= 1;
                self.on_its_way = None;
                self.wait_for(Waiting::Listener(self.question.whom.clone()));
                self.due = self.due.min(Instant::now() + NOBODY_PAUSE);
                self.pause = FIRST_PAUSE + self.question.answer_may_take;
                self.no_more()
            }
            RequestErrorKind::MaxPayloadExceeded => Some(Err(Unanswered::TooLarge {
                size: self.question.payload.len(),
                max: self.client.nats().max_payload(),
            })),
            RequestErrorKind::InvalidSubject => Some(Err(Unanswered::Garbled(error.to_string()))),
            // The connection's own end; it is not known how far the attempt got.
            RequestErrorKind::TimedOut | RequestErrorKind::Other => {
                self.due = Instant::now() + NOBODY_PAUSE;
                None
            }
        }
    }

    fn judged(&mut self, message: &Message) -> Option<Result<T, Unanswered>> {
        match (self.judge)(message) {
            Verdict::Final(answer) => Some(Ok(answer)),
            Verdict::Garbled(problem) => Some(Err(Unanswered::Garbled(problem))),
            Verdict::Later {
                refusal,
                nothing_done,
            } => {
                if nothing_done {
                    self.in_doubt -= 1;
                }
                self.on_its_way = None;
                // Somebody is there: should the next try be lost, that is found out as soon as for the first.
                self.pause = FIRST_PAUSE + self.question.answer_may_take;
                let (least, most) = REFUSED_PAUSE;
                self.due = Instant::now() + refusal.retry_after.clamp(least, most);
                self.wait_for(Waiting::NextTry(refusal));
                self.no_more()
            }
        }
    }

    /// The end of the question when no attempt is in doubt, and there is no time left for another one.
    fn no_more(&self) -> Option<Result<T, Unanswered>> {
        let no_more = self.in_doubt == 0 && self.due + LAST_TRY > self.deadline;
        no_more.then(|| Err(self.late()))
    }

    fn wait_for(&mut self, waiting: Waiting) {
        if self.waiting.as_ref() == Some(&waiting) {
            return;
        }
        if let Some(progress) = &mut self.progress {
            progress(waiting.clone());
        }
        self.waiting = Some(waiting);
    }

    fn late(&self) -> Unanswered {
        Unanswered::Late {
            waiting: self.waiting.clone().unwrap_or(Waiting::Broker),
            maybe_heard: self.in_doubt > 0,
        }
    }
}

impl Client {
    /// How often the connection was made: 1 at first, one more after each that was lost.
    pub(super) fn connects(&self) -> u64 {
        let statistics = self.nats().statistics();
        statistics.connects.load(std::sync::atomic::Ordering::Relaxed)
    }
}
