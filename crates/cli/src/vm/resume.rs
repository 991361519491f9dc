//! `chv vm resume`: let a VM run on.

use std::io::Write;

use chv_domain::{Command, VmRef};

use super::reference::Reference;
use crate::change::{self, Change, Expect};
use crate::cli::Waiting;
use crate::failure::Failure;
use crate::session::Session;
use crate::wait::Goal;

/// Let a VM run on that was paused.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  chv vm resume web")]
pub(crate) struct Resume {
    /// Its name, project/name, or id; several at once where more are given.
    #[arg(value_name = "VM", required = true)]
    vms: Vec<Reference>,
    #[command(flatten)]
    expect: Expect,
    #[command(flatten)]
    waiting: Waiting,
}

impl Resume {
    pub(super) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        let change = |vm: &VmRef| {
            Change::of_vm("resuming", vm, Command::ResumeVm { vm: vm.clone() }).until(Goal::Running)
        };
        change::make_each(session, &self.vms, self.expect, self.waiting, to, change).await
    }
}
