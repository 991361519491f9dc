//! `chv vm reboot`: boot a VM anew.

use std::io::Write;

use chv_domain::spec::StopTimeout;
use chv_domain::{Command, VmRef};

use super::reference::Reference;
use crate::change::{self, Change, Expect};
use crate::cli::Waiting;
use crate::failure::Failure;
use crate::session::Session;
use crate::wait::{Goal, Until};

/// Boot a VM anew: its power button is pressed, and once it is off it is started; after a while it is reset instead.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chv vm reboot web --for ready
  chv vm reboot web --stop-timeout 120 --timeout 3m")]
pub(crate) struct Reboot {
    /// Its name, project/name, or id; several at once where more are given.
    #[arg(value_name = "VM", required = true)]
    vms: Vec<Reference>,
    /// Seconds from the button to the reset, 1 to 3600; its spec's stop timeout if not given.
    #[arg(long, value_name = "SECONDS", value_parser = super::create::stop_timeout)]
    stop_timeout: Option<StopTimeout>,
    #[command(flatten)]
    until: Until,
    #[command(flatten)]
    expect: Expect,
    #[command(flatten)]
    waiting: Waiting,
}

impl Reboot {
    pub(super) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        let goal = Goal::from(self.until);
        let change = |vm: &VmRef| {
            let command = Command::RebootVm {
                vm: vm.clone(),
                timeout: self.stop_timeout,
            };
            Change::of_vm("rebooting", vm, command).until(goal)
        };
        change::make_each(session, &self.vms, self.expect, self.waiting, to, change).await
    }
}
