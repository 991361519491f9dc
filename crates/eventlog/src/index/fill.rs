//! Takes into the index what is sealed and is before all that it has, backward and slowly, until it has all that is kept;
//! and drops from it what is not kept any more. An index that was made again, and one of a replica that fetched its
//! history, came from the log alone, which does not reach back far.
//!
//! How far it is, is noted in the index itself, so a restart goes on there.

use std::time::{Duration, Instant};

use chv_domain::Seq;
use tokio::sync::Notify;
use tracing::{info, warn};

use super::verify::blocking;
use super::{Index, IndexError};
use crate::history::History;
use crate::raft::state_machine::Applied;

/// After a block of history, a pause of so many times what it took: others need the disk and the processor more.
const PAUSE: u32 = 4;

/// How long to wait after a failure.
const AGAIN: Duration = Duration::from_secs(10);

/// Does it for as long as it is polled.
/// Told `left_out`, it looks again.
pub(super) async fn fill(index: &Index, history: &History, applied: &Applied, left_out: &Notify) {
    let mut span = history.span();
    loop {
        span.mark_unchanged();
        let began = Instant::now();
        let oldest = applied.projection.borrow().cluster().oldest_kept();
        let (into, from) = (index.clone(), history.clone());
        match blocking(move || step(&into, &from, oldest)).await {
            Ok(true) => tokio::time::sleep(began.elapsed() * PAUSE).await,
            // It has all, or what is missing is not here yet.
            Ok(false) => tokio::select! {
                () = left_out.notified() => {}
                changed = span.changed() => if changed.is_err() { return },
            },
            Err(error) => {
                warn!(%error, "the index does not take sealed history for now");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// Takes the records that come before all that the index has; whether there were some.
fn step(index: &Index, history: &History, oldest: Seq) -> Result<bool, IndexError> {
    index.drop_before(oldest)?;
    let from = index.from()?;
    if from <= oldest {
        return Ok(false);
    }
    let stored = history.stored_with(Seq(from.0 - 1));
    let mut records = stored.map_err(|error| index.failed(error))?;
    records.retain(|record| record.first < from);
    let Some(first) = records.first().map(|record| record.first) else {
        return Ok(false);
    };
    index.add_before(from, &records, first)?;
    if first <= oldest {
        info!(%oldest, "the index has all that is kept");
    }
    Ok(true)
}
