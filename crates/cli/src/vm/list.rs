//! `chv vm list`: the VMs of a project, or of all.

use std::io::Write;

use crate::cli::Reading;
use crate::failure::Failure;
use crate::output::structured;
use crate::session::{Session, Which};
use crate::view;
use crate::when::AsOf;

/// Show VMs, in the order of their names.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chv vm list
  chv vm list --deleted              those that can be undeleted
  chv vm list --at 10m               as they were ten minutes ago
  chv vm list --all-projects -o json | jq -r '.[].name'")]
pub(crate) struct List {
    /// Those of every project.
    #[arg(short = 'A', long)]
    all_projects: bool,
    /// Those that are deleted and can be undeleted.
    #[arg(long)]
    deleted: bool,
    #[command(flatten)]
    as_of: AsOf,
    #[command(flatten)]
    reading: Reading,
}

impl List {
    pub(crate) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        let project = (!self.all_projects).then(|| session.project());
        let which = match self.deleted {
            true => Which::Deleted,
            false => Which::Named,
        };
        let vms = session
            .vms(project, which, self.reading.into(), self.as_of)
            .await?;
        if structured(session.format(), &vms, to)? {
            return Ok(());
        }
        if vms.is_empty() {
            let place = project.map_or_else(String::new, |project| format!(" in project {project}"));
            if self.deleted {
                eprintln!("no VMs{place} that can be undeleted");
                return Ok(());
            }
            eprintln!("no VMs{place}; `chv apply -f examples/hello.yaml` makes one");
            return Ok(());
        }
        view::vm::table(&vms, self.all_projects, session.now(), to)?;
        Ok(())
    }
}
