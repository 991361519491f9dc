//! `chv host get`: one host.

use std::io::Write;

use chv_domain::HostName;

use crate::cli::Reading;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::structured;
use crate::session::Session;
use crate::when::AsOf;

/// Show a host.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chv host get h1
  chv host get h1 -o json | jq .capacity")]
pub(crate) struct Get {
    /// Its name.
    host: HostName,
    #[command(flatten)]
    reading: Reading,
}

impl Get {
    pub(crate) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        // Hosts are asked for a page at a time, in the order of their names: begin shortly before this one.
        let name = self.host.as_str();
        let before = &name[..name.len() - 1];
        let mut hosts = session
            .hosts_after(before, Some(name), self.reading.into(), AsOf::default())
            .await?;
        let Some(host) = hosts.pop().filter(|host| host.name == name) else {
            return Err(Failure::new(Exit::NotFound, format!("there is no host {name}"))
                .or_try("`chv host list` shows those that are"));
        };
        if !structured(session.format(), &host, to)? {
            host.describe(session.now(), to)?;
        }
        Ok(())
    }
}
