//! A person at a terminal: what the guest writes is shown, what is typed is sent, and the terminal is put right
//! at the end, however it comes. Where output comes from is the reader's business.

use std::io::Write;
use std::task::Poll;
use std::time::Duration;

use chv_domain::{HostName, VmId};
use chv_proto::client::Client;
use chv_proto::v1;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::escape::{self, Escape};
use super::keyboard::Keyboard;
use super::reader::{Read, Reader};
use super::terminal::Raw;
use crate::exit::Exit;
use crate::failure::Failure;

/// How long the last keys may take to be sent after leaving.
const LAST_KEYS: Duration = Duration::from_secs(1);
/// The largest write that a host takes.
const WRITE: usize = 4096;

/// A person at a terminal.
pub(super) struct Talk {
    pub(super) client: Client,
    pub(super) host: HostName,
    pub(super) vm: VmId,
    pub(super) read_only: bool,
}

impl Talk {
    /// Shows and types until the person leaves, or a signal ends it.
    pub(super) async fn run(self, mut reader: Reader, to: &mut impl Write) -> Result<(), Failure> {
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
