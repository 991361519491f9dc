//! Many commands at once: several to a message, each with its own outcome, done once however often it is sent.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::Message;
use chv_domain::Submission;
use chv_proto::client::{Client, CommandError, Outcome, Waiting};
use chv_proto::subject::{self, Audience, COMMAND_BATCHES, COMMANDS};
use chv_proto::v1;
use futures::StreamExt as _;
use prost::Message as _;

use crate::broker::{Broker, PATIENCE};
use crate::leader::{Fake, cordon, refuse, status};

/// Long enough for some attempts, short enough to be waited for.
const SHORT: Duration = Duration::from_millis(1500);

fn batch(message: &Message) -> v1::CommandBatch {
    v1::CommandBatch::decode(message.payload.as_ref()).unwrap()
}

fn ids(message: &Message) -> Vec<String> {
    batch(message)
        .commands
        .into_iter()
        .map(|command| command.id)
        .collect()
}

fn to_sender(message: &Message, reply: &v1::CommandBatchReply) -> Vec<(String, Vec<u8>)> {
    vec![(message.reply.clone().unwrap().to_string(), reply.encode_to_vec())]
}

/// What is answered to each command of a message, by its place and id.
fn each(
    message: &Message,
    result: impl Fn(usize, &str) -> v1::command_reply::Result,
) -> Vec<(String, Vec<u8>)> {
    let reply = |(place, id): (usize, String)| v1::CommandReply {
        version: 1,
        result: Some(result(place, &id)),
        id,
    };
    let replies = ids(message).into_iter().enumerate().map(reply).collect();
    to_sender(
        message,
        &v1::CommandBatchReply {
            version: 1,
            replies,
            refused: None,
        },
    )
}

fn accepted(first_seq: u64) -> v1::command_reply::Result {
    v1::command_reply::Result::Accepted(v1::Accepted {
        first_seq,
        ..v1::Accepted::default()
    })
}

fn refusal(code: &str, retryable: bool) -> v1::Refused {
    v1::Refused {
        code: code.to_owned(),
        message: format!("{code}, says the fake"),
        field: String::new(),
        retryable,
        retry_after_ms: 20,
    }
}

fn refused(code: &str, retryable: bool) -> v1::command_reply::Result {
    v1::command_reply::Result::Refused(refusal(code, retryable))
}

/// The outcomes in the order of the commands; each command has one.
async fn outcomes(client: &Client, submissions: &[Submission], patience: Duration) -> Vec<Outcome> {
    let heard = |_: Waiting| {};
    let mut told: BTreeMap<usize, Outcome> = BTreeMap::new();
    let mut stream = std::pin::pin!(client.submit_all(submissions, patience, &heard));
    while let Some((place, outcome)) = stream.next().await {
        assert!(told.insert(place, outcome).is_none(), "two outcomes at {place}");
    }
    assert_eq!(told.len(), submissions.len());
    told.into_values().collect()
}

fn cordons(count: usize) -> Vec<Submission> {
    std::iter::repeat_with(|| cordon("alice")).take(count).collect()
}

#[tokio::test]
async fn given_many_commands_then_they_share_messages_and_each_has_its_own_outcome() {
    let broker = Broker::start().await;
    let (alice, scheduler) = (broker.client("alice").await, broker.client("scheduler").await);
    let submissions = cordons(35);
    let bad = submissions[20].id.to_string();
    let leader = Fake::start(&scheduler, COMMAND_BATCHES, move |_, message| {
        each(message, |_, id| {
            if id == bad {
                refused("exists", false)
            } else {
                accepted(7)
            }
        })
    })
    .await;

    let outcomes = outcomes(&alice, &submissions, PATIENCE).await;

    for (place, outcome) in outcomes.iter().enumerate() {
        match outcome {
            Ok(accepted) => assert!(accepted.first_seq == 7 && place != 20),
            Err(CommandError::Refused(refusal)) => assert!(refusal.code == "exists" && place == 20),
            Err(error) => panic!("{error}"),
        }
    }
    let mut sizes: Vec<usize> = leader.got().iter().map(|message| ids(message).len()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [3, 16, 16]);
}

#[tokio::test]
async fn given_a_lost_answer_then_the_same_message_is_sent_again() {
    let broker = Broker::start().await;
    let (alice, scheduler) = (broker.client("alice").await, broker.client("scheduler").await);
    let leader = Fake::start(&scheduler, COMMAND_BATCHES, |before, message| match before {
        0 => vec![],
        _ => each(message, |_, _| accepted(7)),
    })
    .await;
    let submissions = cordons(5);

    let outcomes = outcomes(&alice, &submissions, PATIENCE).await;

    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    let got = leader.got();
    assert_eq!(got.len(), 2);
    assert_eq!(batch(&got[0]), batch(&got[1]));
}

#[tokio::test]
async fn given_some_refused_for_now_then_only_those_are_sent_again_with_their_ids() {
    let broker = Broker::start().await;
    let (alice, scheduler) = (broker.client("alice").await, broker.client("scheduler").await);
    let leader = Fake::start(&scheduler, COMMAND_BATCHES, |before, message| {
        each(message, |place, _| match (before, place) {
            (0, 1 | 3) => refused("not_leader", true),
            (1, 0) => refused("busy", true),
            (before, _) => accepted(before as u64 + 1),
        })
    })
    .await;
    let submissions = cordons(5);
    let sent: Vec<String> = submissions
        .iter()
        .map(|submission| submission.id.to_string())
        .collect();

    let outcomes = outcomes(&alice, &submissions, PATIENCE).await;

    let firsts: Vec<u64> = outcomes
        .into_iter()
        .map(|outcome| outcome.unwrap().first_seq)
        .collect();
    assert_eq!(firsts, [1, 3, 1, 2, 1]);
    let got: Vec<Vec<String>> = leader.got().iter().map(ids).collect();
    assert_eq!(
        got,
        [
            sent.clone(),
            vec![sent[1].clone(), sent[3].clone()],
            vec![sent[1].clone()]
        ]
    );
}

#[tokio::test]
async fn given_one_that_can_t_be_read_then_the_others_are_done_and_it_alone_is_refused() {
    let broker = Broker::start().await;
    let (alice, scheduler) = (broker.client("alice").await, broker.client("scheduler").await);
    let submissions = cordons(3);
    let bad = submissions[1].id.to_string();
    let _whole = Fake::start(&scheduler, COMMAND_BATCHES, |_, message| {
        let refused = Some(refusal("invalid", false));
        to_sender(
            message,
            &v1::CommandBatchReply {
                version: 1,
                replies: vec![],
                refused,
            },
        )
    })
    .await;
    let alone = Fake::start(&scheduler, COMMANDS, move |_, message| {
        let id = v1::CommandEnvelope::decode(message.payload.as_ref()).unwrap().id;
        match id == bad {
            true => refuse(message, "invalid", false),
            false => crate::leader::accept(message, 7),
        }
    })
    .await;

    let outcomes = outcomes(&alice, &submissions, PATIENCE).await;

    assert!(outcomes[0].is_ok() && outcomes[2].is_ok(), "{outcomes:?}");
    assert!(matches!(&outcomes[1], Err(CommandError::Refused(refusal)) if refusal.code == "invalid"));
    assert_eq!(alone.got().len(), 3);
}

#[tokio::test]
async fn given_refusals_to_the_end_then_only_what_was_surely_not_done_is_said_to_be_refused() {
    let broker = Broker::start().await;
    let (alice, scheduler) = (broker.client("alice").await, broker.client("scheduler").await);
    let _leader = Fake::start(&scheduler, COMMAND_BATCHES, |before, message| match before {
        0 => each(message, |place, _| match place {
            0 => refused("busy", true),
            _ => refused("unavailable", true),
        }),
        // Which leaves no time to try again, so that nothing is under way when the time is over.
        _ => each(message, |_, _| {
            v1::command_reply::Result::Refused(v1::Refused {
                retry_after_ms: 4_000,
                ..refusal("busy", true)
            })
        }),
    })
    .await;
    let submissions = cordons(2);
    let outcomes = outcomes(&alice, &submissions, Duration::from_secs(4)).await;
    assert!(
        matches!(&outcomes[0], Err(CommandError::Refused(refusal)) if refusal.code == "busy"),
        "{outcomes:?}"
    );
    assert!(
        matches!(&outcomes[1], Err(CommandError::TimedOut { id, .. }) if *id == submissions[1].id),
        "{outcomes:?}"
    );
}

#[tokio::test]
async fn given_commands_in_doubt_that_are_sent_alone_to_nobody_then_they_stay_in_doubt() {
    let broker = Broker::start().await;
    let (alice, scheduler) = (broker.client("alice").await, broker.client("scheduler").await);
    // Given a message whose commands may have been done, and that can't be read when it is sent again,
    let leader = Fake::start(&scheduler, COMMAND_BATCHES, |before, message| match before {
        0 => each(message, |_, _| refused("unavailable", true)),
        _ => to_sender(
            message,
            &v1::CommandBatchReply {
                version: 1,
                replies: vec![],
                refused: Some(refusal("invalid", false)),
            },
        ),
    })
    .await;
    let submissions = cordons(2);

    // when nobody takes its commands one by one, for as long as the first is tried,
    let outcomes = outcomes(&alice, &submissions, SHORT).await;

    // then of neither is it said that it was not done.
    assert_eq!(leader.got().len(), 2);
    for (outcome, submission) in outcomes.iter().zip(&submissions) {
        assert!(
            matches!(outcome, Err(CommandError::TimedOut { id, .. }) if *id == submission.id),
            "{outcome:?}"
        );
    }
}

#[tokio::test]
async fn given_no_leader_or_no_answer_to_the_end_then_each_command_is_told_so() {
    let broker = Broker::start().await;
    let (alice, scheduler) = (broker.client("alice").await, broker.client("scheduler").await);
    let _replicas = Fake::start(&scheduler, subject::queries(Audience::Each), |_, message| {
        [status(message, 1), status(message, 3)].concat()
    })
    .await;
    for outcome in outcomes(&alice, &cordons(17), SHORT).await {
        let no_leader = matches!(
            outcome,
            Err(CommandError::NoLeader {
                replicas: Some(2),
                ..
            })
        );
        assert!(no_leader, "{outcome:?}");
    }
    let _leader = Fake::start(&scheduler, COMMAND_BATCHES, |_, _| vec![]).await;
    let submissions = cordons(3);
    for (outcome, submission) in outcomes(&alice, &submissions, SHORT)
        .await
        .iter()
        .zip(&submissions)
    {
        assert!(
            matches!(outcome, Err(CommandError::TimedOut { id, .. }) if *id == submission.id),
            "{outcome:?}"
        );
    }
}

#[tokio::test]
async fn given_an_answer_about_other_commands_then_it_is_not_taken() {
    let broker = Broker::start().await;
    let (alice, scheduler) = (broker.client("alice").await, broker.client("scheduler").await);
    let _leader = Fake::start(&scheduler, COMMAND_BATCHES, |before, message| {
        let mut other = batch(message);
        match before {
            0 => other.commands.swap(0, 1),
            _ => drop(other.commands.pop()),
        }
        let message = Message {
            payload: other.encode_to_vec().into(),
            ..message.clone()
        };
        each(&message, |_, _| accepted(7))
    })
    .await;
    for _ in 0..2 {
        for outcome in outcomes(&alice, &cordons(2), PATIENCE).await {
            assert!(matches!(outcome, Err(CommandError::Protocol(_))), "{outcome:?}");
        }
    }
}
