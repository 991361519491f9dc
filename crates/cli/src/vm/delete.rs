//! `chv vm delete`: remove a VM.

use std::io::Write;

use chv_domain::Command;

use super::reference::Reference;
use crate::change::{Change, Expect};
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
    /// Its name, project/name, or id.
    #[arg(value_name = "VM")]
    vm: Reference,
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
        let vm = self.vm.resolve(session.project());
        let command = Command::DeleteVm {
            vm: vm.clone(),
            force: self.force,
        };
        Change::of_vm("deleting", &vm, command)
            .expecting(self.expect)
            .until(Goal::Deleted)
            .make(session, self.waiting, to)
            .await
    }
}
