//! The one thread that writes the segment files. Async code hands it work and is told when that is flushed.
//!
//! What a read-only disk refuses is written again once it can be: until then all waits here. After any other failure
//! nothing is written any more: what the failed write or flush left on the disk is unknown, and only a restart finds
//! out.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use crate::segment::SegmentStore;

/// How many pieces of work may wait.
const QUEUE: usize = 64;

/// Why the log can't go on; `None` while it can.
pub(crate) type Fatal = Option<Arc<str>>;

pub(crate) type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

enum Work {
    Append {
        first: u64,
        payloads: Vec<Bytes>,
        done: Done,
    },
    Truncate {
        since: u64,
        done: oneshot::Sender<io::Result<()>>,
    },
    Purge {
        upto: u64,
        done: oneshot::Sender<io::Result<()>>,
    },
    End,
}

/// A handle to the writer thread.
#[derive(Clone)]
pub(crate) struct Writer {
    work: mpsc::Sender<Work>,
}

/// The thread, to be waited for at shutdown.
pub(crate) struct WriterThread(JoinHandle<()>);

impl WriterThread {
    /// Ends the thread once all work handed to it is done, and waits for that.
    pub(crate) async fn end(self, writer: &Writer) {
        // Gone already, if that can't be sent.
        let _ = writer.work.send(Work::End).await;
        let _ = tokio::task::spawn_blocking(move || self.0.join()).await;
    }
}

impl Writer {
    pub(crate) fn start(
        store: SegmentStore,
        fatal: watch::Sender<Fatal>,
    ) -> io::Result<(Self, WriterThread)> {
        let (work, todo) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || write(store, todo, &fatal))?;
        Ok((Self { work }, WriterThread(thread)))
    }

    /// Appends; `done` is called, on the writer thread, once the entries are flushed.
    pub(crate) async fn append(&self, first: u64, payloads: Vec<Bytes>, done: Done) -> io::Result<()> {
        self.work
            .send(Work::Append {
                first,
                payloads,
                done,
            })
            .await
            .map_err(|_| gone())
    }

    pub(crate) async fn truncate(&self, since: u64) -> io::Result<()> {
        let (done, told) = oneshot::channel();
        self.work
            .send(Work::Truncate { since, done })
            .await
            .map_err(|_| gone())?;
        told.await.map_err(|_| gone())?
    }

    pub(crate) async fn purge(&self, upto: u64) -> io::Result<()> {
        let (done, told) = oneshot::channel();
        self.work
            .send(Work::Purge { upto, done })
            .await
            .map_err(|_| gone())?;
        told.await.map_err(|_| gone())?
    }
}

/// Appends that waited for one another's flush, and so share one.
struct Group {
    first: u64,
    payloads: Vec<Bytes>,
    done: Vec<Done>,
}

impl Group {
    fn new(first: u64, payloads: Vec<Bytes>, done: Done) -> Self {
        Self {
            first,
            payloads,
            done: vec![done],
        }
    }

    /// Takes in an append that goes on where this ends; gives back any other work.
    fn join(&mut self, work: Work) -> Result<(), Work> {
        match work {
            Work::Append {
                first,
                payloads,
                done,
            } if first == self.first + self.payloads.len() as u64 => {
                self.payloads.extend(payloads);
                self.done.push(done);
                Ok(())
            }
            other => Err(other),
        }
    }

    fn tell(self, written: io::Result<()>) {
        for done in self.done {
            done(match &written {
                Ok(()) => Ok(()),
                Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
            });
        }
    }
}

fn gone() -> io::Error {
    io::Error::other("the log's writer has ended")
}

fn write(mut store: SegmentStore, mut todo: mpsc::Receiver<Work>, fatal: &watch::Sender<Fatal>) {
    let disk = store.disk();
    let mut poison: Fatal = None;
    let mut after = None;
    while let Some(work) = after.take().or_else(|| todo.blocking_recv()) {
        let mut attempt = |what: &mut dyn FnMut(&mut SegmentStore) -> io::Result<()>| {
            if let Some(reason) = &poison {
                return Err(io::Error::other(reason.to_string()));
            }
            disk.hold(|| what(&mut store)).inspect_err(|error| {
                let reason: Arc<str> = format!("writing the log failed: {error}").into();
                poison = Some(Arc::clone(&reason));
                fatal.send_replace(Some(reason));
            })
        };
        match work {
            Work::End => return,
            Work::Append {
                first,
                payloads,
                done,
            } => {
                let mut group = Group::new(first, payloads, done);
                while let Ok(next) = todo.try_recv() {
                    if let Err(other) = group.join(next) {
                        after = Some(other);
                        break;
                    }
                }
                let written = attempt(&mut |store| store.append(group.first, &group.payloads));
                group.tell(written);
            }
            Work::Truncate { since, done } => {
                // Whoever asked may be gone at shutdown.
                let _ = done.send(attempt(&mut |store| store.truncate(since)));
            }
            Work::Purge { upto, done } => {
                let _ = done.send(attempt(&mut |store| store.purge(upto)));
            }
        }
    }
}
