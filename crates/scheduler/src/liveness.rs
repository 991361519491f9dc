//! Which hosts are heard of. Every replica listens to heartbeats, so that a new leader knows at once; none
//! of it enters the log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chv_domain::{Host, HostId, HostName, Projection};
use chv_proto::convert::VERSION;
use chv_proto::{subject, v1};
use futures::StreamExt;
use prost::Message as _;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::connection::SubscribeError;
use crate::query::Reader;

/// How long after its last heartbeat a host counts as alive. Hosts send one a second.
pub(crate) const ALIVE_FOR: Duration = Duration::from_secs(5);

/// When each host was last heard of, and since when this replica listens.
#[derive(Clone, Default)]
pub struct Liveness {
    heard: Arc<Mutex<Heard>>,
}

#[derive(Default)]
struct Heard {
    /// By name, which the broker ties to one user: a host can only ever change its own entry.
    last: BTreeMap<HostName, (HostId, Instant)>,
    listening: Option<(u64, Instant)>,
}

impl Liveness {
    fn lock(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a heartbeat.
    pub fn heard(&self, name: HostName, host: HostId, now: Instant) {
        self.lock().last.insert(name, (host, now));
    }

    /// Takes note of how often the broker's connection was made. After a new one, silence means nothing
    /// yet: a host that could not reach the broker either is not to be taken for dead.
    pub fn connected(&self, connects: u64, now: Instant) {
        let mut heard = self.lock();
        if heard.listening.is_none_or(|(known, _)| known != connects) {
            heard.listening = Some((connects, now));
        }
    }

    /// The hosts of `state` that count as alive.
    pub fn alive(&self, state: &Projection, now: Instant) -> BTreeSet<HostId> {
        let heard = self.lock();
        let fresh = |since: Instant| now.saturating_duration_since(since) < ALIVE_FOR;
        let just_listening = heard.listening.is_none_or(|(_, since)| fresh(since));
        let alive = |host: &Host| just_listening || heard.of(host).is_some_and(fresh);
        state
            .hosts_by_name()
            .filter(|host| alive(host))
            .map(|host| host.id)
            .collect()
    }

    /// How long ago a host was last heard of.
    pub fn last_heard(&self, host: &Host, now: Instant) -> Option<Duration> {
        self.lock()
            .of(host)
            .map(|last| now.saturating_duration_since(last))
    }
}

impl Heard {
    fn of(&self, host: &Host) -> Option<Instant> {
        self.last
            .get(&host.name)
            .filter(|(id, _)| *id == host.id)
            .map(|(_, last)| *last)
    }
}

/// Listens to heartbeats until `stop`. A leader answers them (`lead/renewal`).
pub(crate) async fn listen(reader: Reader, stop: CancellationToken) -> Result<(), SubscribeError> {
    let Reader {
        connection,
        log,
        liveness,
        ..
    } = reader;
    let mut heartbeats = connection.subscribe(subject::HOST_HEARTBEATS).await?;
    liveness.connected(connection.connects(), Instant::now());
    loop {
        let message = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            message = heartbeats.next() => match message {
                Some(message) => message,
                None => return Ok(()),
            },
        };
        let Some((name, beat)) = decode(&message) else {
            continue;
        };
        let Ok(id) = beat.host.parse::<HostId>() else {
            debug!(host = %name, "a heartbeat with an unreadable host id");
            continue;
        };
        let state = log.projection();
        // A host speaks for itself only: the subject's name must be the id's.
        let known = state.host(id);
        if known.is_some_and(|host| host.name != name) {
            continue;
        }
        liveness.heard(name, id, Instant::now());
    }
}

/// The host that a message on its heartbeat's subject names, and what it says.
pub(crate) fn decode(message: &async_nats::Message) -> Option<(HostName, v1::Heartbeat)> {
    let (name, _) = subject::parse_host(&message.subject).ok()?;
    let beat = v1::Heartbeat::decode(message.payload.as_ref()).ok()?;
    (beat.version == VERSION).then_some((name, beat))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chv_domain::{
        Batch, Capacity, Command, CommandId, Context, Decided, HostFacts, ReplicaId, Replicas, Submission,
        Term, Timestamp, decide,
    };

    fn state_with_one_host() -> (Projection, HostId) {
        let mut state = Projection::default();
        let host = HostId::from_bytes([7; 16]);
        let facts = HostFacts {
            capacity: Capacity {
                vcpus: 1,
                memory_mib: 1,
            },
            hypervisors: vec![],
            daemon: String::new(),
            missing: Vec::new(),
        };
        let submission = Submission::new(
            CommandId::from_bytes([0; 16]),
            "host/h1".parse().unwrap(),
            Command::RegisterHost { host, facts },
        );
        let context = Context {
            now: Timestamp(1),
            term: Term(1),
            alive: &BTreeSet::new(),
            replicas: &Replicas::alone(ReplicaId::new(1).unwrap()),
        };
        let Ok(Decided::Record(record)) = decide(&state, &submission, context) else {
            panic!("not decided")
        };
        state.apply_batch(
            Term(1),
            &Batch {
                published: state.seq(),
                records: vec![record],
            },
        );
        (state, host)
    }

    #[test]
    fn a_silent_host_is_alive_only_while_the_replica_has_just_begun_to_listen() {
        let (state, host) = state_with_one_host();
        let liveness = Liveness::default();
        let start = Instant::now();
        liveness.connected(1, start);
        assert!(liveness.alive(&state, start).contains(&host));
        assert!(liveness.alive(&state, start + ALIVE_FOR).is_empty());
        liveness.connected(1, start + ALIVE_FOR);
        assert!(
            liveness.alive(&state, start + ALIVE_FOR).is_empty(),
            "the same connection gives no new grace"
        );
        liveness.connected(2, start + ALIVE_FOR);
        assert!(liveness.alive(&state, start + ALIVE_FOR).contains(&host));
    }

    #[test]
    fn a_heartbeat_keeps_a_host_alive_for_its_time_and_no_longer() {
        let (state, host) = state_with_one_host();
        let liveness = Liveness::default();
        let start = Instant::now();
        liveness.connected(1, start);
        let beat = start + 2 * ALIVE_FOR;
        liveness.heard("h1".parse().unwrap(), host, beat);
        assert!(liveness.alive(&state, beat).contains(&host));
        assert!(liveness.alive(&state, beat + ALIVE_FOR).is_empty());
    }
}
