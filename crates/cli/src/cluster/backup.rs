//! `chv cluster backup`: a running cluster in one file, read from whichever replicas are there.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use chv_domain::{Projection, Record, Seq};
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

/// How long one page may take: long enough for another replica to take over, or a leader to be elected.
const PATIENCE: Duration = Duration::from_secs(30);

/// The code of a query about what is forgotten.
const GONE: &str = "gone";

/// Write all events of the running cluster, and the state they fold to, into one file, checking all of it.
///
/// It has everything up to the event that the leader had acknowledged when it began, whatever happens meanwhile. Any
/// replica gives each page, so it goes on when one dies. `chv-scheduler restore` makes a cluster out of it, and `chv log
/// verify` checks it. Whoever may read events may make one. It needs all of history: where retention has let some go, stop
/// one replica, and `chv log export` there.
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
        // The leader knows of all that was acknowledged, and so where the backup ends.
        let first = page(session, Audience::Leader, Seq(1), None).await?;
        let end = Seq(first.0);
        let cluster = first.1.cluster.parse().map_err(|_| unfit())?;
        let mut taken = Taken {
            writer: ArchiveWriter::create(&self.file, cluster)?,
            state: Projection::default(),
        };
        let mut next = first.1;
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

/// Retention has let some of the history go that a backup needs.
fn forgotten(refusal: &Refusal) -> Failure {
    let what = "the backup needs every event from the first on, and this cluster has forgotten some";
    Failure::new(Exit::Rejected, format!("{what}: {}", refusal.message)).or_try(
        "stop one replica, and `chv log export FILE --data DIR` there: that archive holds the state and what is kept",
    )
}

/// A page of the log, and the last event of the state that answered.
async fn page(
    session: &Session,
    audience: Audience,
    from: Seq,
    least: Option<Seq>,
) -> Result<(u64, v1::RecordPage), Failure> {
    let query = Query::ReadLog(v1::ReadLog { from_seq: from.0 });
    let client = session.client().await?;
    let reply = client.query(audience, query, least, session.patience(PATIENCE));
    let reply = reply.await.map_err(|error| match error {
        QueryError::Refused(refusal) if refusal.code == GONE => forgotten(&refusal),
        error => refusal::query(error),
    })?;
    match reply.result {
        Some(query_reply::Result::Records(page)) => Ok((reply.state_seq, page)),
        _ => Err(unfit()),
    }
}
