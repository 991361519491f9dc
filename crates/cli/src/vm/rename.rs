//! `chv vm rename`: give a VM another name.

use std::io::Write;

use chv_domain::{Command, VmName};

use super::reference::Reference;
use crate::change::{Change, Expect};
use crate::cli::Waiting;
use crate::failure::Failure;
use crate::session::Session;

/// Give a VM another name in its project. Its guest is not touched, and keeps the hostname that it was given.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  chv vm rename web shop")]
pub(crate) struct Rename {
    /// Its name, project/name, or id.
    #[arg(value_name = "VM")]
    vm: Reference,
    /// The new name, free in its project.
    #[arg(value_name = "NAME")]
    name: VmName,
    #[command(flatten)]
    expect: Expect,
    #[command(flatten)]
    waiting: Waiting,
}

impl Rename {
    pub(super) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        let vm = self.vm.resolve(session.project());
        let command = Command::RenameVm {
            vm: vm.clone(),
            name: self.name,
        };
        Change::of_vm("renamed", &vm, command)
            .expecting(self.expect)
            .make(session, self.waiting, to)
            .await
    }
}
