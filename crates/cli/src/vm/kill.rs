//! `chv vm kill`: stop a VM at once.

use std::io::Write;

use chv_domain::{Command, VmRef};

use super::reference::Reference;
use crate::change::{self, Change, Expect};
use crate::cli::Waiting;
use crate::failure::Failure;
use crate::session::Session;
use crate::wait::Goal;

/// Stop a VM at once, as if its cord were pulled. What its guest has not written to its disk is lost.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  chv vm kill web")]
pub(crate) struct Kill {
    /// Its name, project/name, or id; several at once where more are given.
    #[arg(value_name = "VM", required = true)]
    vms: Vec<Reference>,
    #[command(flatten)]
    expect: Expect,
    #[command(flatten)]
    waiting: Waiting,
}

impl Kill {
    pub(super) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        let change = |vm: &VmRef| {
            Change::of_vm("killing", vm, Command::KillVm { vm: vm.clone() }).until(Goal::Stopped)
        };
        change::make_each(session, &self.vms, self.expect, self.waiting, to, change).await
    }
}
