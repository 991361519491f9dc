//! `chv vm stop`: stop a VM gracefully.

use std::io::Write;

use chv_domain::spec::StopTimeout;
use chv_domain::{Command, VmRef};

use super::reference::Reference;
use crate::change::{self, Change, Expect};
use crate::cli::Waiting;
use crate::failure::Failure;
use crate::session::Session;
use crate::wait::Goal;

/// Stop a VM: its power button is pressed, and after a while its cord is pulled.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chv vm stop web
  chv vm stop web --stop-timeout 120 --timeout 3m")]
pub(crate) struct Stop {
    /// Its name, project/name, or id; several at once where more are given.
    #[arg(value_name = "VM", required = true)]
    vms: Vec<Reference>,
    /// Seconds from the button to the cord, 1 to 3600; what its spec says if not given.
    #[arg(long, value_name = "SECONDS", value_parser = super::create::stop_timeout)]
    stop_timeout: Option<StopTimeout>,
    #[command(flatten)]
    expect: Expect,
    #[command(flatten)]
    waiting: Waiting,
}

impl Stop {
    pub(super) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        let change = |vm: &VmRef| {
            let command = Command::StopVm {
                vm: vm.clone(),
                timeout: self.stop_timeout,
            };
            Change::of_vm("stopping", vm, command).until(Goal::Stopped)
        };
        change::make_each(session, &self.vms, self.expect, self.waiting, to, change).await
    }
}
