//! `chv vm reset`: boot a VM anew at once.

use std::io::Write;

use chv_domain::{Command, VmRef};

use super::reference::Reference;
use crate::change::{self, Change, Expect};
use crate::cli::Waiting;
use crate::failure::Failure;
use crate::session::Session;
use crate::wait::{Goal, Until};

/// Boot a VM anew at once, as by its reset button. What its guest has not written to its disk is lost.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chv vm reset web
  chv vm reset web --for ready")]
pub(crate) struct Reset {
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

impl Reset {
    pub(super) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        let goal = Goal::from(self.until);
        let change =
            |vm: &VmRef| Change::of_vm("resetting", vm, Command::ResetVm { vm: vm.clone() }).until(goal);
        change::make_each(session, &self.vms, self.expect, self.waiting, to, change).await
    }
}
