//! Clients of a broker: each message asks for an answer on an inbox of its own, and is followed by the next when that has
//! come. The same code, connections and messages for Chronovisor and JetStream.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use chv_proto::v1::{CommandReply, command_reply};
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
    pub(super) fn subject(self, user: &str) -> String {
        match self {
            Self::Chronovisor => format!("chv.cmd.{user}.vm.create"),
            Self::JetStream => jetstream::SUBJECT.to_owned(),
        }
    }

    fn read(self, message: &async_nats::Message) -> Result<Answer> {
        if message.status == Some(async_nats::StatusCode::NO_RESPONDERS) {
            return Ok(Answer::TryAgain);
        }
        match self {
            Self::Chronovisor => match CommandReply::decode(message.payload.as_ref())?.result {
                Some(command_reply::Result::Accepted(_)) => Ok(Answer::Done),
                Some(command_reply::Result::Refused(refused)) if refused.retryable => Ok(Answer::TryAgain),
                other => bail!("a command is answered {other:?}"),
            },
            Self::JetStream => {
                let text = std::str::from_utf8(&message.payload)?;
                ensure!(text.contains("\"seq\""), "a message is answered {text}");
                Ok(Answer::Done)
            }
        }
    }
}

enum Answer {
    Done,
    TryAgain,
}

pub(super) async fn run(plan: &Plan, nats: &Nats, service: Service, kind: Kind) -> Result<Measured> {
    ensure!(
        kind.commands_a_message() == 1,
        "messages with many commands are not there yet"
    );
    let mut senders = Vec::new();
    for (number, outstanding) in (0..).zip(shares(kind.outstanding())) {
        let client = connect(nats).await?;
        let payloads = Payloads::new(plan.number, number)?;
        senders.push(
            Sender::new(
                client,
                service.subject(&nats.user),
                service,
                outstanding,
                payloads,
            )
            .await?,
        );
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
            .custom_inbox_prefix(chv_proto::subject::inbox_prefix(&nats.user)),
    };
    let connected = options.connect(&nats.url).await;
    connected.with_context(|| format!("can't connect to {}", nats.url))
}

/// One connection with its share of the messages.
struct Sender {
    client: async_nats::Client,
    subject: String,
    service: Service,
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
        service: Service,
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
            match self.service.read(&message)? {
                Answer::Done => tally.answer(self.sent[slot], 1),
                Answer::TryAgain => {
                    tally.busy();
                    tokio::time::sleep(PAUSE).await;
                }
            }
            match window.is_over() {
                true => unanswered -= 1,
                false => self.send(slot).await?,
            }
        }
        Ok(tally)
    }

    async fn send(&mut self, slot: usize) -> Result<()> {
        let (payload, _) = self.payloads.next();
        self.sent[slot] = Instant::now();
        let inbox = self.inboxes[slot].clone();
        Ok(self
            .client
            .publish_with_reply(self.subject.clone(), inbox, payload)
            .await?)
    }
}
