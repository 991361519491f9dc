//! Commands: sent again with the same id, done once, and every way not to get an answer told apart.

use std::time::{Duration, Instant};

use chv_domain::{Command, Submission, TraceContext, VmName};
use chv_proto::client::{CommandError, Waiting, Whom};
use chv_proto::convert::decode_envelope;
use chv_proto::subject::{self, Audience, COMMANDS, HOST_REGISTRATIONS, MAX_COMMAND_BYTES};

use crate::broker::{Broker, PATIENCE, eventually};
use crate::leader::{Fake, accept, accept_another, cordon, refuse, refuse_for, status};

/// Long enough for some attempts, short enough to be waited for.
const SHORT: Duration = Duration::from_millis(1500);

#[tokio::test]
async fn given_a_leader_then_it_gets_the_command_as_it_was_and_its_answer_comes_back() {
    let broker = Broker::start().await;
    let (alice, scheduler) = (broker.client("alice").await, broker.client("scheduler").await);
    let leader = Fake::start(&scheduler, COMMANDS, |_, message| accept(message, 7)).await;
    let trace: TraceContext = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
        .parse()
        .unwrap();
    let submission = Submission {
        trace: Some(trace),
        ..cordon("alice")
    };

    let accepted = alice.submit(&submission, PATIENCE, None).await.unwrap();

    assert_eq!(accepted.first_seq, 7);
    let [message] = &leader.got()[..] else {
        panic!("sent once")
    };
    let (user, verb) = subject::parse_command(&message.subject).unwrap();
    assert!(subject::is_inbox_of(
        user.as_str(),
        message.reply.as_ref().unwrap()
    ));
    let header = message
        .headers
        .as_ref()
        .and_then(|headers| headers.get("traceparent"));
    assert_eq!(header.map(|value| value.to_string()), Some(trace.to_string()));
    let actor = submission.actor.clone();
    assert_eq!(
        decode_envelope(&message.payload, actor, &verb, None),
        Ok(submission)
    );
}

#[tokio::test]
async fn given_a_host_then_it_registers_on_its_own_subject() {
    let broker = Broker::start().await;
    let (host, scheduler) = (broker.client("host-h1").await, broker.client("scheduler").await);
    let _leader = Fake::start(&scheduler, HOST_REGISTRATIONS, |_, message| accept(message, 1)).await;
    let registration = Submission {
        command: Command::RegisterHost {
            host: chv_domain::HostId::from_bytes([1; 16]),
            facts: chv_domain::HostFacts {
                capacity: chv_domain::Capacity::default(),
                hypervisors: vec![],
                daemon: String::new(),
                missing: Vec::new(),
            },
        },
        ..cordon("host/h1")
    };
    host.submit(&registration, PATIENCE, None).await.unwrap();
}

#[tokio::test]
async fn given_a_lost_answer_then_the_same_is_sent_again_with_the_same_id() {
    let broker = Broker::start().await;
    let (alice, scheduler) = (broker.client("alice").await, broker.client("scheduler").await);
    let leader = Fake::start(&scheduler, COMMANDS, |before, message| match before {
        0 => vec![],
        _ => accept(message, 7),
    })
    .await;
    let submission = cordon("alice");

    let accepted = alice.submit(&submission, PATIENCE, None).await.unwrap();

    assert_eq!(accepted.first_seq, 7);
    let got = leader.envelopes();
    assert_eq!(got.len(), 2);
    assert_eq!(got[0], got[1]);
    assert_eq!(got[0].id, submission.id.to_string());
}

#[tokio::test]
async fn given_a_late_answer_to_the_first_attempt_then_it_counts() {
    let broker = Broker::start().await;
    let (alice, scheduler) = (broker.client("alice").await, broker.client("scheduler").await);
    let mut first = None;
    let _leader = Fake::start(&scheduler, COMMANDS, move |_, message| match first.take() {
        None => {
            first = Some(message.clone());
            vec![]
        }
        Some(first) => accept(&first, 7),
    })
    .await;
    let accepted = alice.submit(&cordon("alice"), PATIENCE, None).await.unwrap();
    assert_eq!(accepted.first_seq, 7);
}

#[tokio::test]
async fn given_no_leader_at_first_then_it_waits_and_says_so_until_one_appears() {
    let broker = Broker::start().await;
    let (alice, scheduler) = (broker.client("alice").await, broker.client("scheduler").await);
    let (heard, mut hearing) = tokio::sync::mpsc::unbounded_channel();
    let submitting = tokio::spawn(async move {
        let mut hear = |waiting| heard.send(waiting).unwrap();
        alice.submit(&cordon("alice"), PATIENCE, Some(&mut hear)).await
    });
    // When it has been told that nobody listens, then a leader appears.
    while hearing.recv().await.unwrap() != Waiting::Listener(Whom::Leader) {}
    let leader = Fake::start(&scheduler, COMMANDS, |_, message| accept(message, 7)).await;

    assert_eq!(submitting.await.unwrap().unwrap().first_seq, 7);
    assert_eq!(leader.got().len(), 1);
}

#[tokio::test]
async fn given_no_leader_to_the_end_then_it_says_how_many_replicas_there_are() {
    let broker = Broker::start().await;
    let (alice, scheduler) = (broker.client("alice").await, broker.client("scheduler").await);
    let error = alice.submit(&cordon("alice"), SHORT, None).await.unwrap_err();
    assert_eq!(
        error,
        CommandError::NoLeader {
            waited: SHORT,
            replicas: Some(0)
        }
    );
    let _replicas = Fake::start(&scheduler, subject::queries(Audience::Each), |_, message| {
        [status(message, 1), status(message, 3)].concat()
    })
    .await;
    let error = alice.submit(&cordon("alice"), SHORT, None).await.unwrap_err();
    assert_eq!(
        error,
        CommandError::NoLeader {
            waited: SHORT,
            replicas: Some(2)
        }
    );
}

#[tokio::test]
async fn given_no_leader_to_the_end_then_no_attempt_is_under_way_when_the_time_is_over() {
    let broker = Broker::start().await;
    let alice = broker.client("alice").await;
    // Given as many attempts as would often be caught by the end of their time,
    let submitting = (0..64).map(|nth| {
        let (alice, patience) = (alice.clone(), SHORT + Duration::from_millis(nth));
        async move { alice.submit(&cordon("alice"), patience, None).await }
    });
    // then all of them are known not to be done.
    for outcome in futures::future::join_all(submitting).await {
        let error = outcome.unwrap_err();
        assert!(matches!(error, CommandError::NoLeader { .. }), "{error}");
    }
}

#[tokio::test]
async fn given_another_users_name_then_the_brokers_refusal_comes_back_at_once() {
    let broker = Broker::start().await;
    let (bob, scheduler) = (broker.client("bob").await, broker.client("scheduler").await);
    let leader = Fake::start(&scheduler, COMMANDS, |_, message| accept(message, 7)).await;
    let forged = cordon("alice");
    let began = Instant::now();
    let error = bob.submit(&forged, 3 * PATIENCE, None).await.unwrap_err();
    assert_eq!(
        error,
        CommandError::NotPermitted {
            user: "bob".to_owned(),
            subject: "chv.cmd.alice.host.cordon".to_owned()
        }
    );
    assert!(began.elapsed() < PATIENCE, "it waited for an answer");
    assert!(leader.got().is_empty());
    // And bob's own commands go on.
    bob.submit(&cordon("bob"), PATIENCE, None).await.unwrap();
}

#[tokio::test]
async fn given_the_broker_lost_and_back_in_mid_command_then_the_retry_has_the_same_id() {
    let mut broker = Broker::start().await;
    let (alice, scheduler) = (broker.client("alice").await, broker.client("scheduler").await);
    let leader = Fake::start(&scheduler, COMMANDS, |before, message| match before {
        0 => vec![],
        _ => accept(message, 7),
    })
    .await;
    let submission = cordon("alice");
    let id = submission.id.to_string();
    let (heard, mut hearing) = tokio::sync::mpsc::unbounded_channel();
    let submitting = tokio::spawn(async move {
        let mut hear = |waiting| heard.send(waiting).unwrap();
        alice.submit(&submission, PATIENCE, Some(&mut hear)).await
    });

    // When the broker goes away while the leader has the command, and comes back,
    leader.has_got(1).await;
    broker.stop();
    while hearing.recv().await.unwrap() != Waiting::Broker {}
    broker.start_again();

    // then the same command is there again, and is answered.
    assert_eq!(submitting.await.unwrap().unwrap().first_seq, 7);
    let got = leader.envelopes();
    assert!(
        got.len() >= 2 && got.iter().all(|envelope| envelope.id == id),
        "{got:?}"
    );
}

#[tokio::test]
async fn given_the_broker_gone_before_then_it_is_unreachable_and_gone_in_between_then_in_doubt() {
    let mut broker = Broker::start().await;
    let (alice, scheduler) = (broker.client("alice").await, broker.client("scheduler").await);
    let leader = Fake::start(&scheduler, COMMANDS, |_, _| vec![]).await;
    let submission = cordon("alice");
    let submitting = {
        let (alice, submission) = (alice.clone(), submission.clone());
        tokio::spawn(async move { alice.submit(&submission, SHORT, None).await })
    };
    leader.has_got(1).await;
    broker.stop();
    let error = submitting.await.unwrap().unwrap_err();
    assert!(
        matches!(error, CommandError::TimedOut { id, .. } if id == submission.id),
        "{error}"
    );

    eventually("the loss", || async { (!alice.is_up()).then_some(()) }).await;
    let error = alice.submit(&cordon("alice"), SHORT, None).await.unwrap_err();
    assert!(matches!(error, CommandError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn given_a_user_who_is_shut_out_meanwhile_then_it_says_so() {
    let mut broker = Broker::start().await;
    let bob = broker.client("bob").await;
    broker.stop();
    broker.start_again_for(&["scheduler", "person:alice"]);
    let error = bob.submit(&cordon("bob"), PATIENCE, None).await.unwrap_err();
    assert!(matches!(error, CommandError::ShutOut { .. }), "{error}");
}

#[tokio::test]
async fn given_no_answer_at_all_then_the_outcome_is_unknown_and_the_id_is_told() {
    let broker = Broker::start().await;
    let (alice, scheduler) = (broker.client("alice").await, broker.client("scheduler").await);
    let _leader = Fake::start(&scheduler, COMMANDS, |_, _| vec![]).await;
    let submission = cordon("alice");
    let error = alice.submit(&submission, SHORT, None).await.unwrap_err();
    assert_eq!(
        error,
        CommandError::TimedOut {
            id: submission.id,
            waited: SHORT,
            waiting: Waiting::Answer(Whom::Leader)
        }
    );
    assert!(error.to_string().contains(&submission.id.to_string()), "{error}");
}

#[tokio::test]
async fn given_a_leader_that_goes_away_with_the_command_then_the_outcome_is_unknown() {
    let broker = Broker::start().await;
    let (alice, scheduler) = (broker.client("alice").await, broker.client("scheduler").await);
    let leader = Fake::start(&scheduler, COMMANDS, |_, _| vec![]).await;
    let submission = cordon("alice");
    let submitting = tokio::spawn(async move { alice.submit(&submission, 2 * SHORT, None).await });
    leader.has_got(1).await;
    drop(leader);
    let error = submitting.await.unwrap().unwrap_err();
    assert!(
        matches!(
            &error,
            CommandError::TimedOut {
                waiting: Waiting::Listener(Whom::Leader),
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn given_a_refusal_then_it_comes_back_with_its_code_and_field() {
    let broker = Broker::start().await;
    let (alice, scheduler) = (broker.client("alice").await, broker.client("scheduler").await);
    let leader = Fake::start(&scheduler, COMMANDS, |_, message| {
        refuse(message, "invalid", false)
    })
    .await;
    let error = alice.submit(&cordon("alice"), PATIENCE, None).await.unwrap_err();
    let CommandError::Refused(refusal) = error else {
        panic!("{error}")
    };
    assert_eq!(refusal.code, "invalid");
    assert_eq!(refusal.field.as_deref(), Some("create_vm.spec.cpu"));
    assert_eq!(leader.got().len(), 1);
}

#[tokio::test]
async fn given_a_busy_leader_then_it_is_asked_again_until_it_has_room() {
    let broker = Broker::start().await;
    let (alice, scheduler) = (broker.client("alice").await, broker.client("scheduler").await);
    let leader = Fake::start(&scheduler, COMMANDS, |before, message| match before {
        0 => refuse(message, "busy", true),
        1 => refuse(message, "not_leader", true),
        _ => accept(message, 7),
    })
    .await;
    let accepted = alice.submit(&cordon("alice"), PATIENCE, None).await.unwrap();
    assert_eq!(accepted.first_seq, 7);
    let got = leader.envelopes();
    assert!(got.len() == 3 && got.iter().all(|envelope| *envelope == got[0]));
}

#[tokio::test]
async fn given_refusals_to_the_end_then_only_one_that_did_nothing_for_sure_is_the_answer() {
    let broker = Broker::start().await;
    let (alice, scheduler) = (broker.client("alice").await, broker.client("scheduler").await);
    {
        // The last refusal leaves no time to try again, so that none is under way when the time is over.
        let leader = Fake::start(&scheduler, COMMANDS, |before, message| match before {
            0 | 1 => refuse(message, "busy", true),
            _ => refuse_for(message, "busy", true, 4_000),
        })
        .await;
        let began = Instant::now();
        let patience = Duration::from_secs(4);
        let error = alice.submit(&cordon("alice"), patience, None).await.unwrap_err();
        assert!(
            matches!(&error, CommandError::Refused(refusal) if refusal.code == "busy"),
            "{error}"
        );
        assert_eq!(leader.got().len(), 3);
        assert!(began.elapsed() < patience, "there was nothing left to wait for");
    }
    let _leader = Fake::start(&scheduler, COMMANDS, |_, message| {
        refuse(message, "unavailable", true)
    })
    .await;
    let error = alice.submit(&cordon("alice"), SHORT, None).await.unwrap_err();
    assert!(matches!(error, CommandError::TimedOut { .. }), "{error}");
}

#[tokio::test]
async fn given_an_answer_that_is_none_or_about_another_command_then_it_is_not_taken() {
    let broker = Broker::start().await;
    let (alice, scheduler) = (broker.client("alice").await, broker.client("scheduler").await);
    let _leader = Fake::start(&scheduler, COMMANDS, |before, message| match before {
        0 => accept_another(message),
        _ => vec![(message.reply.clone().unwrap().to_string(), vec![0xff; 9])],
    })
    .await;
    for _ in 0..2 {
        let error = alice.submit(&cordon("alice"), PATIENCE, None).await.unwrap_err();
        assert!(matches!(error, CommandError::Protocol(_)), "{error}");
    }
}

fn create_with_label_of(size: usize) -> Submission {
    let spec = "{\"cpu\":1,\"memory\":\"1MiB\",\"boot\":{\"kernel\":\"k\"}}";
    Submission {
        command: Command::CreateVm {
            project: Default::default(),
            name: "web".parse::<VmName>().unwrap(),
            labels: [("big".to_owned(), "x".repeat(size))].into(),
            annotations: Default::default(),
            protected: false,
            spec: serde_json::from_str(spec).unwrap(),
            start: false,
        },
        ..cordon("alice")
    }
}

#[tokio::test]
async fn given_too_large_a_command_then_it_is_not_sent() {
    let broker = Broker::start().await;
    let (alice, scheduler) = (broker.client("alice").await, broker.client("scheduler").await);
    let leader = Fake::start(&scheduler, COMMANDS, |_, message| accept(message, 7)).await;
    let large = create_with_label_of(MAX_COMMAND_BYTES);
    let error = alice.submit(&large, PATIENCE, None).await.unwrap_err();
    assert!(
        matches!(error, CommandError::TooLarge { size, max } if size > max && max == MAX_COMMAND_BYTES),
        "{error}"
    );
    // And one that just fits is.
    alice
        .submit(&create_with_label_of(MAX_COMMAND_BYTES - 1000), PATIENCE, None)
        .await
        .unwrap();
    assert_eq!(leader.got().len(), 1);
}

#[tokio::test]
async fn given_a_broker_that_takes_less_then_its_limit_counts() {
    let broker = Broker::start_with(|text| text.replace("max_payload: 1MB", "max_payload: 8KB")).await;
    let alice = broker.client("alice").await;
    let error = alice
        .submit(&create_with_label_of(9000), PATIENCE, None)
        .await
        .unwrap_err();
    assert!(
        matches!(error, CommandError::TooLarge { size, max: 8192 } if size > 9000),
        "{error}"
    );
}
