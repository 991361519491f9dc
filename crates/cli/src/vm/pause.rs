//! `chv vm pause`: hold a VM.

use std::io::Write;

use chv_domain::{Command, VmRef};

use super::reference::Reference;
use crate::change::{self, Change, Expect};
use crate::cli::Waiting;
use crate::failure::Failure;
use crate::session::Session;
use crate::wait::Goal;

/// Hold a VM: its processors stand still, and its memory stays as it is, until it is resumed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  chv vm pause web")]
pub(crate) struct Pause {
    /// Its name, project/name, or id; several at once where more are given.
    #[arg(value_name = "VM", required = true)]
    vms: Vec<Reference>,
    #[command(flatten)]
    expect: Expect,
    #[command(flatten)]
    waiting: Waiting,
}

impl Pause {
    pub(super) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        let change = |vm: &VmRef| {
            Change::of_vm("pausing", vm, Command::PauseVm { vm: vm.clone() }).until(Goal::Paused)
        };
        change::make_each(session, &self.vms, self.expect, self.waiting, to, change).await
    }
}
