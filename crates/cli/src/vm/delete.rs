//! `chv vm delete`: remove a VM.

use std::io::Write;

use chv_domain::{Command, KeepFor, VmRef};

use super::reference::Reference;
use crate::change::{self, Change, Expect};
use crate::cli::Waiting;
use crate::failure::Failure;
use crate::session::Session;
use crate::wait::Goal;

/// Delete a VM. It is stopped, gives its name up, and can be undeleted for a time; its host keeps what it made for it, and
/// its place there is its own. Then all of that is removed. Image files that were there before stay.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chv vm delete web
  chv vm delete web --force        also when it is meant to run
  chv vm delete web --keep 7d      it can be undeleted for a week
  chv vm delete web --now          it can't be undeleted")]
pub(crate) struct Delete {
    /// Its name, project/name, or id; several at once where more are given.
    #[arg(value_name = "VM", required = true)]
    vms: Vec<Reference>,
    /// Also when it is meant to run; it is killed then.
    #[arg(long)]
    force: bool,
    /// For how long it can be undeleted, such as 7d or 12h.
    #[arg(long, value_name = "TIME", default_value = "24h", conflicts_with = "now")]
    keep: KeepFor,
    /// Remove it at once; also one that was deleted before.
    #[arg(long)]
    now: bool,
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
                keep: (!self.now).then_some(self.keep),
            };
            let (word, goal) = match self.now {
                true => ("deleting", Goal::Deleted),
                false => ("deleted", Goal::Binned),
            };
            Change::of_vm(word, vm, command).until(goal)
        };
        change::make_each(session, &self.vms, self.expect, self.waiting, to, change).await
    }
}
