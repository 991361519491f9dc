//! Clients of a broker: each message asks for an answer on an inbox of its own, and is followed by the next when that has
//! come. The same code, connections and messages for Chronovisor and JetStream.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use chv_domain::{UserName, Verb};
use chv_proto::subject;
use chv_proto::v1::{CommandBatchReply, CommandReply, command_reply};
use futures::StreamExt;
use prost::Message as _;
use tokio::task::JoinSet;

use super::shares;
use super::tally::{Tally, Window};
use crate::payload::Payloads;
use crate::plan::{Kind, Measured, Nats, Plan};
use crate::systems::jetstream;

/// How long an answer may take before the run is given up.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long a message waits that was answered `busy`.
const PAUSE: Duration = Duration::from_millis(5);

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    Chronovisor,
    JetStream,
}

impl Service {
    /// Where messages go.
    pub(super) fn subject(self, user: &str, kind: Kind) -> Result<String> {
        let user = || user.parse::<UserName>().context("a user's name");
        Ok(match (self, kind) {
            (Self::Chronovisor, Kind::Single { .. }) => subject::command(&user()?, Verb::VmCreate),
            (Self::Chronovisor, Kind::Sixteen { .. }) => subject::command_batch(&user()?, Verb::VmCreate),
            (Self::JetStream, _) => jetstream::SUBJECT.to_owned(),
        })
    }

    fn read(self, message: &async_nats::Message, kind: Kind) -> Result<Answer> {
        if message.status == Some(async_nats::StatusCode::NO_RESPONDERS) {
            return Ok(Answer { done: 0, busy: 1 });
        }
        match (self, kind) {
            (Self::Chronovisor, Kind::Single { .. }) => {
                Answer::default().and(CommandReply::decode(message.payload.as_ref())?)
            }
            (Self::Chronovisor, Kind::Sixteen { .. }) => {
                let reply = CommandBatchReply::decode(message.payload.as_ref())?;
                match reply.refused {
                    Some(refused) if refused.retryable => Ok(Answer { done: 0, busy: 1 }),
                    Some(refused) => bail!("a message is refused: {refused:?}"),
                    None => reply.replies.into_iter().try_fold(Answer::default(), Answer::and),
                }
            }
            (Self::JetStream, _) => {
                let text = std::str::from_utf8(&message.payload)?;
                ensure!(text.contains("\"seq\""), "a message is answered {text}");
                Ok(Answer { done: 1, busy: 0 })
            }
        }
    }
}

/// What came of a message's commands.
#[derive(Debug, Clone, Copy, Default)]
struct Answer {
    /// How many were done.
    done: u32,
    /// How many may be done when they are sent again.
    busy: u32,
}

impl Answer {
    fn and(self, reply: CommandReply) -> Result<Self> {
        match reply.result {
            Some(command_reply::Result::Accepted(_)) => Ok(Self {
                done: self.done + 1,
                ..self
            }),
            Some(command_reply::Result::Refused(refused)) if refused.retryable => Ok(Self {
                busy: self.busy + 1,
                ..self
            }),
            other => bail!("a command is answered {other:?}"),
        }
    }
}

pub(super) async fn run(plan: &Plan, nats: &Nats, service: Service, kind: Kind) -> Result<Measured> {
    let subject = service.subject(&nats.user, kind)?;
    let mut senders = Vec::new();
    for (number, outstanding) in (0..).zip(shares(kind.outstanding())) {
        let client = connect(nats).await?;
        let payloads = Payloads::new(plan.number, number)?;
        senders.push(Sender::new(client, subject.clone(), (service, kind), outstanding, payloads).await?);
    }
    let window = Window::from_now(plan);
    let tasks: JoinSet<_> = senders.into_iter().map(|sender| sender.run(window)).collect();
    let tallies: Result<Vec<Tally>> = tasks.join_all().await.into_iter().collect();
    Ok(Tally::measured(tallies?, plan))
}

pub(super) async fn connect(nats: &Nats) -> Result<async_nats::Client> {
    let options = match nats.user.is_empty() {
        true => async_nats::ConnectOptions::new(),
        false => async_nats::ConnectOptions::with_user_and_password(nats.user.clone(), nats.password.clone())
            .custom_inbox_prefix(subject::inbox_prefix(&nats.user)),
    };
    let connected = options.connect(&nats.url).await;
    connected.with_context(|| format!("can't connect to {}", nats.url))
}

/// One connection with its share of the messages.
struct Sender {
    client: async_nats::Client,
    subject: String,
    service: Service,
    kind: Kind,
    payloads: Payloads,
    answers: async_nats::Subscriber,
    /// One for each unanswered message, its number last.
    inboxes: Vec<String>,
    sent: Vec<Instant>,
}

impl Sender {
    async fn new(
        client: async_nats::Client,
        subject: String,
        (service, kind): (Service, Kind),
        outstanding: u32,
        payloads: Payloads,
    ) -> Result<Self> {
        let inbox = client.new_inbox();
        let answers = client.subscribe(format!("{inbox}.*")).await?;
        client.flush().await?;
        Ok(Self {
            client,
            subject,
            service,
            kind,
            payloads,
            answers,
            inboxes: (0..outstanding).map(|slot| format!("{inbox}.{slot}")).collect(),
            sent: vec![Instant::now(); outstanding as usize],
        })
    }

    async fn run(mut self, window: Window) -> Result<Tally> {
        let mut tally = Tally::new(window);
        let mut unanswered = self.inboxes.len();
        for slot in 0..unanswered {
            self.send(slot).await?;
        }
        while unanswered > 0 {
            let next = tokio::time::timeout(PATIENCE, self.answers.next()).await;
            let message = next
                .with_context(|| format!("{unanswered} messages have no answer after {PATIENCE:?}"))?
                .context("the connection was lost")?;
            let slot = message
                .subject
                .rsplit('.')
                .next()
                .and_then(|slot| slot.parse().ok());
            let slot: usize = slot.context("an answer to nothing")?;
            let answer = self.service.read(&message, self.kind)?;
            tally.answer(self.sent[slot], answer.done);
            if answer.busy > 0 {
                tally.busy(answer.busy);
                tokio::time::sleep(PAUSE).await;
            }
            match window.is_over() {
                true => unanswered -= 1,
                false => self.send(slot).await?,
            }
        }
        Ok(tally)
    }

    async fn send(&mut self, slot: usize) -> Result<()> {
        let payload = match self.kind {
            Kind::Single { .. } => self.payloads.next().0,
            Kind::Sixteen { .. } => self.payloads.next_batch(self.kind.commands_a_message()),
        };
        self.sent[slot] = Instant::now();
        let inbox = self.inboxes[slot].clone();
        Ok(self
            .client
            .publish_with_reply(self.subject.clone(), inbox, payload)
            .await?)
    }
}
