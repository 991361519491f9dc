//! Reads. Any replica answers from what it has applied; the leader, after it made sure that it leads;
//! each replica, about itself. A query changes nothing and is answered in a task of its own, of which
//! there is a bounded number.

mod cluster;
mod event;
mod host;
mod past;
mod record;
mod status;
mod vm;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use chv_domain::{ClusterId, HostId, LeaseDuration, Projection, ReplicaId, Replicas, Seq};
use chv_eventlog::EventLog;
use chv_proto::convert::{self, Asked};
use chv_proto::subject::{self, Audience};
use chv_proto::v1::{self, query_envelope::Query, query_reply};
use futures::stream;
use prost::Message as _;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::answer::TryAgain;
use crate::connection::{Connection, SubscribeError};
use crate::liveness::Liveness;
use crate::serve;

/// How long a query waits for the event that it asks to see.
const PATIENCE: Duration = Duration::from_secs(2);

/// How large a page may grow, in bytes, where the broker takes that much.
const PAGE_BYTES: usize = 384 << 10;

/// How many entries a page has at most.
pub(super) const PAGE_ENTRIES: usize = 1000;

/// What answering needs.
#[derive(Clone)]
pub(crate) struct Reader {
    pub(crate) connection: Connection,
    pub(crate) log: EventLog,
    pub(crate) liveness: Liveness,
    pub(crate) replica: ReplicaId,
    pub(crate) cluster: ClusterId,
    /// What this replica grants to hosts as leader.
    pub(crate) lease: LeaseDuration,
}

/// Answers the queries that any replica, or each one, is asked, until `stop`.
pub(crate) async fn answer_as_replica(reader: Reader, stop: CancellationToken) -> Result<(), SubscribeError> {
    let any = reader.connection.share(subject::queries(Audience::Any)).await?;
    let each = reader
        .connection
        .subscribe(subject::queries(Audience::Each))
        .await?;
    let messages = stream::select(any, each);
    serve::each(messages, stop, |message| answer(reader.clone(), message)).await;
    Ok(())
}

/// Answers the queries that ask for the leader, until `stop`.
pub(crate) async fn answer_as_leader(reader: Reader, stop: CancellationToken) -> Result<(), SubscribeError> {
    let queries = subject::queries(Audience::Leader);
    let messages = reader.connection.subscribe(queries).await?;
    serve::each(messages, stop, |message| answer(reader.clone(), message)).await;
    Ok(())
}

async fn answer(reader: Reader, message: async_nats::Message) {
    let Ok((user, audience, kind)) = subject::parse_query(&message.subject) else {
        debug!(subject = %message.subject, "a message on no query's subject");
        return;
    };
    let Some(inbox) = message
        .reply
        .filter(|inbox| subject::is_inbox_of(user.as_str(), inbox))
    else {
        debug!(%user, "a query without its sender's inbox to answer to");
        return;
    };
    let result = match convert::decode_query(&message.payload, &kind) {
        Ok(asked) => resolve(&reader, audience, asked).await,
        Err(error) => Err(convert::refused_decode(&error)),
    };
    let applied_seq = reader.log.projection().seq().0;
    let reply = |state_seq: Option<Seq>, result| v1::QueryReply {
        version: convert::VERSION,
        replica: reader.replica.get(),
        applied_seq,
        as_leader: audience == Audience::Leader && state_seq.is_some(),
        state_seq: state_seq.map_or(applied_seq, |seq| seq.0),
        result: Some(result),
    };
    let mut payload = match result {
        Ok((state_seq, result)) => reply(Some(state_seq), result).encode_to_vec(),
        Err(refusal) => reply(None, query_reply::Result::Refused(refusal)).encode_to_vec(),
    };
    let room = reader.connection.max_payload();
    if payload.len() > room {
        // A page always has one entry, and that one may be too much.
        let message = format!(
            "the answer has {} bytes, and the broker takes {room}",
            payload.len()
        );
        let refusal = convert::refused("too_large", message, "");
        payload = reply(None, query_reply::Result::Refused(refusal)).encode_to_vec();
    }
    reader.connection.publish(inbox, payload).await;
}

async fn resolve(
    reader: &Reader,
    audience: Audience,
    asked: Asked,
) -> Result<(Seq, query_reply::Result), v1::Refused> {
    if audience == Audience::Leader {
        reader
            .log
            .confirm_leadership()
            .await
            .map_err(|_| TryAgain::NotLeader.refused())?;
    }
    let mut state = reader.state_with(asked.min_seq).await?;
    if let Some(at) = asked.at {
        state = past::state(reader, at, &asked.query).await?;
    }
    let seq = state.seq();
    let then = asked.at.is_some();
    let result = match asked.query {
        Query::GetVm(query) => query_reply::Result::Vm(vm::get(&state, query)?),
        Query::ListVms(query) => query_reply::Result::Vms(vm::list(reader, &state, query)?),
        Query::ListHosts(query) => query_reply::Result::Hosts(host::list(reader, &state, query, then)?),
        Query::ListEvents(query) => query_reply::Result::Events(event::list(reader, &state, query).await?),
        Query::GetCluster(v1::GetCluster {}) => query_reply::Result::Cluster(cluster::get(reader, &state)),
        Query::GetStatus(query) => query_reply::Result::Status(status::get(reader, state, query).await),
        Query::ReadLog(query) => query_reply::Result::Records(record::read(reader, query).await?),
        Query::ReadBase(query) => query_reply::Result::Base(record::base(reader, query).await?),
    };
    Ok((seq, result))
}

impl Reader {
    /// How large a page may grow, in bytes: well under what the broker takes, since more is around it.
    pub(crate) fn page_bytes(&self) -> usize {
        PAGE_BYTES.min(self.connection.max_payload() / 2)
    }

    /// The hosts of `state` that count as alive now.
    pub(crate) fn alive(&self, state: &Projection) -> BTreeSet<HostId> {
        let now = Instant::now();
        if self.connection.is_up() {
            self.liveness.connected(self.connection.connects(), now);
        }
        self.liveness.alive(state, now)
    }

    /// Who leads, which is this replica where it is asked for, and who answers.
    pub(crate) fn replicas(&self) -> Replicas {
        Replicas {
            leader: self.replica,
            answering: self.log.answering(),
        }
    }

    /// The applied state, once it has the event `least`.
    pub(crate) async fn state_with(&self, least: Seq) -> Result<Projection, v1::Refused> {
        let mut applied = self.log.applied();
        // What `wait_for` returns is a lock; nothing else is locked while it is held.
        let reached = async { applied.wait_for(|seq| *seq >= least).await.map(drop) };
        match tokio::time::timeout(PATIENCE, reached).await {
            Ok(Ok(())) => Ok(self.log.projection()),
            Ok(Err(_)) | Err(_) => Err(TryAgain::Behind.refused()),
        }
    }
}

/// Cuts a page where it has enough entries or `room` bytes; says whether anything was left out.
pub(crate) fn page<T: prost::Message>(
    entries: impl Iterator<Item = T>,
    limit: u32,
    room: usize,
) -> (Vec<T>, bool) {
    let limit = match limit as usize {
        0 => PAGE_ENTRIES,
        limit => limit.min(PAGE_ENTRIES),
    };
    let (mut page, mut bytes) = (Vec::new(), 0);
    for entry in entries {
        bytes += entry.encoded_len();
        if page.len() == limit || (bytes > room && !page.is_empty()) {
            return (page, true);
        }
        page.push(entry);
    }
    (page, false)
}
