//! A leader of a newer version, which writes a kind of event that this one does not know.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use chv_domain::{ClusterId, RecordHash, ReplicaId, Seq, Term, Timestamp, stored};
use openraft::CommittedLeaderId;
use serde::{Serialize, Serializer};
use tokio::net::{TcpListener, TcpStream};

use super::frame::{receive, send};
use super::message::{Append, Ask, Hello, PROTOCOL, Request};
use crate::raft::{LogId, Vote};
use crate::{ClusterSecret, Config, EventLog, PeerSecurity};

const PATIENCE: Duration = Duration::from_secs(10);
const SECRET: &str = "a secret of the tests";

/// A kind that comes after all that are known.
struct Tomorrows;

impl Serialize for Tomorrows {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_variant("Event", 200, "volume-created", &7u8)
    }
}

/// A record as a newer version writes it: as ours, but for the kind of its event.
#[derive(Serialize)]
struct Body {
    first: Seq,
    term: Term,
    time: Timestamp,
    actor: String,
    cause: chv_domain::Cause,
    trace: Option<()>,
    prev: RecordHash,
    events: Vec<Tomorrows>,
}

#[derive(Serialize)]
struct Batch {
    published: Seq,
    records: Vec<serde_bytes::ByteBuf>,
}

#[derive(Serialize)]
enum Payload {
    #[expect(dead_code, reason = "variants are told by their place")]
    Blank,
    Normal(Batch),
}

#[derive(Serialize)]
struct Entry {
    log_id: LogId,
    payload: Payload,
}

fn entry(index: u64) -> Bytes {
    let body = Body {
        first: Seq(1),
        term: Term(1),
        time: Timestamp(1),
        actor: "alice".to_owned(),
        cause: chv_domain::Cause {
            command: chv_domain::CommandId::from_bytes([1; 16]),
            verb: chv_domain::Verb::VmCreate,
            follows: None,
        },
        trace: None,
        prev: RecordHash::ZERO,
        events: vec![Tomorrows],
    };
    let batch = Batch {
        published: Seq::ZERO,
        records: vec![serde_bytes::ByteBuf::from(stored::encode(&body).unwrap())],
    };
    let entry = Entry {
        log_id: LogId::new(CommittedLeaderId::new(1, 2), index),
        payload: Payload::Normal(batch),
    };
    stored::encode(&entry).unwrap().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_kind_of_event_stops_the_replica_and_nothing_of_it_is_kept() {
    // given a replica of this version
    let temp = tempfile::tempdir().unwrap();
    let (one, two) = (ReplicaId::new(1).unwrap(), ReplicaId::new(2).unwrap());
    let cluster = ClusterId::from_bytes([9; 16]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // Nobody listens there: the other replica only calls.
    let peers = BTreeMap::from([(one, address), (two, "127.0.0.1:1".parse().unwrap())]);
    EventLog::init(temp.path(), cluster, one).unwrap();
    let secret = PeerSecurity::LoopbackSecret(ClusterSecret::new(SECRET).unwrap());
    let log = EventLog::open(Config::new(temp.path().to_owned(), listener, peers, secret))
        .await
        .unwrap();
    // when a leader of a newer one appends what only that knows
    let mut stream = TcpStream::connect(address).await.unwrap();
    let hello = Hello {
        protocol: PROTOCOL,
        cluster: cluster.to_bytes().to_vec().into(),
        from: 2,
        to: 1,
        secret: SECRET.as_bytes().to_vec().into(),
        format: 9,
        directory: Bytes::new(),
        expects: Bytes::new(),
        needs: 0,
        refused: String::new(),
    };
    send(&mut stream, &hello).await.unwrap();
    let answer: Hello = receive(&mut stream).await.unwrap();
    assert_eq!((answer.refused.as_str(), answer.format), ("", chv_domain::FORMAT));
    let append = Append::of_stored(Vote::new_committed(1, 2), vec![entry(0)]);
    let request = Request {
        ask: Some(Ask::Append(append)),
    };
    send(&mut stream, &request).await.unwrap();
    // then it stops, says which format it takes, and has stored and applied nothing of it
    let outdated = tokio::time::timeout(PATIENCE, log.outdated())
        .await
        .expect("it goes on");
    assert_eq!((outdated.from, outdated.theirs), (two, 9));
    assert!(outdated.to_string().contains("format 9"), "{outdated}");
    assert_eq!(
        (log.projection().seq(), log.status().last_log_index),
        (Seq::ZERO, 0)
    );
    log.shutdown().await;
}
