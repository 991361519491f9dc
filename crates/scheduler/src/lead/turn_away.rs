//! While leadership is handed over, commands are still heard here, and answered at once that another replica will lead.
//!
//! Ending the subscriptions with the term would lose what the broker has passed on by then, and whoever sent it would
//! wait in vain before it tries again. So they are kept until the next leader says on the broker that it listens.

use std::time::Duration;

use chv_domain::ReplicaId;
use chv_proto::convert::VERSION;
use chv_proto::{subject, v1};
use futures::{FutureExt, StreamExt};
use prost::Message as _;
use tokio::time::Instant;
use tracing::debug;

use super::intake::{self, Messages};
use crate::query::Reader;

/// How long after another replica leads it may take until it says so on the broker.
const SAYS_SO: Duration = Duration::from_millis(500);

/// Turns `commands` away until leadership is handed over, and the next leader listens. `handing_over` says whether
/// another replica leads.
pub(super) async fn until_another_listens(
    reader: &Reader,
    mut commands: Messages,
    handing_over: impl Future<Output = bool>,
) {
    tokio::pin!(handing_over);
    let ticks = match reader.connection.is_up() {
        true => reader.connection.subscribe(subject::TICK).await.ok(),
        false => None,
    };
    let Some(mut ticks) = ticks else {
        drop(commands);
        handing_over.await;
        return;
    };
    let mut handed_over: Option<Instant> = None;
    loop {
        let patience = handed_over.map(|at| at + SAYS_SO);
        tokio::select! {
            moved = &mut handing_over, if handed_over.is_none() => match moved {
                true => handed_over = Some(Instant::now()),
                false => return,
            },
            Some(tick) = ticks.next() => if is_anothers(&tick.payload, reader.replica) {
                break;
            },
            Some(command) = commands.next() => intake::turn_away(&reader.connection, &command).await,
            () = tokio::time::sleep_until(patience.unwrap_or_else(Instant::now)), if patience.is_some() => {
                debug!("the next leader does not say that it listens");
                break;
            }
        }
    }
    // What came before that word; the next leader did not hear it.
    while let Some(Some(command)) = commands.next().now_or_never() {
        intake::turn_away(&reader.connection, &command).await;
    }
    drop(commands);
    if handed_over.is_none() {
        handing_over.await;
    }
}

/// Whether a leader's word is another one's.
fn is_anothers(tick: &[u8], own: ReplicaId) -> bool {
    v1::Tick::decode(tick).is_ok_and(|tick| tick.version == VERSION && tick.replica != own.get())
}
