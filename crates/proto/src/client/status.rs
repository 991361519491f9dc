//! The state of every replica: one question, as many answers as there are replicas.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::{Message, StatusCode};
use futures::StreamExt as _;
use prost::Message as _;
use tokio::time::Instant;

use super::Client;
use super::ask::Verdict;
use super::error::{QueryError, Whom};
use super::news::Violation;
use super::query::judge;
use crate::convert::{Asked, encode_query};
use crate::subject::{self, Audience};
use crate::v1;
use crate::v1::query_envelope::Query;
use crate::v1::query_reply::Result as Answer;

impl Client {
    /// Asks every replica for its state, and returns those that answer within `wait`, by replica; at once
    /// when all that hold the log have. `digest` asks for the digest of the whole projection, too, which takes time.
    pub async fn status_of_each(
        &self,
        wait: Duration,
        digest: bool,
    ) -> Result<Vec<v1::ReplicaStatus>, QueryError> {
        let deadline = Instant::now() + wait;
        let query = Query::GetStatus(v1::GetStatus { digest });
        let subject = subject::query(&self.person()?, Audience::Each, &query);
        self.wait_until_up(deadline, wait).await?;
        let asked = Asked {
            query,
            min_seq: chv_domain::Seq::ZERO,
            at: None,
            trace: None,
        };
        let protocol = |problem: String| QueryError::Protocol {
            subject: subject.clone(),
            problem,
        };
        let mut violations = self.shared.news.violations();
        let inbox = self.nats().new_inbox();
        let subscribed = self.nats().subscribe(inbox.clone()).await;
        let mut answers = subscribed.map_err(|error| protocol(error.to_string()))?;
        let payload = encode_query(&asked).encode_to_vec().into();
        let published = self
            .nats()
            .publish_with_reply(subject.clone(), inbox, payload)
            .await;
        published.map_err(|error| protocol(error.to_string()))?;

        let mut states = BTreeMap::new();
        loop {
            let message = tokio::select! {
                message = answers.next() => message,
                violation = violations.next() => {
                    if violation == Violation::Publish(subject.clone()) {
                        return Err(QueryError::NotPermitted { user: self.user().to_owned(), subject });
                    }
                    continue;
                }
                () = tokio::time::sleep_until(deadline) => None,
            };
            let Some(message) = message else { break };
            if message.status == Some(StatusCode::NO_RESPONDERS) {
                break;
            }
            if let Some(state) = status(&message).map_err(protocol)? {
                states.insert(state.replica, state);
            }
            if all_answered(&states) {
                break;
            }
        }
        if states.is_empty() {
            return Err(QueryError::NobodyAnswers {
                whom: Whom::Replica,
                waited: wait,
            });
        }
        Ok(states.into_values().collect())
    }

    async fn wait_until_up(&self, deadline: Instant, wait: Duration) -> Result<(), QueryError> {
        let mut link = self.shared.news.link();
        let up = async {
            while !self.is_up() && !self.shared.news.shut_out() {
                link.next().await;
            }
        };
        let (url, user) = (self.url().to_owned(), self.user().to_owned());
        if tokio::time::timeout_at(deadline, up).await.is_err() {
            return Err(QueryError::Unreachable { url, waited: wait });
        }
        if self.shared.news.shut_out() {
            return Err(QueryError::ShutOut { url, user });
        }
        Ok(())
    }
}

/// The state in an answer; `None` when that replica has none to tell now.
fn status(message: &Message) -> Result<Option<v1::ReplicaStatus>, String> {
    match judge(message) {
        Verdict::Final(Ok(reply)) => match reply.result {
            Some(Answer::Status(state)) => Ok(Some(state)),
            _ => Err("it is not a replica's state".to_owned()),
        },
        Verdict::Final(Err(_)) | Verdict::Later { .. } => Ok(None),
        Verdict::Garbled(problem) => Err(problem),
    }
}

/// Whether each replica that holds the log has answered, as far as the one of the newest term knows.
fn all_answered(states: &BTreeMap<u64, v1::ReplicaStatus>) -> bool {
    let newest = states.values().max_by_key(|state| state.term);
    newest.is_some_and(|state| {
        let mut holders = state.replicas.iter().filter(|replica| holds_the_log(replica));
        !state.replicas.is_empty() && holders.all(|holder| states.contains_key(&holder.replica))
    })
}

/// Whether a replica is a voter or a learner, as the one that tells of it knows.
pub fn holds_the_log(replica: &v1::ClusterReplica) -> bool {
    replica.member != "none"
}
