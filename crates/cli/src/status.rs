//! `chv status`: how the cluster is.

use std::io::Write;
use std::time::Duration;

use chv_proto::client::QueryError;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::structured;
use crate::refusal;
use crate::session::Session;
use crate::view::status::StatusView;

/// How long every replica has to answer; what is silent longer shows as such.
const ANSWERS: Duration = Duration::from_secs(2);
/// How often digests are asked for until the replicas are at one event.
const COMPARISONS: usize = 5;

/// Show who leads, how far each replica is, and which hosts are heard of.
///
/// Exits with 7 when no replica answers or none leads, and with 1 when replicas hold different things.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chv status
  chv status --digest          also whether all replicas hold the same
  chv status -o json | jq .leader")]
pub(crate) struct Status {
    /// Compare what the replicas hold.
    #[arg(long)]
    digest: bool,
}

impl Status {
    pub(crate) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        let mut status = self.ask(session).await?;
        for _ in 1..COMPARISONS {
            if !self.digest || status.equal.is_some() || status.replicas.len() < 2 {
                break;
            }
            // They were at different events; those that lag catch up within moments.
            status = self.ask(session).await?;
        }
        if !structured(session.format(), &status, to)? {
            status.write(to)?;
        }
        to.flush()?;
        if status.equal == Some(false) {
            return Err(
                Failure::new(Exit::Internal, "replicas at the same event hold different things")
                    .or_try("keep their data directories, and report it: this must never happen"),
            );
        }
        if status.leader.is_none() {
            return Err(Failure::new(
                Exit::Unreachable,
                "no replica leads; nothing can be changed until one does",
            )
            .or_try("more than half of the replicas must run and reach each other"));
        }
        Ok(())
    }

    async fn ask(&self, session: &Session) -> Result<StatusView, Failure> {
        let client = session.client().await?;
        let wait = session.patience(ANSWERS);
        let nobody = || {
            Failure::new(Exit::Unreachable, "NATS is there, but no scheduler answers on it")
                .or_try("start chv-scheduler, and look at its log")
        };
        match client.status_of_each(wait, self.digest).await {
            Ok(answers) => StatusView::new(answers).ok_or_else(nobody),
            Err(QueryError::NobodyAnswers { .. }) => Err(nobody()),
            Err(error) => Err(refusal::query(error)),
        }
    }
}
