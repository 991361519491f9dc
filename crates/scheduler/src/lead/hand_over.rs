//! When a leader lets another replica lead: when it is asked to, when it reaches the others but not the broker, and when
//! its disk takes no more of the log and theirs do. One whose disk can't be written at all can hand nothing over: the log
//! falls silent, and the others elect one of themselves.
//!
//! It only says so; the term's tasks end first, so that nothing is on its way when the log's leadership moves.

use std::time::Duration;

use chv_domain::{Projection, Term};
use chv_eventlog::StepDownError;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Office;
use crate::query::Reader;

/// How long the broker may be away before a leader lets another replica try.
const CUT_OFF: Duration = Duration::from_secs(3);

/// How often it is looked whether the broker is there.
const LOOK: Duration = Duration::from_millis(500);

/// Whether the leader of `term` was asked to step down.
fn asked(state: &Projection, term: Term) -> bool {
    state.cluster().step_down() == Some(term)
}

/// Asks for it once the log says that somebody wants it.
pub(super) async fn when_asked(office: Office) {
    let mut applied = office.reader.log.applied();
    loop {
        applied.mark_unchanged();
        if asked(&office.reader.log.projection(), office.term) {
            info!(term = %office.term, "asked to step down");
            // Before, nobody else can be elected, and commands need not wait for that.
            tokio::select! {
                () = office.stop.cancelled() => {}
                () = office.reader.log.led_for_a_lease() => office.hand_over.cancel(),
            }
            return;
        }
        tokio::select! {
            () = office.stop.cancelled() => return,
            changed = applied.changed() => if changed.is_err() { return },
        }
    }
}

/// Asks for it when the broker is away for a while, and other replicas answer.
pub(super) async fn when_cut_off(office: Office) {
    let mut away = Duration::ZERO;
    loop {
        tokio::select! {
            () = office.stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        away = match office.reader.connection.is_up() {
            true => Duration::ZERO,
            false => away + LOOK,
        };
        if away >= CUT_OFF && !office.reader.log.answering().is_empty() {
            warn!(term = %office.term, "the broker is not reached: another replica should lead");
            return office.hand_over.cancel();
        }
    }
}

/// Asks for it when this replica's disk takes no more of the log, and so many others' do that one of them can lead.
pub(super) async fn when_short_of_room(office: Office) {
    loop {
        tokio::select! {
            () = office.stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        if office.reader.log.others_have_room() {
            warn!(term = %office.term, "this replica's disk takes no more of the log: another replica should lead");
            return office.hand_over.cancel();
        }
    }
}

/// Tells the log whether this replica reaches the broker, without which it would be of no use as a leader.
pub(crate) async fn tell_whether_able(reader: Reader, stop: CancellationToken) {
    loop {
        reader.log.able_to_lead(reader.connection.is_up());
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// Hands leadership over, where that can be done. Whether this replica leads no more.
pub(super) async fn now(reader: &Reader) -> bool {
    match reader.log.step_down().await {
        Ok(heir) => info!(%heir, "another replica leads"),
        Err(StepDownError::NotLeader) => {}
        Err(error) => {
            warn!(%error, "this replica still leads");
            return false;
        }
    }
    true
}
