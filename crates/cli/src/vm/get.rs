//! `chv vm get`: one VM.

use std::io::Write;

use super::reference::Reference;
use crate::cli::Reading;
use crate::failure::Failure;
use crate::output::structured;
use crate::session::Session;
use crate::when::AsOf;

/// Show a VM.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chv vm get web
  chv vm get web --at 1200           as it was right after event 1200
  chv vm get shop/web -o json | jq -r .status")]
pub(crate) struct Get {
    /// Its name, project/name, or id.
    #[arg(value_name = "VM")]
    vm: Reference,
    #[command(flatten)]
    as_of: AsOf,
    #[command(flatten)]
    reading: Reading,
}

impl Get {
    pub(crate) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        let vm = self.vm.resolve(session.project());
        let vm = session.vm(&vm, self.reading.into(), self.as_of).await?;
        if !structured(session.format(), &vm, to)? {
            vm.describe(session.now(), to)?;
        }
        Ok(())
    }
}
