//! Reports over a transport that loses, refuses and delays.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};

use chv_domain::{CommandId, ExitReason, Run};

use super::*;
use async_trait::async_trait;

/// Answers as the test says, then accepts; remembers what was sent.
#[derive(Default)]
struct Fake {
    answers: Mutex<VecDeque<Answer>>,
    sent: Mutex<Vec<(CommandId, Command)>>,
    ids: AtomicU8,
}

#[async_trait]
impl Leader for Fake {
    async fn send(&self, submission: &Submission) -> Answer {
        self.sent
            .lock()
            .unwrap()
            .push((submission.id, submission.command.clone()));
        self.answers
            .lock()
            .unwrap()
            .pop_front()
            .unwrap_or(Answer::Accepted)
    }

    fn new_id(&self) -> CommandId {
        CommandId::from_bytes([self.ids.fetch_add(1, Ordering::Relaxed); 16])
    }
}

fn report(observation: Observation) -> Report {
    Report {
        vm: VmId::from_bytes([1; 16]),
        epoch: Epoch(Seq(5)),
        observation,
        follows: Some(Seq(7)),
        trace: None,
    }
}

fn reporter(answers: impl IntoIterator<Item = Answer>) -> (Arc<Fake>, Reporter) {
    let fake = Arc::new(Fake {
        answers: Mutex::new(answers.into_iter().collect()),
        ..Fake::default()
    });
    let host = "h1".parse().unwrap();
    (
        fake.clone(),
        Reporter::new(host, fake, TaskTracker::new(), CancellationToken::new()),
    )
}

#[tokio::test(start_paused = true)]
async fn given_no_answer_when_sent_again_then_it_has_the_same_id_and_the_order_is_kept() {
    let lost = || Answer::Unanswered("nobody there".to_owned());
    let (fake, reporter) = reporter([lost(), lost()]);
    let outbox = reporter.outbox();
    outbox.put(report(Observation::Ready));
    outbox.put(report(Observation::Exited(
        ExitReason::Vanished,
        String::new(),
        Run::default(),
    )));
    outbox.drained().await;

    let sent = fake.sent.lock().unwrap();
    let ids: Vec<u8> = sent.iter().map(|(id, _)| id.to_bytes()[0]).collect();
    assert_eq!(ids, [0, 0, 0, 1]);
    assert!(matches!(
        sent[2].1,
        Command::ReportVm {
            observation: Observation::Ready,
            ..
        }
    ));
    assert!(matches!(
        sent[3].1,
        Command::ReportVm {
            observation: Observation::Exited(..),
            ..
        }
    ));
}

#[tokio::test(start_paused = true)]
async fn given_a_refusal_then_the_report_is_let_go_and_the_next_is_sent() {
    let refused = Answer::Refused {
        code: "stale_epoch".to_owned(),
        message: "too late".to_owned(),
    };
    let (fake, reporter) = reporter([refused]);
    let outbox = reporter.outbox();
    outbox.put(report(Observation::Ready));
    outbox.put(report(Observation::Unblocked));
    outbox.drained().await;
    assert_eq!(fake.sent.lock().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn given_a_report_that_became_too_old_then_it_is_sent_with_a_new_id() {
    let (fake, reporter) = reporter([Answer::Outdated("an hour".to_owned())]);
    let outbox = reporter.outbox();
    outbox.put(report(Observation::Ready));
    outbox.drained().await;
    let ids: Vec<u8> = fake
        .sent
        .lock()
        .unwrap()
        .iter()
        .map(|(id, _)| id.to_bytes()[0])
        .collect();
    assert_eq!(ids, [0, 1]);
}

#[tokio::test]
async fn given_nobody_who_answers_then_the_newest_reports_are_kept_and_the_stop_ends_the_task() {
    let lost = std::iter::repeat_n(Answer::Unanswered("nobody there".to_owned()), 1000);
    let (fake, reporter) = reporter(lost);
    let outbox = reporter.outbox();
    outbox.put(report(Observation::Ready));
    while fake.sent.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    for number in 0..100 {
        outbox.put(report(Observation::Blocked(number.to_string())));
    }
    let newest = outbox_contents(&outbox);
    assert_eq!(newest.len(), 32);
    assert_eq!(newest.last(), Some(&Observation::Blocked("99".to_owned())));

    reporter.stop.cancel();
    reporter.tasks.close();
    reporter.tasks.wait().await;
}

fn outbox_contents(outbox: &Outbox) -> Vec<Observation> {
    outbox
        .waiting()
        .iter()
        .map(|report| report.observation.clone())
        .collect()
}
