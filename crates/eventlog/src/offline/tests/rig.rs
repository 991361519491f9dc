//! A small data directory, written by a replica of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chv_domain::*;
use openraft::storage::RaftLogStorage as _;
use tokio::net::TcpListener;

use crate::files::{Dir, Identity};
use crate::open::{LogFiles, log_files};
use crate::raft::Vote;
use crate::raft::snapshot::State;
use crate::testing::record;
use crate::{ClusterSecret, Config, EventLog, Leadership, PeerSecurity};

const PATIENCE: Duration = Duration::from_secs(20);

/// How many hosts are registered, which is how many events there are.
pub(crate) const EVENTS: u64 = 8;

/// The size of a segment, in bytes: small, so that there are several, and few bytes in all.
const SEGMENT: u64 = 768;

fn id() -> ReplicaId {
    ReplicaId::new(1).unwrap()
}

/// Opens replica `number` of its own cluster in the directory, and waits until it leads.
pub(crate) async fn open(dir: &Path, number: u64, segment_size: u64) -> EventLog {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peers = BTreeMap::from([(ReplicaId::new(number).unwrap(), listener.local_addr().unwrap())]);
    let secret = PeerSecurity::LoopbackSecret(ClusterSecret::new("a secret of the tests").unwrap());
    let log = EventLog::open(Config {
        bootstrap: true,
        snapshot_every: 1_000_000,
        segment_size,
        ..Config::new(dir.to_owned(), listener, peers, secret)
    })
    .await
    .unwrap();
    let mut leads = log.leadership();
    let ready = leads.wait_for(|now| matches!(now, Leadership::Leader { ready: true, .. }));
    tokio::time::timeout(PATIENCE, ready)
        .await
        .expect("it does not lead")
        .unwrap();
    log
}

/// Registers `count` hosts, from number `first` on.
pub(crate) async fn events(log: &EventLog, first: u8, count: u8) {
    for number in first..first + count {
        let record = record(&log.projection(), log.status().term, number);
        let batch = Batch {
            published: Seq::ZERO,
            records: vec![record],
        };
        log.append(batch).await.unwrap();
    }
}

/// A directory with some events, a snapshot in their midst, and, if so wished, without the log before it.
pub(crate) async fn written(purged: bool) -> tempfile::TempDir {
    let temp = tempfile::tempdir().unwrap();
    EventLog::init(temp.path(), ClusterId::from_bytes([9; 16]), id()).unwrap();
    let log = open(temp.path(), 1, SEGMENT).await;
    let half = EVENTS as u8 / 2;
    events(&log, 1, half).await;
    snapshot(&log, purged).await;
    events(&log, half + 1, half).await;
    log.shutdown().await;
    temp
}

async fn snapshot(log: &EventLog, purge: bool) {
    let raft = &log.inner.raft;
    let applied = log.status().applied_index;
    raft.trigger().snapshot().await.unwrap();
    let done = |last: Option<crate::raft::LogId>| last.is_some_and(|last| last.index >= applied);
    let wait = raft.wait(Some(PATIENCE));
    wait.metrics(|now| done(now.snapshot), "snapshot").await.unwrap();
    if purge {
        raft.trigger().purge_log(applied).await.unwrap();
        let wait = raft.wait(Some(PATIENCE));
        wait.metrics(|now| done(now.purged), "purged").await.unwrap();
    }
}

/// What a replica would begin with.
#[derive(Debug, PartialEq)]
pub(crate) struct Begun {
    identity: Identity,
    vote: Option<Vote>,
    pub(crate) seq: Seq,
    digest: RecordHash,
}

/// Opens the directory as a replica does, short of taking part in Raft, and folds its log as far as it goes.
pub(crate) async fn begin(path: &Path) -> Result<Begun, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let dir = std::sync::Arc::new(Dir::open(path).map_err(|error| text(&error))?);
    let identity = Identity::read(&dir).map_err(|error| text(&error))?;
    let fatal = tokio::sync::watch::Sender::new(None);
    let opened = log_files(dir, identity.replica, SEGMENT, fatal);
    let LogFiles {
        mut storage,
        writer: thread,
        machine,
    } = opened.map_err(|error| text(&error))?;
    let begun = async {
        let mut state = State {
            applied: *machine.applied().entry.borrow(),
            projection: machine.applied().projection.borrow().clone(),
            ..State::default()
        };
        let from = state.applied.map_or(0, |applied| applied.index + 1);
        let entries = storage
            .entries(from, u64::MAX, usize::MAX)
            .await
            .map_err(|error| text(&error))?;
        for entry in entries {
            super::super::walk::fold(&mut state, entry);
        }
        Ok(Begun {
            identity,
            vote: storage.read_vote().await.map_err(|error| text(&error))?,
            seq: state.projection.seq(),
            digest: state.projection.digest(),
        })
    };
    let begun = begun.await;
    thread.end(&storage.writer().clone()).await;
    begun
}

/// Every file of the directory but the index, which is made again when in doubt, and what a crash leaves.
pub(super) fn files_of(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "index" {
            files.extend(files_of(&path));
        } else if path.is_file() && name != "spare.tmp" {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// A copy of the directory, without its index.
pub(super) fn copy(from: &Path, to: &Path) {
    for stale in std::fs::read_dir(to).unwrap() {
        let stale = stale.unwrap().path();
        match stale.is_dir() {
            true => std::fs::remove_dir_all(&stale).unwrap(),
            false => std::fs::remove_file(&stale).unwrap(),
        }
    }
    for file in files_of(from) {
        let at = to.join(file.strip_prefix(from).unwrap());
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        std::fs::copy(&file, &at).unwrap();
    }
}
