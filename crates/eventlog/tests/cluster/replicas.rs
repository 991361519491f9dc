//! Replicas in directories of their own, on ports of their own, and the records that the tests append.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chv_domain::*;
use chv_eventlog::{
    AppendError, ClusterSecret, Config, EventLog, Leadership, OpenError, PeerSecurity, Timing, TlsFiles,
};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::authority::{Authority, BOTH, Valid};
use crate::testing::{address, record};

const PATIENCE: Duration = Duration::from_secs(20);

pub const CLUSTER: ClusterId = ClusterId::from_bytes([9; 16]);

pub const SECRET: &str = "a secret of the tests";

pub struct Replicas {
    temp: TempDir,
    /// Signs for them when they have certificates.
    authority: Option<Authority>,
    peers: BTreeMap<ReplicaId, SocketAddr>,
    running: BTreeMap<u64, EventLog>,
    /// The format that each one's program reads; without a word, this one's.
    reads: BTreeMap<u64, u32>,
}

impl Replicas {
    pub async fn start(count: u64) -> Self {
        Self::start_known_by(None, count, BTreeMap::new()).await
    }

    /// Replicas whose programs read records up to these formats.
    pub async fn start_reading(formats: &[u32]) -> Self {
        let reads: BTreeMap<_, _> = (1..).zip(formats.iter().copied()).collect();
        Self::start_known_by(None, formats.len() as u64, reads).await
    }

    /// From its next start on, this one's program reads records up to `format`.
    pub fn reads(&mut self, number: u64, format: u32) {
        self.reads.insert(number, format);
    }

    pub async fn start_with_certificates(count: u64) -> Self {
        Self::start_known_by(Some(Authority::new()), count, BTreeMap::new()).await
    }

    async fn start_known_by(authority: Option<Authority>, count: u64, reads: BTreeMap<u64, u32>) -> Self {
        let temp = TempDir::new().unwrap();
        let peers = (1..=count).map(|number| (ReplicaId::new(number).unwrap(), address()));
        let peers: BTreeMap<_, _> = peers.collect();
        let mut replicas = Self {
            temp,
            authority,
            peers,
            running: BTreeMap::new(),
            reads,
        };
        for number in 1..=count {
            replicas.make_anew(number).await;
        }
        replicas
    }

    pub fn address(&self, number: u64) -> SocketAddr {
        self.peers[&ReplicaId::new(number).unwrap()]
    }

    pub fn dir(&self, number: u64) -> PathBuf {
        self.temp.path().join(number.to_string())
    }

    fn config(&self, number: u64, listener: TcpListener) -> Config {
        let config = Config::new(
            self.dir(number),
            listener,
            self.peers.clone(),
            self.security(number),
        );
        let timing = Timing {
            heartbeat: Duration::from_millis(100),
            // Long enough that a busy machine's pauses don't change who leads.
            election: Duration::from_secs(1),
        };
        Config {
            bootstrap: true,
            timing,
            format: self.reads.get(&number).copied().unwrap_or(FORMAT),
            snapshot_every: 10,
            segment_size: 64 << 10,
            verify_index_after: Duration::from_millis(50),
            ..config
        }
    }

    fn security(&self, number: u64) -> PeerSecurity {
        let Some(authority) = &self.authority else {
            return secret();
        };
        let dir = self.temp.path().join(format!("certificates-{number}"));
        let name = chv_eventlog::replica_name(CLUSTER, ReplicaId::new(number).unwrap());
        authority.issue(&dir, &name, Valid::Now, &BOTH);
        PeerSecurity::Tls(TlsFiles {
            cert: dir.join("replica.pem"),
            key: dir.join("replica.key"),
            ca: dir.join("ca.pem"),
        })
    }

    pub fn all(&self) -> Vec<u64> {
        self.running.keys().copied().collect()
    }

    pub fn log(&self, number: u64) -> &EventLog {
        &self.running[&number]
    }

    /// The replica that leads and may decide, once all that run know it: while a cluster forms, several may be elected
    /// in quick succession.
    pub async fn leader(&self) -> u64 {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            for (number, log) in &self.running {
                let leads = matches!(*log.leadership().borrow(), Leadership::Leader { ready: true, .. });
                let known =
                    |log: &EventLog| log.status().leader.is_some_and(|leader| leader.get() == *number);
                if leads && self.running.values().all(known) {
                    return *number;
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("nobody leads");
    }

    /// Appends host `number`'s registration through replica `at`, which leads.
    pub async fn register(&self, at: u64, number: u8) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = self.log(at);
            let record = record(&log.projection(), log.status().term, number);
            let last = record.last();
            match log
                .append(Batch {
                    published: Seq::ZERO,
                    records: vec![record],
                })
                .await
            {
                Ok(outcome) => return assert_eq!(outcome, BatchOutcome::Applied { last }),
                Err(AppendError::NotLeader) if Instant::now() < deadline => {
                    log.leadership()
                        .wait_for(|now| matches!(now, Leadership::Leader { ready: true, .. }))
                        .await
                        .unwrap();
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Decides a command of the leader's own, and appends what it makes, if anything.
    pub async fn decide(&self, at: u64, id: u8, command: Command) {
        let log = self.log(at);
        let leader = ReplicaId::new(at).unwrap();
        let submission = Submission::new(
            CommandId::from_bytes([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, id]),
            Actor::Replica(leader),
            command,
        );
        let context = Context {
            now: Timestamp(1),
            term: log.status().term,
            alive: &BTreeSet::new(),
            replicas: &chv_domain::Replicas::alone(leader),
        };
        if let Decided::Record(record) = decide(&log.projection(), &submission, context).unwrap() {
            let batch = Batch {
                published: Seq::ZERO,
                records: vec![record],
            };
            let outcome = log.append(batch).await.unwrap();
            assert!(matches!(outcome, BatchOutcome::Applied { .. }));
        }
    }

    /// Waits until every running replica has applied `seq`; the digest that they all have then.
    pub async fn agree_on(&self, seq: Seq) -> RecordHash {
        let mut digests = BTreeSet::new();
        for log in self.running.values() {
            let mut applied = log.applied();
            let reached = applied.wait_for(|applied| *applied >= seq);
            tokio::time::timeout(PATIENCE, reached)
                .await
                .expect("a replica stays behind")
                .unwrap();
            digests.insert(log.projection().digest());
        }
        assert_eq!(digests.len(), 1, "replicas differ");
        digests.pop_first().unwrap()
    }

    /// Makes and starts a replica that belongs to no cluster's log yet; where it is reached.
    pub async fn join(&mut self, number: u64) -> SocketAddr {
        let (address, replica) = (address(), ReplicaId::new(number).unwrap());
        let listener = TcpListener::bind(address).await.unwrap();
        EventLog::init(&self.dir(number), ClusterId::from_bytes([9; 16]), replica).unwrap();
        let config = Config {
            bootstrap: false,
            peers: BTreeMap::new(),
            ..self.config(number, listener)
        };
        self.peers.insert(replica, address);
        self.running.insert(number, EventLog::open(config).await.unwrap());
        address
    }

    /// Makes a directory for a replica that does not run, anew under its old number where it had one, and starts it.
    pub async fn make_anew(&mut self, number: u64) {
        EventLog::init(&self.dir(number), CLUSTER, ReplicaId::new(number).unwrap()).unwrap();
        self.start_again(number).await;
    }

    pub async fn stop(&mut self, number: u64) {
        self.running.remove(&number).unwrap().shutdown().await;
    }

    pub async fn start_again(&mut self, number: u64) {
        self.try_start_again(number).await.unwrap();
    }

    pub async fn try_start_again(&mut self, number: u64) -> Result<(), OpenError> {
        let address = self.peers[&ReplicaId::new(number).unwrap()];
        let listener = TcpListener::bind(address).await.unwrap();
        let log = EventLog::open(self.config(number, listener)).await?;
        self.running.insert(number, log);
        Ok(())
    }

    /// Opens the directory of a running replica a second time.
    pub async fn try_open_again(&self, number: u64) -> Result<EventLog, OpenError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        EventLog::open(self.config(number, listener)).await
    }

    pub async fn try_open(&self, dir: &Path) -> Result<EventLog, OpenError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        EventLog::open(Config::new(
            dir.to_owned(),
            listener,
            self.peers.clone(),
            secret(),
        ))
        .await
    }

    pub async fn end(&mut self) {
        for number in self.all() {
            self.stop(number).await;
        }
    }
}

fn secret() -> PeerSecurity {
    let secret = ClusterSecret::new(SECRET).expect("it is long enough");
    PeerSecurity::LoopbackSecret(secret)
}
