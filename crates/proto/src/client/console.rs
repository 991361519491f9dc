//! Consoles: read and typed into on the host that runs the VM.

use std::time::Duration;

use async_nats::HeaderMap;
use chv_domain::HostName;
use prost::Message;

use super::Client;
use super::ask::{Question, Verdict};
use super::error::{QueryError, Whom};
use crate::subject::{self, ConsoleMessage};
use crate::v1;

/// How long an answer may take beyond what the host was asked to wait.
const PATIENCE: Duration = Duration::from_secs(3);

impl Client {
    /// Reads a VM's console on `host`, which waits for output as the request says. A refusal of the
    /// host's is in the chunk.
    pub async fn console_read(
        &self,
        host: &HostName,
        read: v1::ConsoleRead,
    ) -> Result<v1::ConsoleChunk, QueryError> {
        let wait = Duration::from_millis(read.wait_ms.into());
        self.console(host, ConsoleMessage::Read, &read, wait).await
    }

    /// Types into a VM's console on `host`. It is sent once: without an answer it is not known whether it
    /// was typed. A refusal of the host's is in the answer.
    pub async fn console_write(
        &self,
        host: &HostName,
        write: v1::ConsoleWrite,
    ) -> Result<v1::ConsoleWritten, QueryError> {
        self.console(host, ConsoleMessage::Write, &write, Duration::ZERO)
            .await
    }

    async fn console<A: Message + Default>(
        &self,
        host: &HostName,
        message: ConsoleMessage,
        request: &impl Message,
        answer_may_take: Duration,
    ) -> Result<A, QueryError> {
        let question = Question {
            subject: subject::console(&self.person()?, host, message),
            headers: HeaderMap::new(),
            payload: request.encode_to_vec().into(),
            whom: Whom::Host(host.clone()),
            patience: PATIENCE + answer_may_take,
            answer_may_take,
            again: message == ConsoleMessage::Read,
        };
        let judge = |message: &async_nats::Message| match A::decode(message.payload.as_ref()) {
            Ok(answer) => Verdict::Final(Ok(answer)),
            Err(error) => Verdict::Garbled(error.to_string()),
        };
        self.put(question, judge).await
    }
}
