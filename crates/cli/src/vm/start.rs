//! `chv vm start`: let VMs run.

use std::io::Write;

use chv_domain::{Command, VmRef};

use super::reference::Reference;
use crate::change::{self, Change, Expect};
use crate::cli::Waiting;
use crate::failure::Failure;
use crate::session::Session;
use crate::wait::{Goal, Until};

/// Let a VM run. One that runs already is left as it is.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chv vm start web
  chv vm start shop/web --for ready --timeout 5m")]
pub(crate) struct Start {
    /// Its name, project/name, or id; several at once where more are given.
    #[arg(value_name = "VM", required = true)]
    vms: Vec<Reference>,
    #[command(flatten)]
    until: Until,
    #[command(flatten)]
    expect: Expect,
    #[command(flatten)]
    waiting: Waiting,
}

impl Start {
    pub(super) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        let goal = Goal::from(self.until);
        let change =
            |vm: &VmRef| Change::of_vm("starting", vm, Command::StartVm { vm: vm.clone() }).until(goal);
        change::make_each(session, &self.vms, self.expect, self.waiting, to, change).await
    }
}
