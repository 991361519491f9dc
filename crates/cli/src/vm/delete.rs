//! `chv vm delete`: remove a VM.

use std::io::Write;

use chv_domain::{Command, VmRef};

use super::reference::Reference;
use crate::change::{self, Change, Expect};
use crate::cli::Waiting;
use crate::failure::Failure;
use crate::session::Session;
use crate::wait::Goal;

/// Remove a VM and what its host made for it. Image files that were there before stay.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chv vm delete web
  chv vm delete web --force        also when it is meant to run")]
pub(crate) struct Delete {
    /// Its name, project/name, or id; several at once where more are given.
    #[arg(value_name = "VM", required = true)]
    vms: Vec<Reference>,
    /// Also when it is meant to run; it is killed then.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    expect: Expect,
    #[command(flatten)]
    waiting: Waiting,
}

impl Delete {
    pub(super) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        let change = |vm: &VmRef| {
            let command = Command::DeleteVm {
                vm: vm.clone(),
                force: self.force,
            };
            Change::of_vm("deleting", vm, command).until(Goal::Deleted)
        };
        change::make_each(session, &self.vms, self.expect, self.waiting, to, change).await
    }
}
