//! Commands at a fixed rate, whatever the answers do, and a subscriber to all events: how long after its commit an event is
//! there. Both are in this process, so one clock tells both.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use chv_proto::client::now;
use chv_proto::v1::{CommandReply, EventMessage, command_reply};
use futures::StreamExt;
use prost::Message as _;
use tokio::time::MissedTickBehavior;

use super::nats::{Service, connect};
use super::tally::nanoseconds;
use crate::payload::Payloads;
use crate::plan::{Arrival, Kind, Measured, Nats, Plan};
use crate::statistics::quantiles;

/// How long after the last command answers and events are waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// One command.
#[derive(Debug, Clone, Copy)]
struct Sent {
    at: Instant,
    answered: Option<Answered>,
}

#[derive(Debug, Clone, Copy)]
struct Answered {
    at: Instant,
    first: u64,
    last: u64,
}

/// One event, as the subscriber saw it.
#[derive(Debug, Clone, Copy)]
struct Heard {
    at: Instant,
    /// From the time in its record until then, by the clock of the wall.
    after_decision: i64,
}

pub(super) async fn run(plan: &Plan, nats: &Nats, per_second: u32) -> Result<Measured> {
    let subscriber = connect(nats).await?;
    let mut events = subscriber.subscribe(chv_proto::subject::EVENTS).await?;
    subscriber.flush().await?;
    let sender = connect(nats).await?;
    let inbox = sender.new_inbox();
    let mut answers = sender.subscribe(format!("{inbox}.*")).await?;
    sender.flush().await?;

    let subject = Service::Chronovisor.subject(&nats.user, Kind::Single { outstanding: 1 })?;
    let mut payloads = Payloads::new(plan.number, 0)?;
    let all = per_second as usize * usize::try_from((plan.warm_up + plan.measured).as_secs())?;
    let mut due = tokio::time::interval(Duration::from_secs(1) / per_second);
    // A sender that was held up sends what is due at once, as many independent senders would.
    due.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut sent: Vec<Sent> = Vec::with_capacity(all);
    let mut heard: HashMap<u64, Heard> = HashMap::new();
    let (mut unanswered, mut last_seq, mut newest) = (all, 0, 0);
    let mut give_up = tokio::time::Instant::now() + plan.warm_up + plan.measured + PATIENCE;
    while unanswered > 0 || newest < last_seq {
        tokio::select! {
            _ = due.tick(), if sent.len() < all => {
                let (payload, _) = payloads.next();
                let to = format!("{inbox}.{}", sent.len());
                sent.push(Sent { at: Instant::now(), answered: None });
                sender.publish_with_reply(subject.clone(), to, payload).await?;
                give_up = tokio::time::Instant::now() + PATIENCE;
            }
            Some(answer) = answers.next() => {
                let at = Instant::now();
                let number: usize = answer.subject.rsplit('.').next().context("a subject")?.parse()?;
                let (first, last) = read(&answer)?;
                sent[number].answered = Some(Answered { at, first, last });
                last_seq = last_seq.max(last);
                unanswered -= 1;
            }
            Some(event) = events.next() => {
                let (at, time) = (Instant::now(), now());
                let event = EventMessage::decode(event.payload.as_ref())?;
                let after = i64::try_from(time.0)? - i64::try_from(event.time_us)?;
                newest = newest.max(event.seq);
                heard.insert(event.seq, Heard { at, after_decision: after * 1_000 });
            }
            () = tokio::time::sleep_until(give_up) => {
                bail!("{unanswered} commands have no answer, and event {last_seq} is not there after {PATIENCE:?}")
            }
        }
    }
    let began = sent.first().context("something was sent")?.at;
    let counted: Vec<Sent> = sent
        .into_iter()
        .filter(|sent| sent.at >= began + plan.warm_up)
        .collect();
    measured(&counted, &heard, all as u64, per_second)
}

fn read(answer: &async_nats::Message) -> Result<(u64, u64)> {
    match CommandReply::decode(answer.payload.as_ref())?.result {
        Some(command_reply::Result::Accepted(accepted)) => Ok((accepted.first_seq, accepted.last_seq)),
        other => bail!("a command is answered {other:?}"),
    }
}

fn measured(sent: &[Sent], heard: &HashMap<u64, Heard>, answered: u64, per_second: u32) -> Result<Measured> {
    let (mut latency, mut after_answer, mut after_decision) = (Vec::new(), Vec::new(), Vec::new());
    for command in sent {
        let answer = command.answered.context("every command is answered")?;
        latency.push(nanoseconds(answer.at - command.at));
        for seq in answer.first..=answer.last {
            let event = heard
                .get(&seq)
                .with_context(|| format!("event {seq} was not heard"))?;
            after_answer.push(match event.at.checked_duration_since(answer.at) {
                Some(later) => nanoseconds(later),
                None => -nanoseconds(answer.at - event.at),
            });
            after_decision.push(event.after_decision);
        }
    }
    ensure!(!latency.is_empty(), "nothing was sent after the warm-up");
    Ok(Measured {
        answered,
        busy: 0,
        per_second: f64::from(per_second),
        latency: quantiles(latency),
        arrival: Some(Arrival {
            after_answer: quantiles(after_answer),
            after_decision: quantiles(after_decision),
        }),
    })
}
