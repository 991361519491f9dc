//! `chv vm protect` and `chv vm unprotect`: keep VMs from being deleted.

use std::io::Write;

use chv_domain::{Command, VmRef};

use super::reference::Reference;
use crate::change::{self, Change, Expect};
use crate::cli::Waiting;
use crate::failure::Failure;
use crate::session::Session;

#[derive(Debug, clap::Args)]
struct Vms {
    /// Its name, project/name, or id; several at once where more are given.
    #[arg(value_name = "VM", required = true)]
    vms: Vec<Reference>,
    #[command(flatten)]
    expect: Expect,
    #[command(flatten)]
    waiting: Waiting,
}

/// Keep a VM from being deleted, also by force, until that is lifted.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  chv vm protect web")]
pub(crate) struct Protect {
    #[command(flatten)]
    vms: Vms,
}

/// Let a VM be deleted again.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  chv vm unprotect web")]
pub(crate) struct Unprotect {
    #[command(flatten)]
    vms: Vms,
}

impl Protect {
    pub(super) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        self.vms.make("protected", true, session, to).await
    }
}

impl Unprotect {
    pub(super) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        self.vms.make("unprotected", false, session, to).await
    }
}

impl Vms {
    async fn make(
        self,
        action: &'static str,
        protected: bool,
        session: &Session,
        to: &mut impl Write,
    ) -> Result<(), Failure> {
        let change = |vm: &VmRef| {
            let vm_ref = vm.clone();
            let command = Command::ProtectVm {
                vm: vm_ref,
                protected,
            };
            Change::of_vm(action, vm, command)
        };
        change::make_each(session, &self.vms, self.expect, self.waiting, to, change).await
    }
}
