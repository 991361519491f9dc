//! `chv vm resize`: more or fewer processors, more or less memory.

use std::io::Write;

use chv_domain::{Memory, Vcpus};

use super::reference::Reference;
use super::respec;
use crate::change::Expect;
use crate::cli::Waiting;
use crate::failure::Failure;
use crate::session::Session;

/// Give a VM more or fewer processors, or more or less memory.
///
/// It is done at once where the VM runs and has room for it: up to `cpu.max` processors, and up to
/// `memory.hotplug.size` of memory beyond what it booted with. Where it has not, it is done at its next start, and said so.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chv vm resize web --vcpus 4
  chv vm resize web --memory 2GiB
  chv vm resize web --balloon 256MiB      what the guest gives back of its memory")]
pub(crate) struct Resize {
    /// Its name, project/name, or id.
    #[arg(value_name = "VM")]
    vm: Reference,
    /// Virtual CPUs.
    #[arg(long, value_name = "N", value_parser = vcpus, required_unless_present_any = ["memory", "balloon"])]
    vcpus: Option<Vcpus>,
    /// Memory, such as 512MiB or 2GiB.
    #[arg(long, value_name = "AMOUNT")]
    memory: Option<Memory>,
    /// How much of its memory the guest gives back through its balloon, such as 256MiB; 0 for none.
    #[arg(long, value_name = "AMOUNT", value_parser = given_back)]
    balloon: Option<GivenBack>,
    #[command(flatten)]
    expect: Expect,
    #[command(flatten)]
    waiting: Waiting,
}

/// An amount of memory, or none.
#[derive(Debug, Clone, Copy)]
struct GivenBack(Option<Memory>);

impl Resize {
    pub(super) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        let change = respec::of(session, &self.vm, self.expect, |mut spec| {
            if let Some(vcpus) = self.vcpus {
                spec.cpu.vcpus = vcpus;
            }
            if let Some(memory) = self.memory {
                spec.memory.size = memory;
            }
            if let Some(GivenBack(size)) = self.balloon {
                spec.memory.balloon.get_or_insert_default().size = size;
            }
            Ok(spec)
        });
        change.await?.make(session, self.waiting, to).await
    }
}

fn given_back(text: &str) -> Result<GivenBack, String> {
    match text {
        "0" => Ok(GivenBack(None)),
        text => text
            .parse()
            .map(|size| GivenBack(Some(size)))
            .map_err(|error: chv_domain::units::MemoryError| error.to_string()),
    }
}

pub(super) fn vcpus(text: &str) -> Result<Vcpus, String> {
    let count = text
        .parse()
        .map_err(|_| "write a whole number from 1".to_owned())?;
    Vcpus::new(count).map_err(|error| error.to_string())
}
