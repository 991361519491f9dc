//! What must be true of a history: of what clients were told, and of the trail that is left in the log. Pure: it is
//! given all that was seen, and says what is wrong with it.
//!
//! The clients change a few VMs, each change naming the revision that it expects, and read them. A VM's revision is the
//! number of the event that last changed what it should be, so the trail alone says which revision each VM had after
//! each event. [`check`] compares with that everything that a client was told.

mod commands;
mod history;
mod kept;
mod model;
mod reads;
mod streams;
#[cfg(test)]
mod wrong_histories;

pub use history::{Changed, Fact, History, Look, Moment, Sent, Told, View};
pub use kept::{Lost, all_kept};

use model::Model;

/// What is wrong with a history.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// The trail has a hole, or a command in two places.
    #[error("the trail: {0}")]
    Trail(String),
    /// An answer to a command is not true, or was not true at any moment between question and answer.
    #[error("a command: {0}")]
    Command(String),
    /// A read saw what was not so, or what was so before.
    #[error("a read: {0}")]
    Read(String),
    /// A subscriber missed an event, or had one twice or in another order.
    #[error("a subscriber: {0}")]
    Stream(String),
}

/// Checks all of a history.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(history: &History) -> Result<(), Wrong> {
    let model = Model::of(&history.trail)?;
    commands::check(history, &model)?;
    reads::check(history, &model)?;
    streams::check(history)
}
