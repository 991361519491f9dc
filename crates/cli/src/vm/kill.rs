//! `chv vm kill`: stop a VM at once.

use std::io::Write;

use chv_domain::Command;

use super::reference::Reference;
use crate::change::{Change, Expect};
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
    /// Its name, project/name, or id.
    #[arg(value_name = "VM")]
    vm: Reference,
    #[command(flatten)]
    expect: Expect,
    #[command(flatten)]
    waiting: Waiting,
}

impl Kill {
    pub(super) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        let vm = self.vm.resolve(session.project());
        Change::of_vm("killing", &vm, Command::KillVm { vm: vm.clone() })
            .expecting(self.expect)
            .until(Goal::Stopped)
            .make(session, self.waiting, to)
            .await
    }
}
