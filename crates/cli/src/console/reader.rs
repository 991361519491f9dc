//! Output from an offset on, asked for again and again. A host that does not answer is asked until it does; one
//! that does not have the VM, for as long as there is such a VM.

use std::time::Duration;

use chv_domain::{HostName, Seq, VmId, VmRef};
use chv_proto::client::{Client, QueryError};
use chv_proto::subject::Audience;
use chv_proto::v1::query_envelope::Query;
use chv_proto::{convert, v1};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::refusal;

/// How long the host holds a request when there is no output.
const HOLD: Duration = Duration::from_secs(5);
/// How long it may take to learn whether there is such a VM.
const EXISTS: Duration = Duration::from_secs(2);
/// How long after a failure it is asked again.
const AGAIN: Duration = Duration::from_millis(300);

/// Reads one console.
#[derive(Debug)]
pub(super) struct Reader {
    client: Client,
    host: HostName,
    vm: VmId,
    seen: Seq,
    offset: u64,
    tail: Option<u64>,
    hold: Duration,
    troubled: bool,
}

/// What came of asking.
#[derive(Debug)]
pub(super) enum Read {
    /// Output.
    Output(Vec<u8>),
    /// No output for a while, and whether the VM runs.
    Silent {
        /// Whether it runs.
        running: bool,
    },
    /// The host does not answer, or has no console of this VM yet; it is asked again. Told once each time.
    Trouble(String),
}

impl Reader {
    /// From the beginning, or from `tail` bytes before the end. The VM was there after the event `seen`.
    pub(super) fn new(client: Client, host: HostName, vm: VmId, seen: Seq, tail: Option<u64>) -> Self {
        Self {
            client,
            host,
            vm,
            seen,
            offset: 0,
            tail,
            hold: HOLD,
            troubled: false,
        }
    }

    /// From now on the host holds requests for so long.
    pub(super) fn hold(&mut self, hold: Duration) {
        self.hold = hold;
    }

    /// The next output or other news. Dropped before it is ready, it loses nothing.
    pub(super) async fn next(&mut self) -> Result<Read, Failure> {
        loop {
            let read = v1::ConsoleRead {
                vm: self.vm.to_string(),
                offset: self.offset,
                wait_ms: u32::try_from(self.hold.as_millis()).unwrap_or(0),
                tail: self.tail,
            };
            let trouble = match self.client.console_read(&self.host, read).await {
                Ok(chunk) => match chunk.refused {
                    None => return Ok(self.took(chunk)),
                    Some(refused) if refused.code == "not_found" => {
                        // The host may not have heard of a new VM yet.
                        if self.is_removed().await {
                            let what = format!("VM {} was removed", self.vm);
                            return Err(Failure::new(Exit::NotFound, what));
                        }
                        refused.message
                    }
                    Some(refused) if refused.retryable => refused.message,
                    Some(refused) => {
                        return Err(Failure::new(Exit::of_code(&refused.code), refused.message));
                    }
                },
                Err(error @ (QueryError::NotPermitted { .. } | QueryError::ShutOut { .. })) => {
                    return Err(refusal::query(error));
                }
                Err(error) => error.to_string(),
            };
            tokio::time::sleep(AGAIN).await;
            if !std::mem::replace(&mut self.troubled, true) {
                return Ok(Read::Trouble(format!("{trouble}; trying again")));
            }
        }
    }

    /// Whether a replica that knows of the VM's creation knows no such VM.
    async fn is_removed(&self) -> bool {
        let get = Query::GetVm(v1::GetVm {
            vm: Some(convert::vm_ref_to_wire(&VmRef::Id(self.vm))),
        });
        let answer = self
            .client
            .query(Audience::Any, get, Some(self.seen), EXISTS)
            .await;
        matches!(answer, Err(QueryError::Refused(refusal)) if refusal.code == "not_found")
    }

    fn took(&mut self, chunk: v1::ConsoleChunk) -> Read {
        self.troubled = false;
        self.tail = None;
        self.offset = chunk.offset + chunk.data.len() as u64;
        if chunk.data.is_empty() {
            return Read::Silent {
                running: chunk.running,
            };
        }
        Read::Output(chunk.data)
    }
}
