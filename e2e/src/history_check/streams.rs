//! Subscribers are given the trail: each event once, in order, without a hole, wherever they went on.

use super::Wrong;
use super::history::History;

pub(super) fn check(history: &History) -> Result<(), Wrong> {
    for (number, stream) in history.streams.iter().enumerate() {
        if stream.len() > history.trail.len() {
            let words = format!(
                "{number} was given {} of {} events",
                stream.len(),
                history.trail.len()
            );
            return Err(Wrong::Stream(words));
        }
        for ((seq, command), fact) in stream.iter().zip(&history.trail) {
            if (*seq, *command) != (fact.seq, fact.command) {
                let words = format!("{number} was given {seq} of {command} where the trail has {fact:?}");
                return Err(Wrong::Stream(words));
            }
        }
    }
    Ok(())
}
