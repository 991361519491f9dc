//! What each step of a command costs by itself: the same functions that the scheduler calls, one after the other on one
//! thread, with nothing around them. The sum is what no arrangement of tasks and threads goes below.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use chv_domain::{
    Actor, Batch, Command, Context as Deciding, Decided, DesiredVm, HostId, Projection, ReplicaId, Replicas,
    Seq, Submission, Term, decide_onto, stored,
};
use chv_e2e::stand_in_facts;
use chv_proto::client::{new_command_id, now};
use chv_proto::convert::{self, EncodedEvents, FeedDelta};

use crate::payload::{Payloads, USER};

/// Commands in an entry, as many as there are at 256 outstanding.
const ENTRY: usize = 128;

/// Entries; about the state that a short measurement of the whole ends with.
const ENTRIES: usize = 400;

/// How sealed history is compressed: this hard, and about so many bytes at a time.
const LEVEL: i32 = 1;
const BLOCK: usize = 256 << 10;

/// One step: how many replicas do it, and the time it took for all commands.
struct Step {
    what: &'static str,
    replicas: u32,
    took: Duration,
}

/// The leader's side of the work, and what follows from it for the others.
struct Work {
    alive: BTreeSet<HostId>,
    state: Projection,
    steps: [Step; 9],
    /// What is to be compressed next.
    block: Vec<u8>,
}

/// Does all steps, and prints what they cost; `directory` is where the log would be.
pub(crate) fn run(directory: &Path) -> Result<()> {
    std::fs::create_dir_all(directory)?;
    let mut work = Work::new()?;
    let mut payloads = Payloads::new(0, 0)?;
    let mut follower = work.state.clone();
    let path = directory.join("steps.log");
    let mut file = File::create(&path)?;
    file.write_all(&vec![0; 32 << 20])?;
    file.sync_all()?;
    let mut at = 0;
    for _ in 0..ENTRIES {
        let messages: Vec<_> = (0..ENTRY).map(|_| payloads.next().0).collect();
        let frame = work.lead(&messages)?;
        work.follow(&mut follower, &frame)?;
        at = work.keep(&file, at, &frame)?;
    }
    std::fs::remove_file(&path)?;
    if follower != work.state {
        bail!("the follower's state is another one than the leader's");
    }
    print!("{}", work.table());
    Ok(())
}

impl Work {
    fn new() -> Result<Self> {
        let host = HostId::from_ulid(new_command_id().ulid());
        let name = "stand-in".parse().context("a host's name")?;
        let facts = stand_in_facts();
        let register = Command::RegisterHost { host, facts };
        let mut work = Self {
            alive: [host].into(),
            state: Projection::default(),
            block: Vec::new(),
            steps: [
                ("a command is read off its message", 1),
                ("it is decided, recorded, hashed and folded", 1),
                ("an entry of records is encoded", 1),
                ("an entry is decoded, and its records hashed", 2),
                ("its records are folded", 2),
                ("events become messages", 1),
                ("the host's feed becomes a message", 1),
                ("an entry is written and flushed", 3),
                ("records are compressed for history", 3),
            ]
            .map(|(what, replicas)| Step {
                what,
                replicas,
                took: Duration::ZERO,
            }),
        };
        work.decide(&[Submission::new(new_command_id(), Actor::Host(name), register)])?;
        Ok(work)
    }

    fn time<T>(&mut self, step: usize, work: impl FnOnce(&mut Self) -> T) -> T {
        let began = Instant::now();
        let done = work(self);
        self.steps[step].took += began.elapsed();
        done
    }

    fn decide(&mut self, submissions: &[Submission]) -> Result<Batch> {
        let replicas = Replicas::alone(ReplicaId::new(1).context("a replica's number")?);
        let context = Deciding {
            now: now(),
            term: Term(1),
            alive: &self.alive,
            replicas: &replicas,
        };
        let mut records = Vec::with_capacity(submissions.len());
        for submission in submissions {
            match decide_onto(&mut self.state, submission, context) {
                Ok(Decided::Record(record)) => records.push(record),
                other => bail!("a command comes to {other:?}"),
            }
        }
        Ok(Batch {
            published: Seq::ZERO,
            records,
        })
    }

    /// What the leader alone does; the entry.
    fn lead(&mut self, messages: &[bytes::Bytes]) -> Result<Vec<u8>> {
        let actor = Actor::User(USER.parse().context("a user's name")?);
        let read = |message: &bytes::Bytes| {
            let read = convert::decode_envelope(message, actor.clone(), "vm.create", None);
            read.map_err(|error| anyhow::anyhow!("{error:?}"))
        };
        let submissions = self.time(0, |_| messages.iter().map(read).collect::<Result<Vec<_>>>())?;
        let batch = self.time(1, |work| work.decide(&submissions))?;
        let frame = self.time(2, |_| stored::encode_about(&batch, batch.stored_size()))?;
        let events = self.time(5, |work| {
            let mut size = 0;
            for record in &batch.records {
                let encoded = EncodedEvents::of(record);
                let messages =
                    (0..record.events.len()).filter_map(|index| encoded.get(index, || &work.state));
                size += messages.map(|event| event.message.len()).sum::<usize>();
            }
            size
        });
        let feed = self.time(6, |work| work.feed(&batch))?;
        std::hint::black_box((events, feed));
        Ok(frame)
    }

    fn feed(&self, batch: &Batch) -> Result<Vec<u8>> {
        let host = *self.alive.first().context("a host")?;
        let desired = |record: &chv_domain::Record| {
            let vm = chv_domain::VmId::created_by(record.cause.command);
            DesiredVm::of(self.state.vm(vm)?, host)
        };
        let delta = FeedDelta {
            host,
            prev: None,
            feed: self.state.seq(),
            vms: batch.records.iter().filter_map(desired).collect(),
            gone: Vec::new(),
        };
        Ok(convert::encode_delta(&delta))
    }

    /// What a follower does with the entry before it has it on its disk, and once it is committed.
    fn follow(&mut self, follower: &mut Projection, frame: &[u8]) -> Result<()> {
        let batch: Batch = self.time(3, |_| stored::decode(frame))?;
        self.time(4, |_| follower.apply_batch(Term(1), &batch));
        self.time(3, |_| drop(batch));
        Ok(())
    }

    /// What each replica does with the bytes; where the next entry goes.
    fn keep(&mut self, file: &File, at: u64, frame: &[u8]) -> Result<u64> {
        let before = processor_time();
        std::os::unix::fs::FileExt::write_all_at(file, frame, at)?;
        file.sync_data()?;
        self.steps[7].took += processor_time().saturating_sub(before);
        self.block.extend_from_slice(frame);
        if self.block.len() >= BLOCK {
            let block = std::mem::take(&mut self.block);
            self.time(8, |_| {
                zstd::bulk::compress(&block, LEVEL).map(std::hint::black_box)
            })?;
        }
        Ok(at + frame.len() as u64)
    }

    fn table(&self) -> String {
        let commands = (ENTRIES * ENTRY) as f64;
        let mut text = format!(
            "{:46} {:>10} {:>9} {:>9}\n",
            "of one command", "replicas", "us each", "us"
        );
        let mut sum = 0.0;
        for Step { what, replicas, took } in &self.steps {
            let each = took.as_secs_f64() * 1e6 / commands;
            let all = each * f64::from(*replicas);
            sum += all;
            let _ = writeln!(text, "  {what:44} {replicas:>10} {each:>9.2} {all:>9.2}");
        }
        let _ = writeln!(text, "  {:44} {:>10} {:>9} {sum:>9.2}", "together", "", "");
        text
    }
}

/// Of this thread so far: a flush waits for the disk, and the processor does other things meanwhile.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}
