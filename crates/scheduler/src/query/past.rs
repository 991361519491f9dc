//! The state of the past, for queries that ask as of then.

use chv_domain::{Projection, Timestamp};
use chv_eventlog::PastError;
use chv_proto::convert::{At, refused};
use chv_proto::v1::{self, query_envelope::Query};

use super::{Reader, event};
use crate::answer::TryAgain;

/// The state as of `at`, if that makes sense for this query.
pub(super) async fn state(reader: &Reader, at: At, query: &Query) -> Result<Projection, v1::Refused> {
    if let Query::ListEvents(_)
    | Query::GetStatus(_)
    | Query::ReadLog(_)
    | Query::ReadBase(_)
    | Query::GetCluster(_) = query
    {
        let message = "only VMs and hosts are shown as of another time".to_owned();
        return Err(refused("invalid", message, "at_seq"));
    }
    let then = match at {
        At::Seq(seq) => {
            // This replica may be a little behind the one where the event was seen.
            drop(reader.state_with(seq).await);
            reader.log.projection_at(seq).await
        }
        // The whole millisecond counts: times are shown and given without what is below.
        At::Time(time) => reader.log.projection_at_time(end_of_millisecond(time)).await,
    };
    then.map_err(|error| match error {
        PastError::PastTheEnd { .. } => refused("past_end", error.to_string(), "at_seq"),
        PastError::Elsewhere { .. } => v1::Refused {
            retryable: true,
            retry_after_ms: 50,
            ..refused("unavailable", error.to_string(), "at_seq")
        },
        PastError::Read(error) => event::unreadable(&error),
        PastError::Busy => TryAgain::Busy.refused(),
    })
}

fn end_of_millisecond(time: Timestamp) -> Timestamp {
    Timestamp(Timestamp::from_millis(time.as_millis()).0.saturating_add(999))
}
