//! Commands, decided by the domain; then the host does its part.

use std::sync::{Arc, Mutex};

use chv_domain::*;
use chv_proto::{convert, subject, v1};
use futures::StreamExt;
use prost::Message;

use super::{State, host};

async fn publish(nats: &async_nats::Client, state: &Mutex<State>, record: &Record) {
    let messages = state.lock().unwrap().messages(record);
    for (message, event) in messages.iter().zip(&record.events) {
        let subject = subject::event(event, &message.project, &message.name);
        nats.publish(subject, message.encode_to_vec().into())
            .await
            .unwrap();
    }
}

pub(super) async fn answer_commands(
    mut commands: async_nats::Subscriber,
    nats: async_nats::Client,
    state: Arc<Mutex<State>>,
) {
    while let Some(message) = commands.next().await {
        let (user, verb) = subject::parse_command(&message.subject).unwrap();
        let submission = convert::decode_envelope(&message.payload, Actor::User(user), &verb, None).unwrap();
        let (reply, done) = decide(&nats, &state, &submission).await;
        if let Some(to) = message.reply {
            nats.publish(to, reply.encode_to_vec().into()).await.unwrap();
        }
        converge(&nats, &state, done).await;
    }
}

pub(super) async fn answer_batches(
    mut batches: async_nats::Subscriber,
    nats: async_nats::Client,
    state: Arc<Mutex<State>>,
) {
    while let Some(message) = batches.next().await {
        let (user, verb) = subject::parse_command_batch(&message.subject).unwrap();
        let submissions = convert::decode_batch(&message.payload, &Actor::User(user), &verb, None).unwrap();
        let (mut replies, mut changed) = (Vec::new(), Vec::new());
        for submission in &submissions {
            let (reply, done) = decide(&nats, &state, submission).await;
            replies.push(reply);
            changed.push(done);
        }
        state.lock().unwrap().batches.push(submissions.len());
        let reply = v1::CommandBatchReply {
            version: convert::VERSION,
            replies,
            refused: None,
        };
        if let Some(to) = message.reply {
            nats.publish(to, reply.encode_to_vec().into()).await.unwrap();
        }
        for done in changed {
            converge(&nats, &state, done).await;
        }
    }
}

/// The answer, and the VM that changed.
async fn decide(
    nats: &async_nats::Client,
    state: &Mutex<State>,
    submission: &Submission,
) -> (v1::CommandReply, Option<VmId>) {
    let (reply, record, vm) = decided(state, submission);
    if let Some(record) = &record {
        publish(nats, state, record).await;
    }
    (reply, vm.filter(|_| record.is_some()))
}

async fn converge(nats: &async_nats::Client, state: &Mutex<State>, vm: Option<VmId>) {
    let Some(vm) = vm else { return };
    let reports = state.lock().unwrap().converge(vm);
    for record in reports {
        publish(nats, state, &record).await;
    }
}

fn decided(
    state: &Mutex<State>,
    submission: &Submission,
) -> (v1::CommandReply, Option<Record>, Option<VmId>) {
    let mut state = state.lock().unwrap();
    let mut reply = v1::CommandReply {
        version: convert::VERSION,
        id: submission.id.to_string(),
        result: None,
    };
    let (decided, record) = match state.decide(submission) {
        Ok(decided) => decided,
        Err(rejection) => {
            let refused = convert::refused(rejection.code.as_str(), rejection.message, "");
            reply.result = Some(v1::command_reply::Result::Refused(refused));
            return (reply, None, None);
        }
    };
    let (resource, mut accepted) = match &decided {
        Decided::Record(record) => {
            let accepted = v1::Accepted {
                first_seq: record.first.0,
                last_seq: record.last().0,
                ..v1::Accepted::default()
            };
            (record.events[0].resource(), accepted)
        }
        Decided::Repeat(outcome) => {
            let accepted = v1::Accepted {
                first_seq: outcome.first.0,
                last_seq: outcome.last.0,
                repeated_answer: true,
                ..v1::Accepted::default()
            };
            (outcome.resource, accepted)
        }
        Decided::Unchanged { resource, .. } => {
            let accepted = v1::Accepted {
                unchanged: true,
                ..v1::Accepted::default()
            };
            (*resource, accepted)
        }
    };
    accepted.host = "h1".to_owned();
    accepted.host_id = host().to_string();
    let mut vm = None;
    if let Resource::Vm(id) = resource {
        vm = Some(id);
        accepted.vm = id.to_string();
        accepted.revision = state.projection.vm(id).map_or(0, |vm| vm.revision().0);
    }
    for event in record.iter().flat_map(|record| &record.events) {
        if let Event::VmPlaced { placed, .. } = event {
            accepted.placement = placed.to_string();
        }
    }
    reply.result = Some(v1::command_reply::Result::Accepted(accepted));
    (reply, record, vm)
}
