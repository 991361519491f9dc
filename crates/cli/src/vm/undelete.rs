//! `chv vm undelete`: take back that a VM was deleted.

use std::io::Write;

use chv_domain::{Command, VmName};

use super::reference::Reference;
use crate::change::{Change, Expect};
use crate::cli::Waiting;
use crate::failure::Failure;
use crate::session::Session;

/// Take back that a VM was deleted. It is stopped then, on the host where it was, with all that it had there.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chv vm undelete web
  chv vm undelete web --name web-2   where another VM has its name by now
  chv vm list --deleted              those that can be undeleted")]
pub(crate) struct Undelete {
    /// The name that it had, project/name, or its id. Of several that had the name, the one that was deleted last.
    #[arg(value_name = "VM")]
    vm: Reference,
    /// Another name for it.
    #[arg(long, value_name = "NAME")]
    name: Option<VmName>,
    #[command(flatten)]
    expect: Expect,
    #[command(flatten)]
    waiting: Waiting,
}

impl Undelete {
    pub(super) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        let vm = self.vm.resolve(session.project());
        let command = Command::UndeleteVm {
            vm: vm.clone(),
            name: self.name,
        };
        Change::of_vm("undeleted", &vm, command)
            .expecting(self.expect)
            .make(session, self.waiting, to)
            .await
    }
}
