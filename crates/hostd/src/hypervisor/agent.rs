//! The channel between the host and the agent in a guest: one line a message, as uOS speaks it (docs/uos.md).
//! Over QEMU it is a virtio-serial port, whose socket is connected to; over the others the guest connects
//! by vsock, and is listened for. It has no task of its own: it moves while its owner awaits it.
//!
//! Lost while no daemon is connected: what the guest says meanwhile. The guest says `ready` again to every new
//! connection that it notices. Over virtio-serial one that follows the last within an instant looks the same to it,
//! so there it is also asked.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chv_domain::HypervisorKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use super::instance::{Instance, on_a_blocking_thread};
use super::socket;
use super::spawn::remove_if_there;

/// The virtio-serial port that the guest's agent looks for.
pub(super) const PORT_NAME: &str = "org.chronovisor.agent.0";

/// The longest line taken from a guest, in bytes without its end.
const MAX_LINE: usize = 4096;

/// How long a guest that reads nothing may hold up a message.
const SEND_LIMIT: Duration = Duration::from_secs(2);

/// Between two attempts to connect to a socket that refused.
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);

/// What a guest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromGuest {
    /// It is up; said on every new connection, once or twice, and when its addresses change. What it says of itself is JSON,
    /// as a guest wrote it: not to be believed.
    Ready(String),
    /// It was asked to power off, and does so now.
    Bye,
    /// Anything else.
    Other(String),
}

/// What a host says to a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToGuest {
    /// Power off in an orderly way.
    PowerOff,
}

/// A fault of an agent channel.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The machine's process has ended.
    #[error("the machine is gone")]
    Gone,
    /// The guest's agent has not connected, or does not read.
    #[error("the guest's agent doesn't listen; it may not be up yet")]
    NotListening,
    /// The socket can't be used.
    #[error("the agent channel at {path}: {source}")]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The host's end of one machine's agent channel. One for each machine: a second one takes the place of the first.
#[derive(Debug)]
pub struct AgentChannel {
    instance: Instance,
    way: Way,
    stream: Option<UnixStream>,
    lines: Lines,
}

#[derive(Debug)]
enum Way {
    Connect(PathBuf),
    Listen(PathBuf, UnixListener),
}

/// Listens at `path`, for the hypervisor's own user too. The socket is made where only this daemon writes and then moved:
/// in the hypervisor's own directory, a link could be put in its place before its rights are changed.
fn listen(made: &Path, path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    remove_if_there(made)?;
    let listener = std::os::unix::net::UnixListener::bind(made)?;
    listener.set_nonblocking(true)?;
    std::fs::set_permissions(made, Permissions::from_mode(0o666))?;
    std::fs::rename(made, path)?;
    Ok(listener)
}

impl AgentChannel {
    /// Opens the channel of a machine: right after its launch, so that its first `ready` isn't missed, and again
    /// after it was adopted.
    pub async fn open(instance: &Instance) -> Result<Self, AgentError> {
        let dir = &instance.run_dir;
        let way = match instance.kind {
            HypervisorKind::QemuKvm | HypervisorKind::QemuTcg => Way::Connect(dir.agent_socket()),
            HypervisorKind::CloudHypervisor | HypervisorKind::Firecracker => {
                let path = dir.agent_listener();
                let at = |source| AgentError::Io {
                    path: path.clone(),
                    source,
                };
                let (made, goes_to) = (dir.agent_listener_made(), path.clone());
                let listener = on_a_blocking_thread(move || listen(&made, &goes_to))
                    .await
                    .map_err(at)?;
                Way::Listen(path.clone(), UnixListener::from_std(listener).map_err(at)?)
            }
        };
        Ok(Self {
            instance: instance.clone(),
            way,
            stream: None,
            lines: Lines::default(),
        })
    }

    /// Whether there is a connection. Over QEMU one says nothing about the guest; over cloud-hypervisor its agent
    /// made it.
    pub const fn is_connected(&self) -> bool {
        self.stream.is_some()
    }

    /// The guest's next message. Waits for one as long as it takes, and connects again whenever the connection is
    /// lost. May be dropped and called again without losing a message.
    ///
    /// # Errors
    /// [`AgentError::Gone`] when there will be no more, because the machine's process has ended.
    pub async fn next(&mut self) -> Result<FromGuest, AgentError> {
        loop {
            if let Some(line) = self.lines.next() {
                return Ok(parse(&line));
            }
            let Some(stream) = &mut self.stream else {
                self.stream = Some(self.connect().await?);
                continue;
            };
            let mut held = [0; 1024];
            let read = match &self.way {
                Way::Connect(_) => stream.read(&mut held).await,
                // An agent that was started again connects anew, before its old connection is seen to end.
                Way::Listen(_, listener) => tokio::select! {
                    read = stream.read(&mut held) => read,
                    Ok((newer, _)) = listener.accept() => {
                        self.replace(Some(newer));
                        continue;
                    }
                },
            };
            match read {
                Ok(length @ 1..) => self.lines.push(&held[..length]),
                Ok(0) | Err(_) => self.replace(None),
            }
        }
    }

    /// Says something to the guest; waits up to two seconds for a connection, and for the guest to read. That it
    /// was written says nothing about its being heard.
    ///
    /// # Errors
    /// [`AgentError::NotListening`] without a connection, or when the guest reads nothing; [`AgentError::Gone`]
    /// when the machine's process has ended.
    pub async fn send(&mut self, message: ToGuest) -> Result<(), AgentError> {
        let line: &[u8] = match message {
            ToGuest::PowerOff => b"poweroff\n",
        };
        match tokio::time::timeout(SEND_LIMIT, self.write(line)).await {
            Ok(sent) => sent,
            Err(_) => {
                // Part of the line may have been written: only a new connection starts at the start of a line.
                self.replace(None);
                Err(AgentError::NotListening)
            }
        }
    }

    async fn write(&mut self, line: &[u8]) -> Result<(), AgentError> {
        if self.stream.is_none() {
            self.stream = Some(self.connect().await?);
        }
        let Some(stream) = &mut self.stream else {
            return Err(AgentError::NotListening);
        };
        let written = stream.write_all(line).await;
        if written.is_err() {
            self.replace(None);
        }
        written.map_err(|_| AgentError::NotListening)
    }

    fn replace(&mut self, stream: Option<UnixStream>) {
        self.stream = stream;
        self.lines.cut();
    }

    async fn connect(&self) -> Result<UnixStream, AgentError> {
        let connected = async {
            match &self.way {
                Way::Listen(path, listener) => {
                    listener
                        .accept()
                        .await
                        .map(|(stream, _)| stream)
                        .map_err(|source| AgentError::Io {
                            path: path.clone(),
                            source,
                        })
                }
                Way::Connect(path) => loop {
                    match greeted(path).await {
                        Ok(stream) => return Ok(stream),
                        Err(error) => tracing::debug!(path = %path.display(), %error, "no agent channel yet"),
                    }
                    tokio::time::sleep(RECONNECT_PAUSE).await;
                },
            }
        };
        tokio::select! {
            connected = connected => connected,
            ended = self.instance.process.ended() => match ended {
                Ok(()) => Err(AgentError::Gone),
                Err(source) => Err(AgentError::Io { path: self.instance.run_dir.path().to_owned(), source }),
            },
        }
    }
}

/// Connects, and asks the guest to say `ready`: at once when it is up, else when it is.
async fn greeted(path: &Path) -> io::Result<UnixStream> {
    let mut stream = socket::connect(path).await?;
    // A new connection has room for this, whether the guest reads or not.
    stream.write_all(b"status\n").await?;
    Ok(stream)
}

fn parse(line: &str) -> FromGuest {
    match line.split_once(' ') {
        Some(("ready", json)) => FromGuest::Ready(json.to_owned()),
        None if line == "bye" => FromGuest::Bye,
        _ => FromGuest::Other(line.to_owned()),
    }
}

/// Cuts what is received into lines. A line that is too long is dropped.
#[derive(Debug, Default)]
struct Lines {
    received: Vec<u8>,
    dropping: bool,
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
    }

    fn next(&mut self) -> Option<String> {
        loop {
            let Some(end) = self.received.iter().position(|&byte| byte == b'\n') else {
                if self.received.len() > MAX_LINE {
                    self.received.clear();
                    self.dropping = true;
                }
                return None;
            };
            let line: Vec<u8> = self.received.drain(..=end).collect();
            let text = String::from_utf8_lossy(&line).trim().to_owned();
            if !std::mem::take(&mut self.dropping) && line.len() <= MAX_LINE + 1 && !text.is_empty() {
                return Some(text);
            }
        }
    }

    /// Forgets the line that was being received: its rest won't come.
    fn cut(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hypervisor::{Process, RunDir};

    #[test]
    fn given_lines_then_they_are_read_as_documented() {
        assert_eq!(
            parse(r#"ready {"a":1}"#),
            FromGuest::Ready(r#"{"a":1}"#.to_owned())
        );
        assert_eq!(parse("bye"), FromGuest::Bye);
        assert_eq!(parse("error what?"), FromGuest::Other("error what?".to_owned()));
        assert_eq!(parse("ready"), FromGuest::Other("ready".to_owned()));
    }

    proptest! {
        #[test]
        fn given_a_stream_cut_anywhere_then_the_lines_are_the_same(
            words in proptest::collection::vec("[a-z]{1,9}", 0..9), cut in 1usize..7,
        ) {
            let stream = words.iter().map(|word| format!("{word}\r\n")).collect::<String>();
            let mut lines = Lines::default();
            let mut read = Vec::new();
            for piece in stream.as_bytes().chunks(cut) {
                lines.push(piece);
                read.extend(std::iter::from_fn(|| lines.next()));
            }
            prop_assert_eq!(read, words);
        }

        #[test]
        fn given_a_flood_without_an_end_then_little_is_kept_and_the_next_line_is_read(
            floods in proptest::collection::vec(1usize..3000, 4..20),
        ) {
            let mut lines = Lines::default();
            for flood in &floods {
                lines.push(&vec![b'x'; *flood]);
                prop_assert_eq!(lines.next(), None);
                prop_assert!(lines.received.len() <= MAX_LINE);
            }
            lines.push(b"\nbye\n");
            let total: usize = floods.iter().sum();
            let first = lines.next();
            prop_assert_eq!(first.as_deref() == Some("bye"), total > MAX_LINE);
        }
    }

    /// A channel of a cloud-hypervisor machine whose process is this test's.
    async fn listening() -> (tempfile::TempDir, AgentChannel) {
        let dir = tempfile::tempdir().unwrap();
        let instance = Instance {
            vm: "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap(),
            kind: HypervisorKind::CloudHypervisor,
            run_dir: RunDir::new(dir.path()).unwrap(),
            process: Process::of(std::process::id()).unwrap().unwrap(),
        };
        std::fs::create_dir(instance.run_dir.own()).unwrap();
        let channel = AgentChannel::open(&instance).await.unwrap();
        (dir, channel)
    }

    #[tokio::test]
    async fn given_an_agent_that_connects_anew_then_the_newer_connection_is_the_channel() {
        let (dir, mut channel) = listening().await;
        let path = dir.path().join("own/vsock_1024");

        let mut first = UnixStream::connect(&path).await.unwrap();
        first.write_all(b"ready {}\nhalf a li").await.unwrap();
        assert_eq!(channel.next().await.unwrap(), FromGuest::Ready("{}".to_owned()));

        let mut second = UnixStream::connect(&path).await.unwrap();
        second.write_all(b"ready {\"second\":true}\n").await.unwrap();
        assert_eq!(
            channel.next().await.unwrap(),
            FromGuest::Ready("{\"second\":true}".to_owned())
        );

        channel.send(ToGuest::PowerOff).await.unwrap();
        let mut heard = [0; 9];
        second.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"poweroff\n");
    }

    #[tokio::test]
    async fn given_a_guest_without_an_agent_then_saying_something_ends_after_a_while() {
        let (_dir, mut channel) = listening().await;
        assert!(matches!(
            channel.send(ToGuest::PowerOff).await,
            Err(AgentError::NotListening)
        ));
    }

    #[tokio::test]
    async fn given_a_socket_left_behind_by_an_earlier_daemon_then_it_is_replaced() {
        let (dir, channel) = listening().await;
        let instance = channel.instance.clone();
        drop(channel);
        assert!(dir.path().join("own/vsock_1024").exists());
        AgentChannel::open(&instance).await.unwrap();
    }

    #[tokio::test]
    async fn given_a_machine_that_ends_then_there_is_nothing_more_to_wait_for() {
        let (_dir, mut channel) = listening().await;
        let mut child = std::process::Command::new("true").spawn().unwrap();
        channel.instance.process = Process::of(child.id()).unwrap().unwrap();
        assert!(matches!(channel.next().await, Err(AgentError::Gone)));
        child.wait().unwrap();
    }
}
