//! Queries: reads that one replica answers.

use std::time::Duration;

use async_nats::{HeaderMap, Message};
use chv_domain::{Seq, UserName};
use prost::Message as _;

use super::ask::{Question, Unanswered, Verdict};
use super::error::{QueryError, Refusal, Whom};
use super::{Client, Waiting};
use crate::convert::{Asked, At, VERSION, encode_query};
use crate::subject::{self, Audience};
use crate::v1;
use crate::v1::query_envelope::Query;
use crate::v1::query_reply::Result as Answer;

impl Client {
    /// Asks one replica: any, or the leader. The answer's `result` is there, and is no refusal. Asked for
    /// [`Audience::Each`], the first to answer counts; [`Client::status_of_each`] gathers all.
    ///
    /// The answering state has `min_seq`, when that is given. Asked again until `patience` is over, as it
    /// changes nothing.
    pub async fn query(
        &self,
        audience: Audience,
        query: Query,
        min_seq: Option<Seq>,
        patience: Duration,
    ) -> Result<v1::QueryReply, QueryError> {
        self.query_at(audience, query, min_seq, None, patience).await
    }

    /// As [`Client::query`], answered as of `at`, when that is given. The state of the past is the same on every
    /// replica; the answer's `state_seq` is its last event.
    pub async fn query_at(
        &self,
        audience: Audience,
        query: Query,
        min_seq: Option<Seq>,
        at: Option<At>,
        patience: Duration,
    ) -> Result<v1::QueryReply, QueryError> {
        let subject = subject::query(&self.person()?, audience, &query);
        let asked = Asked {
            query,
            min_seq: min_seq.unwrap_or_default(),
            at,
            trace: None,
        };
        let question = Question {
            payload: encode_query(&asked).encode_to_vec().into(),
            subject: subject.clone(),
            headers: HeaderMap::new(),
            whom: match audience {
                Audience::Leader => Whom::Leader,
                Audience::Any | Audience::Each => Whom::Replica,
            },
            patience,
            // A replica that is behind waits for two seconds before it says so.
            answer_may_take: match min_seq {
                Some(_) => Duration::from_secs(2),
                None => Duration::ZERO,
            },
            again: true,
        };
        self.put(question, judge).await
    }

    /// Asks a question that changes nothing.
    pub(super) async fn put<T>(
        &self,
        question: Question,
        judge: impl FnMut(&Message) -> Verdict<Result<T, Refusal>> + Send,
    ) -> Result<T, QueryError> {
        let (subject, patience) = (question.subject.clone(), question.patience);
        match self.ask(question, judge, None).await {
            Ok(answer) => answer.map_err(QueryError::Refused),
            Err(unanswered) => Err(self.query_error(unanswered, subject, patience)),
        }
    }

    /// The user as the person whose queries these are. A user with another name has none.
    pub(super) fn person(&self) -> Result<UserName, QueryError> {
        self.user().parse().map_err(|_| QueryError::NotPermitted {
            user: self.user().to_owned(),
            subject: format!("chv.query.{}", self.user()),
        })
    }

    fn query_error(&self, unanswered: Unanswered, subject: String, waited: Duration) -> QueryError {
        let (user, url) = (self.user().to_owned(), self.url().to_owned());
        match unanswered {
            Unanswered::NotPermitted => QueryError::NotPermitted { user, subject },
            Unanswered::ShutOut => QueryError::ShutOut { url, user },
            Unanswered::TooLarge { size, max } => QueryError::TooLarge { size, max },
            Unanswered::Garbled(problem) => QueryError::Protocol { subject, problem },
            Unanswered::Late { waiting, .. } => match waiting {
                Waiting::NextTry(refusal) => QueryError::Refused(refusal),
                Waiting::Broker => QueryError::Unreachable { url, waited },
                Waiting::Listener(whom) => QueryError::NobodyAnswers { whom, waited },
                Waiting::Answer(_) => QueryError::TimedOut { subject, waited },
            },
        }
    }
}

/// What the answer to a query means.
pub(super) fn judge(message: &Message) -> Verdict<Result<v1::QueryReply, Refusal>> {
    let mut reply = match v1::QueryReply::decode(message.payload.as_ref()) {
        Ok(reply) => reply,
        Err(error) => return Verdict::Garbled(error.to_string()),
    };
    if reply.version != VERSION {
        return Verdict::Garbled(format!("it has version {}", reply.version));
    }
    match reply.result.take() {
        None => Verdict::Garbled("it says nothing".to_owned()),
        Some(Answer::Refused(refused)) => refused_or_later(refused),
        result => Verdict::Final(Ok(v1::QueryReply { result, ..reply })),
    }
}

/// What the refusal of something that changes nothing means.
pub(super) fn refused_or_later<T>(refused: v1::Refused) -> Verdict<Result<T, Refusal>> {
    let refusal = Refusal::from(refused);
    if refusal.retryable {
        return Verdict::Later {
            refusal,
            nothing_done: true,
        };
    }
    Verdict::Final(Err(refusal))
}
