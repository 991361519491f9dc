//! `chv console`: a VM's serial console, as its host has it. Reading asks for what comes after an offset, so
//! that neither a host daemon's restart nor a lost connection loses a byte.

mod escape;
mod keyboard;
mod reader;
mod terminal;

use std::io::{IsTerminal, Write};
use std::task::Poll;
use std::time::{Duration, Instant};

use chv_domain::{HostName, VmId, VmRef};
use chv_proto::client::Client;
use chv_proto::subject::Audience;
use chv_proto::v1;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::session::{Session, no_vm, unfit};
use crate::vm::reference::Reference;
use crate::wait::{Goal, Progress, Target, all};

use escape::Escape;
use keyboard::Keyboard;
use reader::{Read, Reader};
use terminal::Raw;

/// What a person who comes late sees of what was before.
const SHOWN_BEFORE: u64 = 4096;
/// How long a ready guest's console is silent before all of it is taken to be there.
const QUIET: Duration = Duration::from_millis(300);
/// How long the last keys may take to be sent after leaving.
const LAST_KEYS: Duration = Duration::from_secs(1);
/// The largest write that a host takes.
const WRITE: usize = 4096;

/// Talk to a VM's serial console; Ctrl-a t leaves.
///
/// Off a terminal, and with --read-only, the output is copied and nothing is typed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chv console hello
  chv console hello --until-ready --timeout 2m      until the guest says that it is ready
  chv console hello --read-only --tail 100000 > log")]
pub(crate) struct Console {
    /// Its name, project/name, or id.
    #[arg(value_name = "VM")]
    vm: Reference,
    /// Only show; type nothing.
    #[arg(long)]
    read_only: bool,
    /// Begin this many bytes before the end; if not given, at the beginning off a terminal and with
    /// --until-ready, and 4096 bytes before the end otherwise.
    #[arg(long, value_name = "BYTES")]
    tail: Option<u64>,
    /// Show its output until its guest says that it is ready; ends with 6 when that takes over --timeout.
    #[arg(long)]
    until_ready: bool,
}

impl Console {
    pub(crate) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        let named = self.vm.resolve(session.project());
        let Some((vm, seen)) = session.find_vm(&named, Audience::Any, None).await? else {
            return Err(no_vm(&named));
        };
        let id: VmId = vm.id.parse().map_err(|_| unfit())?;
        let host: HostName = vm.host.parse().map_err(|_| {
            Failure::new(
                Exit::Rejected,
                format!("VM {} is on no host, so it has no console", self.vm),
            )
        })?;
        let interactive = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        let interactive = interactive && !self.until_ready;
        let tail = self.tail.or(interactive.then_some(SHOWN_BEFORE));
        let reader = Reader::new(session.client().await?, host.clone(), id, seen, tail);
        if self.until_ready {
            let target = Target {
                index: 0,
                name: format!("{}/{}", vm.project, vm.name),
                vm: id,
                goal: Goal::Ready,
                after: seen,
            };
            return until_ready(session, reader, target, to).await;
        }
        if interactive {
            return Talk {
                client: session.client().await?,
                host,
                vm: id,
                read_only: self.read_only,
            }
            .run(reader, to)
            .await;
        }
        copy(session, &named, reader, to).await
    }
}

/// Copies output until the VM does not run any more.
async fn copy(session: &Session, vm: &VmRef, mut reader: Reader, to: &mut impl Write) -> Result<(), Failure> {
    let mut ran = false;
    loop {
        tokio::select! {
            read = reader.next() => match read? {
                Read::Output(bytes) => {
                    to.write_all(&bytes)?;
                    to.flush()?;
                }
                Read::Silent { running: true } => ran = true,
                // One that is only just being started has not run yet.
                Read::Silent { running: false } if !ran && meant_to_run(session, vm).await? => {}
                Read::Silent { running: false } => return Ok(()),
                Read::Trouble(why) => eprintln!("{why}"),
            },
            () = session.interrupt().heard() => return Ok(()),
        }
    }
}

async fn meant_to_run(session: &Session, vm: &VmRef) -> Result<bool, Failure> {
    let found = session.find_vm(vm, Audience::Any, None).await?;
    Ok(found.is_some_and(|(vm, _)| vm.status == "starting" || vm.status == "blocked"))
}

/// Copies output until the guest is ready, and then what it had written until then.
async fn until_ready(
    session: &Session,
    mut reader: Reader,
    target: Target,
    to: &mut impl Write,
) -> Result<(), Failure> {
    let deadline = Instant::now() + session.patience(Duration::from_secs(60));
    let (quiet, name) = (&mut Progress::quiet(), target.name.clone());
    let told = &mut |_: &Target, _: String| Ok(());
    let mut ready = std::pin::pin!(all(session, vec![target], deadline, quiet, told));
    loop {
        tokio::select! {
            read = reader.next() => show(read?, to)?,
            ready = &mut ready => {
                ready?;
                break;
            }
        }
    }
    // What the guest wrote until then comes on another way than its word that it is ready, so a little later.
    reader.hold(QUIET);
    const CATCH_UP: Duration = Duration::from_secs(2);
    while let Ok(Ok(Read::Output(bytes))) = tokio::time::timeout(CATCH_UP, reader.next()).await {
        to.write_all(&bytes)?;
    }
    to.flush()?;
    eprintln!("{name} is ready");
    Ok(())
}

fn show(read: Read, to: &mut impl Write) -> Result<(), Failure> {
    match read {
        Read::Output(bytes) => {
            to.write_all(&bytes)?;
            to.flush()?;
        }
        Read::Trouble(why) => tracing::info!("{why}"),
        Read::Silent { .. } => {}
    }
    Ok(())
}

/// A person at a terminal.
struct Talk {
    client: Client,
    host: HostName,
    vm: VmId,
    read_only: bool,
}

impl Talk {
    async fn run(self, mut reader: Reader, to: &mut impl Write) -> Result<(), Failure> {
        let broken = |error: std::io::Error| {
            Failure::new(
                Exit::Internal,
                format!("can't put the terminal into raw mode: {error}"),
            )
        };
        let access = if self.read_only { "; read only" } else { "" };
        writeln!(
            to,
            "console of {} on {}; {}{access}",
            self.vm,
            self.host,
            escape::HELP
        )?;
        to.flush()?;
        // Before the terminal is changed: a signal must not end the program without putting it right. A Ctrl-C
        // that is typed is a key, but one may come from elsewhere.
        let mut signals = [
            SignalKind::hangup(),
            SignalKind::terminate(),
            SignalKind::interrupt(),
        ]
        .into_iter()
        .map(signal)
        .collect::<Result<Vec<Signal>, _>>()
        .map_err(broken)?;
        let raw = Raw::enter().map_err(broken)?;
        let mut keyboard = Keyboard::listen().map_err(broken)?;
        let (type_, typed) = mpsc::channel(64);
        let (show, mut shown) = mpsc::channel(4);
        let mut typing = JoinSet::new();
        typing.spawn(type_in(self.client, self.host, self.vm, typed, show.clone()));
        let mut tasks = JoinSet::new();
        // In a task of its own: a request that is given up at every key would be left with the host.
        tasks.spawn(async move { while show.send(reader.next().await).await.is_ok() {} });
        let mut escape = Escape::default();
        let mut running = true;
        let ended = loop {
            tokio::select! {
                Some(read) = shown.recv() => match read {
                    Ok(Read::Output(bytes)) => {
                        to.write_all(&bytes)?;
                        to.flush()?;
                    }
                    Ok(Read::Silent { running: now }) => {
                        if running && !now {
                            notice(to, "the VM does not run; Ctrl-a t leaves, or wait for it")?;
                        }
                        running = now;
                    }
                    Ok(Read::Trouble(why)) => notice(to, &why)?,
                    Err(failure) => break Err(failure),
                },
                keys = keyboard.next() => {
                    let Some(keys) = keys else { break Ok(()) };
                    let typed = escape.take(&keys);
                    if !self.read_only && !typed.bytes.is_empty() && type_.try_send(typed.bytes).is_err() {
                        notice(to, "the console takes nothing now; what was typed is dropped")?;
                    }
                    if typed.leave {
                        break Ok(());
                    }
                }
                () = any(&mut signals) => break Ok(()),
            }
        };
        // What was typed before leaving is still sent; with nobody to hear of trouble, that ends it.
        drop((type_, shown));
        let _ = tokio::time::timeout(LAST_KEYS, typing.join_next()).await;
        typing.shutdown().await;
        tasks.shutdown().await;
        drop(raw);
        writeln!(to)?;
        to.flush()?;
        ended
    }
}

/// Resolves once one of the signals came.
async fn any(signals: &mut [Signal]) {
    std::future::poll_fn(|context| {
        let came = signals
            .iter_mut()
            .any(|signal| signal.poll_recv(context).is_ready());
        if came { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// In raw mode a line needs its carriage return.
fn notice(to: &mut impl Write, text: &str) -> Result<(), Failure> {
    write!(to, "\r\n[chv: {}]\r\n", crate::output::printable(text))?;
    Ok(to.flush()?)
}

/// Sends what was typed, in order. Keys that can't be delivered are dropped: typed a minute late, they would do
/// harm.
async fn type_in(
    client: Client,
    host: HostName,
    vm: VmId,
    mut typed: mpsc::Receiver<Vec<u8>>,
    tell: mpsc::Sender<Result<Read, Failure>>,
) {
    while let Some(bytes) = typed.recv().await {
        for data in bytes.chunks(WRITE) {
            let write = v1::ConsoleWrite {
                vm: vm.to_string(),
                data: data.to_vec(),
            };
            let trouble = match client.console_write(&host, write).await {
                Ok(v1::ConsoleWritten { refused: None }) => continue,
                Ok(v1::ConsoleWritten {
                    refused: Some(refused),
                }) => refused.message,
                Err(error) => error.to_string(),
            };
            let trouble = format!("not typed: {trouble}");
            if tell.send(Ok(Read::Trouble(trouble))).await.is_err() {
                return;
            }
        }
    }
}
