//! Answers those who look at a VM's console or type on it. Keeps nothing about a reader: a read says where it
//! begins, and waits for output as long as it is told to.

pub mod log;
pub mod trim;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chv_domain::{HostName, VmId};
use chv_proto::subject::{self, ConsoleMessage};
use chv_proto::v1;
use futures::StreamExt;
use prost::Message;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::converge::Converge;
use crate::hypervisor::ConsoleInput;

/// Requests that may be answered at once; most of them wait for output.
const AT_ONCE: usize = 256;

/// The longest that a read waits.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// How long a guest that doesn't read may hold up what is typed.
const TYPE_LIMIT: Duration = Duration::from_secs(2);

/// The most that is typed at once, in bytes.
const MAX_INPUT: usize = 4096;

/// Between two looks at whether a log has grown: shorter than a person notices, and a look is one system call.
const LOOK: Duration = Duration::from_millis(20);

/// Serves the consoles of this host's VMs until `stop`.
#[derive(Clone)]
pub struct Consoles {
    host: HostName,
    converge: Converge,
    at_once: Arc<Semaphore>,
}

impl Consoles {
    /// The consoles of `converge`'s VMs.
    pub fn new(host: HostName, converge: Converge) -> Self {
        Self {
            host,
            converge,
            at_once: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Answers requests over `nats`, each in a task that `tasks` owns, until `stop`.
    pub async fn serve(self, nats: async_nats::Client, tasks: TaskTracker, stop: CancellationToken) {
        let subject = subject::console_requests(&self.host);
        let mut requests = match nats.subscribe(subject.clone()).await {
            Ok(requests) => requests,
            Err(error) => {
                tracing::error!(subject, %error, "consoles can't be served");
                return;
            }
        };
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                request = requests.next() => {
                    let Some(request) = request else { return };
                    let (this, nats, stop) = (self.clone(), nats.clone(), stop.clone());
                    tasks.spawn(async move {
                        tokio::select! {
                            () = stop.cancelled() => {}
                            () = this.answer(&nats, request) => {}
                        }
                    });
                }
            }
        }
    }

    async fn answer(&self, nats: &async_nats::Client, request: async_nats::Message) {
        let Some(reply) = request.reply else { return };
        let (user, message) = match subject::parse_console(&request.subject) {
            Ok((user, _, message)) => (user, message),
            Err(error) => {
                tracing::debug!(%error, "no console request");
                return;
            }
        };
        if !subject::is_inbox_of(user.as_str(), &reply) {
            tracing::warn!(%user, %reply, "a console request wants its answer sent to somebody else; not answered");
            return;
        }
        let answer = match message {
            ConsoleMessage::Read => {
                let chunk = self.read(&request.payload).await;
                chunk
                    .unwrap_or_else(|refused| v1::ConsoleChunk {
                        refused: Some(refused),
                        ..Default::default()
                    })
                    .encode_to_vec()
            }
            ConsoleMessage::Write => v1::ConsoleWritten {
                refused: self.write(&request.payload).await.err(),
            }
            .encode_to_vec(),
        };
        if let Err(error) = nats.publish(reply, answer.into()).await {
            tracing::debug!(%error, "console request not answered");
        }
    }

    async fn read(&self, payload: &[u8]) -> Result<v1::ConsoleChunk, v1::Refused> {
        let _permit = self.at_once.try_acquire().map_err(|_| busy())?;
        let request = v1::ConsoleRead::decode(payload).map_err(|error| malformed(&error.to_string()))?;
        let (vm, path) = self.log(&request.vm)?;
        let from = match request.tail {
            Some(bytes) => log::From::Tail(bytes),
            None => log::From::Offset(request.offset),
        };
        let until = Instant::now() + Duration::from_millis(request.wait_ms.into()).min(MAX_WAIT);
        let mut chunk = read_log(&path, from).await?;
        // What is waited for begins where the first look ended.
        while chunk.data.is_empty() && Instant::now() < until {
            tokio::time::sleep(LOOK.min(until - Instant::now())).await;
            chunk = read_log(&path, log::From::Offset(chunk.offset)).await?;
        }
        let running = self.converge.console(vm).is_some_and(|console| console.running);
        Ok(v1::ConsoleChunk {
            offset: chunk.offset,
            data: chunk.data,
            running,
            refused: None,
        })
    }

    async fn write(&self, payload: &[u8]) -> Result<(), v1::Refused> {
        let request = v1::ConsoleWrite::decode(payload).map_err(|error| malformed(&error.to_string()))?;
        if request.data.len() > MAX_INPUT {
            return Err(refused(
                "too_large",
                format!("at most {MAX_INPUT} bytes are typed at once"),
                false,
            ));
        }
        let (vm, _) = self.log(&request.vm)?;
        let console = self.converge.console(vm).unwrap_or_default();
        let input = console.input.ok_or_else(|| {
            let running = if console.running {
                "its console is not open"
            } else {
                "it does not run"
            };
            refused(
                "state",
                format!("VM {vm} can't be typed on: {running}"),
                console.running,
            )
        })?;
        type_on(&input, request.data.into()).await
    }

    /// The VM that is meant, and its log.
    fn log(&self, vm: &str) -> Result<(VmId, PathBuf), v1::Refused> {
        let vm: VmId = vm
            .parse()
            .map_err(|error: chv_domain::ids::IdError| malformed(&error.to_string()))?;
        match self.converge.console_log(vm) {
            Some(path) => Ok((vm, path)),
            None => Err(refused(
                "not_found",
                format!("VM {vm} is not on host {}", self.host),
                false,
            )),
        }
    }
}

async fn type_on(input: &ConsoleInput, bytes: Bytes) -> Result<(), v1::Refused> {
    match tokio::time::timeout(TYPE_LIMIT, input.send(bytes)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(closed)) => Err(refused("state", closed.to_string(), true)),
        Err(_) => Err(refused(
            "busy",
            "the guest does not read its console".to_owned(),
            true,
        )),
    }
}

async fn read_log(path: &std::path::Path, from: log::From) -> Result<log::Chunk, v1::Refused> {
    let path = path.to_owned();
    let read = tokio::task::spawn_blocking(move || log::read(&path, from)).await;
    read.map_err(std::io::Error::other)
        .and_then(|read| read)
        .map_err(|error| {
            refused(
                "unavailable",
                format!("the console's log can't be read: {error}"),
                true,
            )
        })
}

fn refused(code: &str, message: String, retryable: bool) -> v1::Refused {
    v1::Refused {
        code: code.to_owned(),
        message,
        field: String::new(),
        retryable,
        retry_after_ms: 500 * u32::from(retryable),
    }
}

fn malformed(why: &str) -> v1::Refused {
    refused("malformed", format!("not a console request: {why}"), false)
}

fn busy() -> v1::Refused {
    refused("busy", format!("over {AT_ONCE} console requests at once"), true)
}
