//! `chv cluster backup`: a running cluster in one file, read from whichever replicas are there.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use chv_domain::{Batch, Projection, Record, Seq, Term};
use chv_eventlog::archive::{ArchiveWriter, Archived};
use chv_proto::client::{QueryError, Refusal};
use chv_proto::subject::Audience;
use chv_proto::v1::query_envelope::Query;
use chv_proto::v1::{self, query_reply};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::log::{blocking, told};
use crate::output::structured;
use crate::refusal;
use crate::session::{Session, unfit};
use crate::wait::Progress;

mod base;

/// How long one page may take: long enough for another replica to take over, or a leader to be elected.
const PATIENCE: Duration = Duration::from_secs(30);

/// The code of a query about what is forgotten.
const GONE: &str = "gone";

/// How often it begins anew where history is forgotten in the moment that it begins.
const BEGINNINGS: usize = 5;

/// Write all events of the running cluster, and the state they fold to, into one file, checking all of it.
///
/// It has everything up to the event that the leader had acknowledged when it began, whatever happens meanwhile. Any
/// replica gives each page, so it goes on when one dies. `chv-scheduler restore` makes a cluster out of it, and `chv log
/// verify` checks it. Whoever may read events may make one. Where retention has let the first events go, it begins with the
/// state before those that are kept; a restored cluster then knows of no command from before, so that one of the last hour
/// that is sent again there is done again.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chv cluster backup monday.chv
  chv cluster backup monday.chv -o json | jq .lastSeq")]
pub(crate) struct Backup {
    /// The file to write; one of that name is replaced once the new one is whole.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// What has been taken so far.
struct Taken {
    writer: ArchiveWriter,
    state: Projection,
}

impl Backup {
    pub(super) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        let mut progress = Progress::new();
        let (mut taken, end, mut next) = self.begin(session).await?;
        loop {
            taken = blocking(move || taken.take(next.records, end)).await??;
            let last = taken.state.seq();
            if last >= end {
                break;
            }
            progress.show(&format!("backing up: event {last} of {end}"));
            next = tokio::select! {
                page = page(session, Audience::Any, last.next(), Some(end)) => page?.1,
                () = session.interrupt().heard() => {
                    return Err(Failure::new(Exit::Interrupted, "interrupted; no file was written"));
                }
            };
        }
        progress.clear();
        let archived: Archived = blocking(move || taken.writer.finish(&taken.state)).await??;
        if !structured(session.format(), &archived, to)? {
            told(&archived, to)?;
        }
        Ok(to.flush()?)
    }
}

impl Backup {
    /// What the backup begins with, the event that it ends with, and the first page. The leader knows of all that was
    /// acknowledged, and so where the backup ends.
    async fn begin(&self, session: &Session) -> Result<(Taken, Seq, v1::RecordPage), Failure> {
        let mut page = page(session, Audience::Leader, Seq(1), None).await;
        for _ in 0..BEGINNINGS {
            let Err(NoPage::Forgotten(_)) = page else { break };
            let (base, cluster) = base::read(session).await?;
            let mut writer = ArchiveWriter::create(&self.file, cluster.parse().map_err(|_| unfit())?)?;
            let mut state = writer.base(&base)?;
            // Nothing is forgotten that was not published.
            let published = Batch {
                published: state.seq(),
                records: Vec::new(),
            };
            state.apply_batch(Term::default(), &published);
            match self::page(session, Audience::Leader, state.seq().next(), None).await {
                Ok((end, first)) => return Ok((Taken { writer, state }, end, first)),
                // More was forgotten meanwhile.
                Err(error) => page = Err(error),
            }
        }
        let (end, first) = page?;
        let writer = ArchiveWriter::create(&self.file, first.cluster.parse().map_err(|_| unfit())?)?;
        let state = Projection::default();
        Ok((Taken { writer, state }, end, first))
    }
}

impl Taken {
    /// Checks that these records continue the chain, and takes those up to `end`.
    fn take(mut self, records: Vec<Vec<u8>>, end: Seq) -> Result<Self, Failure> {
        let before = self.state.seq();
        for stored in records {
            let record = Record::read(&stored)
                .map_err(|error| damaged(format!("a record after event {}: {error}", self.state.seq())))?;
            if record.first > end {
                break;
            }
            // A page begins with the record that holds the event asked for.
            if self.state.replay(std::slice::from_ref(&record)) == 0 {
                let after = self.state.seq();
                return Err(damaged(format!(
                    "the record of event {} does not follow event {after}",
                    record.first
                )));
            }
            self.writer.push(&record)?;
        }
        match self.state.seq() == before && before < end {
            true => Err(damaged(format!("there are no records after event {before}"))),
            false => Ok(self),
        }
    }
}

fn damaged(what: String) -> Failure {
    Failure::new(Exit::Damaged, what)
        .or_try("`chv log verify` of the replicas' directories says what is wrong")
}

/// Why there is no page.
enum NoPage {
    /// Retention has let it go.
    Forgotten(Refusal),
    Failed(Failure),
}

impl From<NoPage> for Failure {
    fn from(none: NoPage) -> Self {
        match none {
            NoPage::Failed(failure) => failure,
            NoPage::Forgotten(refusal) => {
                let what = "history was forgotten while it was backed up";
                Self::new(Exit::Rejected, format!("{what}: {}", refusal.message)).or_try("begin again")
            }
        }
    }
}

/// A page of the log, and the last event of the state that answered.
async fn page(
    session: &Session,
    audience: Audience,
    from: Seq,
    least: Option<Seq>,
) -> Result<(Seq, v1::RecordPage), NoPage> {
    let query = Query::ReadLog(v1::ReadLog { from_seq: from.0 });
    let client = session.client().await.map_err(NoPage::Failed)?;
    let reply = client.query(audience, query, least, session.patience(PATIENCE));
    let reply = reply.await.map_err(|error| match error {
        QueryError::Refused(refusal) if refusal.code == GONE => NoPage::Forgotten(refusal),
        error => NoPage::Failed(refusal::query(error)),
    })?;
    match reply.result {
        Some(query_reply::Result::Records(page)) => Ok((Seq(reply.state_seq), page)),
        _ => Err(NoPage::Failed(unfit())),
    }
}
