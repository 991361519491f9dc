//! A client of QEMU's monitor protocol, for one connection. QEMU speaks to one client at a time and lets the
//! next one wait, so a connection is made for one conversation and then dropped; every caller sets a deadline.

use std::io;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufStream};
use tokio::net::UnixStream;

/// The longest message taken from QEMU, in bytes.
const MAX_LINE: usize = 1 << 20;

/// A fault in a conversation with QEMU.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QmpError {
    #[error("its QMP socket: {0}")]
    Io(#[from] io::Error),
    #[error("QEMU closed the QMP connection")]
    Closed,
    #[error("QEMU sent a QMP message of over {MAX_LINE} bytes")]
    TooLong,
    #[error("QEMU sent something that is no QMP message: {0}")]
    Malformed(String),
    #[error("QEMU refused `{command}`: {description}")]
    Refused {
        command: &'static str,
        description: String,
    },
}

/// A connection that has left QEMU's negotiation mode.
#[derive(Debug)]
pub(crate) struct Qmp<S = UnixStream> {
    stream: BufStream<S>,
    last_id: u64,
}

/// What QEMU sends. It may add fields, so unknown ones are let pass.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Message {
    Greeting {
        #[serde(rename = "QMP")]
        _qmp: Value,
    },
    Event {
        event: String,
    },
    Return {
        #[serde(rename = "return")]
        value: Value,
        id: Option<u64>,
    },
    Error {
        error: Refusal,
        id: Option<u64>,
    },
}

#[derive(Debug, Deserialize)]
struct Refusal {
    desc: String,
}

impl Qmp {
    /// Connects to the monitor at `path`. Waits as long as another client is connected.
    pub(crate) async fn connect(path: &Path) -> Result<Self, QmpError> {
        Self::negotiate(UnixStream::connect(path).await?).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Qmp<S> {
    /// Waits for the greeting, which QEMU sends when it has set the machine up, and leaves negotiation mode.
    pub(crate) async fn negotiate(stream: S) -> Result<Self, QmpError> {
        let mut qmp = Self {
            stream: BufStream::new(stream),
            last_id: 0,
        };
        // It is read after the greeting; the answers to both come together.
        let negotiate = "qmp_capabilities";
        qmp.ask(negotiate, json!({})).await?;
        match qmp.receive().await? {
            Message::Greeting { .. } => {}
            other => return Err(QmpError::Malformed(format!("{other:?} instead of a greeting"))),
        }
        qmp.answer(negotiate).await?;
        Ok(qmp)
    }

    /// Executes `command`, which takes no arguments; see [`Qmp::execute_with`].
    pub(crate) async fn execute(&mut self, command: &'static str) -> Result<Value, QmpError> {
        self.execute_with(command, json!({})).await
    }

    /// Executes `command` and gives what it returned. Events that come in between are passed over: nothing
    /// is concluded from them, since they are lost while no one is connected.
    pub(crate) async fn execute_with(
        &mut self,
        command: &'static str,
        arguments: Value,
    ) -> Result<Value, QmpError> {
        self.ask(command, arguments).await?;
        self.answer(command).await
    }

    async fn ask(&mut self, command: &'static str, arguments: Value) -> Result<(), QmpError> {
        self.last_id += 1;
        let mut line = json!({"execute": command, "arguments": arguments, "id": self.last_id}).to_string();
        line.push('\n');
        self.stream.write_all(line.as_bytes()).await?;
        Ok(self.stream.flush().await?)
    }

    /// What is answered to what was asked last, which is `command`.
    async fn answer(&mut self, command: &'static str) -> Result<Value, QmpError> {
        loop {
            match self.receive().await? {
                Message::Return { value, id } if id == Some(self.last_id) => return Ok(value),
                Message::Error { error, id } if id == Some(self.last_id) => {
                    return Err(QmpError::Refused {
                        command,
                        description: error.desc,
                    });
                }
                // An error without an id is about a line that QEMU could not read: ours.
                Message::Error { error, id: None } => {
                    return Err(QmpError::Refused {
                        command,
                        description: error.desc,
                    });
                }
                Message::Event { event } => tracing::debug!(event, "QEMU"),
                other => tracing::debug!(?other, "QEMU answered something that was not asked"),
            }
        }
    }

    async fn receive(&mut self) -> Result<Message, QmpError> {
        let mut line = Vec::new();
        loop {
            let held = self.stream.fill_buf().await?;
            if held.is_empty() {
                return Err(QmpError::Closed);
            }
            let end = held.iter().position(|&byte| byte == b'\n');
            let taken = end.map_or(held.len(), |end| end + 1);
            if line.len() + taken > MAX_LINE {
                return Err(QmpError::TooLong);
            }
            line.extend_from_slice(&held[..taken]);
            self.stream.consume(taken);
            if end.is_some() {
                break;
            }
        }
        serde_json::from_slice(&line).map_err(|_| {
            let start: String = String::from_utf8_lossy(&line).chars().take(200).collect();
            QmpError::Malformed(start.trim_end().to_owned())
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{BufReader, Lines, ReadHalf, WriteHalf};
    use tokio::net::UnixListener;

    use super::*;

    const GREETING: &str = r#"{"QMP": {"version": {"qemu": {"major": 7}}, "capabilities": ["oob"]}}"#;

    /// The other end: reads what the client sends, and says what the test tells it to.
    struct Fake {
        lines: Lines<BufReader<ReadHalf<UnixStream>>>,
        write: WriteHalf<UnixStream>,
    }

    impl Fake {
        fn new(stream: UnixStream) -> Self {
            let (read, write) = tokio::io::split(stream);
            Self {
                lines: BufReader::new(read).lines(),
                write,
            }
        }

        async fn say(&mut self, line: &str) {
            self.write
                .write_all(format!("{line}\r\n").as_bytes())
                .await
                .unwrap();
        }

        async fn hear(&mut self, command: &str) -> u64 {
            let line = self.lines.next_line().await.unwrap().unwrap();
            let message: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(message["execute"], command);
            message["id"].as_u64().unwrap()
        }

        async fn greet(&mut self) {
            self.say(GREETING).await;
            let id = self.hear("qmp_capabilities").await;
            self.say(&format!(r#"{{"return": {{}}, "id": {id}}}"#)).await;
        }
    }

    async fn pair() -> (UnixStream, Fake) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("qmp.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let client = UnixStream::connect(&path).await.unwrap();
        (client, Fake::new(listener.accept().await.unwrap().0))
    }

    #[tokio::test]
    async fn given_events_and_foreign_replies_when_executing_then_the_own_reply_is_taken() {
        let (client, mut fake) = pair().await;
        let server = async {
            fake.greet().await;
            let id = fake.hear("query-status").await;
            fake.say(r#"{"event": "RESUME", "timestamp": {"seconds": 1, "microseconds": 2}}"#)
                .await;
            fake.say(&format!(
                r#"{{"return": {{"status": "paused"}}, "id": {}}}"#,
                id + 1
            ))
            .await;
            fake.say(&format!(r#"{{"return": {{"status": "running"}}, "id": {id}}}"#))
                .await;
        };
        let client = async { Qmp::negotiate(client).await?.execute("query-status").await };
        let (reply, ()) = tokio::join!(client, server);
        assert_eq!(reply.unwrap()["status"], "running");
    }

    #[tokio::test]
    async fn given_a_refusal_when_executing_then_it_is_told_in_qemus_words() {
        let (client, mut fake) = pair().await;
        let server = async {
            fake.greet().await;
            let id = fake.hear("system_powerdown").await;
            fake.say(&format!(
                r#"{{"error": {{"class": "GenericError", "desc": "no"}}, "id": {id}}}"#
            ))
            .await;
        };
        let client = async { Qmp::negotiate(client).await?.execute("system_powerdown").await };
        let (reply, ()) = tokio::join!(client, server);
        assert_eq!(
            reply.unwrap_err().to_string(),
            "QEMU refused `system_powerdown`: no"
        );
    }

    #[tokio::test]
    async fn given_a_line_without_end_when_negotiating_then_it_is_not_kept() {
        let (client, mut fake) = pair().await;
        let server = async {
            let junk = vec![b' '; 64 * 1024];
            // Ends when the client has hung up.
            while fake.write.write_all(&junk).await.is_ok() {}
        };
        let client = async { Qmp::negotiate(client).await.map(drop) };
        let (error, ()) = tokio::join!(client, server);
        assert!(matches!(error, Err(QmpError::TooLong)), "{error:?}");
    }

    #[tokio::test]
    async fn given_junk_or_an_end_when_negotiating_then_it_is_an_error() {
        let (client, mut fake) = pair().await;
        fake.say("hello").await;
        let error = Qmp::negotiate(client).await.map(drop);
        assert!(matches!(error, Err(QmpError::Malformed(text)) if text == "hello"));

        let (client, fake) = pair().await;
        drop(fake);
        assert!(matches!(
            Qmp::negotiate(client).await.map(drop),
            Err(QmpError::Closed | QmpError::Io(_))
        ));
    }
}
