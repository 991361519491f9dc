//! A machine's serial console while a daemon runs: takes what people type to the guest, and keeps the guest's
//! output flowing. QEMU and Firecracker write the console log by themselves, also while no daemon runs, and Firecracker
//! reads a FIFO; for cloud-hypervisor the
//! pump writes it, and what the guest says while there is none waits in cloud-hypervisor (its last MiB).

use std::io;
use std::time::Duration;

use bytes::Bytes;
use chv_domain::HypervisorKind;
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::net::unix::pipe::{self, Sender};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::instance::Instance;
use super::process::Process;
use super::socket;

/// Messages of input that may wait for a guest that doesn't read.
const INPUT_BOUND: usize = 64;

/// How much is read from the guest at once, in bytes.
const CHUNK: usize = 16 * 1024;

/// Carries one machine's console. One for each machine: its hypervisor speaks to one client at a time.
#[derive(Debug)]
pub struct ConsolePump {
    way: Way,
    input: mpsc::Receiver<Bytes>,
}

/// How a console is reached.
#[derive(Debug)]
enum Way {
    /// By a socket, both ways. What comes from it may have to be logged.
    Socket(UnixStream, Option<File>),
    /// By a FIFO into the guest, whose process logs what it writes.
    Fifo(Sender, Process),
}

/// Types on a machine's console. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ConsoleInput(mpsc::Sender<Bytes>);

/// Nothing carries the console any more: its machine has ended, or its pump has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the machine's console is closed")]
pub struct ConsoleClosed;

impl ConsoleInput {
    /// Types `bytes`. Waits while the guest has not taken what came before: the caller sets a limit.
    pub async fn send(&self, bytes: Bytes) -> Result<(), ConsoleClosed> {
        self.0.send(bytes).await.map_err(|_| ConsoleClosed)
    }
}

impl ConsolePump {
    /// Connects to the console of a machine, after its launch or its adoption.
    pub async fn open(instance: &Instance) -> io::Result<(Self, ConsoleInput)> {
        let dir = &instance.run_dir;
        let way = match instance.kind {
            HypervisorKind::QemuKvm | HypervisorKind::QemuTcg => {
                Way::Socket(socket::connect(&dir.console_socket()).await?, None)
            }
            HypervisorKind::CloudHypervisor => {
                let stream = socket::connect(&dir.console_socket()).await?;
                let log = OpenOptions::new()
                    .create(true)
                    .append(true)
                    .custom_flags(libc::O_NOFOLLOW)
                    .open(dir.console_log())
                    .await?;
                Way::Socket(stream, Some(log))
            }
            HypervisorKind::Firecracker => {
                let fifo = pipe::OpenOptions::new().open_sender(dir.console_input())?;
                Way::Fifo(fifo, instance.process)
            }
        };
        let (sender, input) = mpsc::channel(INPUT_BOUND);
        Ok((Self { way, input }, ConsoleInput(sender)))
    }

    /// Carries the console until the hypervisor closes it or `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) -> io::Result<()> {
        match self.way {
            Way::Socket(stream, log) => {
                let (read, write) = stream.into_split();
                tokio::select! {
                    () = stop.cancelled() => Ok(()),
                    done = output(read, log) => done,
                    failed = typing(write, self.input) => failed,
                }
            }
            Way::Fifo(fifo, process) => tokio::select! {
                () = stop.cancelled() => Ok(()),
                ended = process.ended() => ended,
                failed = typing(fifo, self.input) => failed,
            },
        }
    }
}

/// Between two looks at a log for more.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What a guest writes on its console, for one who listens from its launch on, and types nothing.
#[derive(Debug)]
pub(crate) enum ConsoleOutput {
    /// From a socket.
    Socket(UnixStream),
    /// From a log that is written to.
    Log(File),
}

impl ConsoleOutput {
    /// Of a machine that was just launched.
    pub(crate) async fn open(instance: &Instance) -> io::Result<Self> {
        let dir = &instance.run_dir;
        Ok(match instance.kind {
            HypervisorKind::Firecracker => {
                let mut options = OpenOptions::new();
                let options = options.read(true).custom_flags(libc::O_NOFOLLOW);
                Self::Log(options.open(dir.console_log()).await?)
            }
            _ => Self::Socket(socket::connect(&dir.console_socket()).await?),
        })
    }

    /// Reads what there is next, and waits for it; 0 when the console is closed, which a log never is.
    pub(crate) async fn read(&mut self, chunk: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Socket(stream) => stream.read(chunk).await,
            Self::Log(file) => loop {
                match file.read(chunk).await? {
                    0 => tokio::time::sleep(LOOK_AGAIN).await,
                    length => return Ok(length),
                }
            },
        }
    }
}

/// Takes what the guest writes, until the console is closed.
async fn output(mut console: OwnedReadHalf, mut log: Option<File>) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let length = console.read(&mut chunk).await?;
        if length == 0 {
            return Ok(());
        }
        if let Some(log) = &mut log {
            log.write_all(&chunk[..length]).await?;
            log.flush().await?;
        }
    }
}

/// Gives the guest what is typed. Ends with a fault only: that nobody types any more doesn't close a console.
async fn typing(mut console: impl AsyncWrite + Unpin, mut input: mpsc::Receiver<Bytes>) -> io::Result<()> {
    while let Some(bytes) = input.recv().await {
        console.write_all(&bytes).await?;
    }
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypervisor::{Process, RunDir};
    use tokio::net::UnixListener;

    fn directory() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("own")).unwrap();
        dir
    }

    fn instance(dir: &tempfile::TempDir, kind: HypervisorKind) -> Instance {
        Instance {
            vm: "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap(),
            kind,
            run_dir: RunDir::new(dir.path()).unwrap(),
            process: Process::of(std::process::id()).unwrap().unwrap(),
        }
    }

    #[tokio::test]
    async fn given_cloud_hypervisor_then_output_is_appended_to_the_log_and_input_reaches_the_guest() {
        let dir = directory();
        std::fs::write(dir.path().join("own/console.log"), "before ").unwrap();
        let listener = UnixListener::bind(dir.path().join("own/console.sock")).unwrap();
        let (pump, input) = ConsolePump::open(&instance(&dir, HypervisorKind::CloudHypervisor))
            .await
            .unwrap();
        let (mut guest, _) = listener.accept().await.unwrap();

        let guest = async move {
            guest.write_all(b"hello").await.unwrap();
            input.send(Bytes::from_static(b"typed")).await.unwrap();
            let mut heard = [0; 5];
            guest.read_exact(&mut heard).await.unwrap();
            assert_eq!(&heard, b"typed");
            drop(guest);
            input
        };
        let (input, done) = tokio::join!(guest, pump.run(CancellationToken::new()));
        done.unwrap();
        assert_eq!(
            std::fs::read_to_string(dir.path().join("own/console.log")).unwrap(),
            "before hello"
        );
        assert_eq!(input.send(Bytes::new()).await, Err(ConsoleClosed));
    }

    #[tokio::test]
    async fn given_qemu_which_logs_by_itself_then_the_pump_writes_nothing_and_stops_when_told() {
        let dir = directory();
        let listener = UnixListener::bind(dir.path().join("own/console.sock")).unwrap();
        let (pump, _input) = ConsolePump::open(&instance(&dir, HypervisorKind::QemuTcg))
            .await
            .unwrap();
        let (mut guest, _) = listener.accept().await.unwrap();
        guest.write_all(b"hello").await.unwrap();

        let stop = CancellationToken::new();
        let (done, ()) = tokio::join!(pump.run(stop.clone()), async { stop.cancel() });
        done.unwrap();
        assert!(!dir.path().join("own/console.log").exists());
    }
}
