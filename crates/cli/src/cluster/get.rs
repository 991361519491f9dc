//! `chv cluster get`: the cluster, its settings and its replicas.

use std::io::Write;

use chv_proto::v1::query_envelope::Query;
use chv_proto::v1::{self, query_reply};

use crate::cli::Reading;
use crate::failure::Failure;
use crate::output::structured;
use crate::session::{Session, unfit};
use crate::view::cluster::ClusterView;

/// Show the cluster: what is set, which replicas hold its log, and what is under way with them.
///
/// How far each replica is, and which of them answer, `chv status` shows.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chv cluster get
  chv cluster get -o json | jq .retention")]
pub(crate) struct Get {
    #[command(flatten)]
    reading: Reading,
}

impl Get {
    pub(super) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        let query = Query::GetCluster(v1::GetCluster {});
        let reply = session.query(self.reading.into(), query, None).await?;
        let Some(query_reply::Result::Cluster(state)) = reply.result else {
            return Err(unfit());
        };
        let cluster = ClusterView::new(state, reply.state_seq)?;
        if !structured(session.format(), &cluster, to)? {
            cluster.describe(session.now(), to)?;
        }
        Ok(())
    }
}
