//! How much of history is kept, and that some of it is forgotten.

use super::{Finding, expects};
use crate::cluster::Cluster;
use crate::command::Submission;
use crate::event::{Event, Resource};
use crate::projection::Projection;
use crate::rejection::{Rejection, RejectionCode};
use crate::retention::{Forgotten, Retention};

pub(super) fn set(
    cluster: &Cluster,
    submission: &Submission,
    retention: Retention,
) -> Result<Finding, Rejection> {
    expects(submission, "the cluster", cluster.revision)?;
    if cluster.retention() == retention {
        return Ok(already(cluster));
    }
    Ok(Finding::Events(vec![Event::RetentionSet { retention }]))
}

/// That history is beyond the setting, as the leader sees it.
pub(super) fn forget(state: &Projection, forgotten: Forgotten) -> Result<Finding, Rejection> {
    let cluster = state.cluster();
    // The setting may have been lifted meanwhile.
    if cluster.retention() == Retention::FOREVER
        || cluster
            .forgotten()
            .is_some_and(|known| known.upto >= forgotten.upto)
    {
        return Ok(already(cluster));
    }
    if forgotten.upto > state.published() || forgotten.upto >= state.seq() {
        let message = format!(
            "event {} is not published yet, or the last one: events up to {} may be forgotten",
            forgotten.upto,
            state.published()
        );
        return Err(Rejection::new(RejectionCode::Invalid, message));
    }
    Ok(Finding::Events(vec![Event::HistoryForgotten { forgotten }]))
}

fn already(cluster: &Cluster) -> Finding {
    Finding::Already(Resource::Cluster, cluster.revision)
}
