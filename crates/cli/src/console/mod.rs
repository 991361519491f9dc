//! `chv console`: a VM's serial console, as its host has it. Reading asks for what comes after an offset, so
//! that neither a host daemon's restart nor a lost connection loses a byte.

mod escape;
mod keyboard;
mod reader;
mod talk;
mod terminal;

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use chv_domain::{HostName, VmId, VmRef};
use chv_proto::subject::Audience;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::session::{Session, no_vm, unfit};
use crate::vm::reference::Reference;
use crate::wait::{Goal, Progress, Target, all};

use reader::{Read, Reader};
use talk::Talk;

/// What a person who comes late sees of what was before.
const SHOWN_BEFORE: u64 = 4096;
/// How long a ready guest's console is silent before all of it is taken to be there.
const QUIET: Duration = Duration::from_millis(300);

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
