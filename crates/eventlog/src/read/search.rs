//! What is wanted of the log.

use chv_domain::{Actor, CommandId, Resource, Seq, Timestamp};

use crate::index::{Order, Term};

/// What is wanted of the log: records that fit all that is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Search {
    /// With an event about this.
    pub resource: Option<Resource>,
    /// By this author.
    pub actor: Option<Actor>,
    /// Of this command.
    pub command: Option<CommandId>,
    /// Of this time or later.
    pub since: Option<Timestamp>,
    /// Of an earlier time than this.
    pub until: Option<Timestamp>,
    /// Which come first.
    pub order: Order,
    /// The event to begin with, in that order; otherwise the oldest there is, or the newest.
    pub begin: Option<Seq>,
}

impl Search {
    /// What the index finds it by; nothing when every record of the span fits.
    pub(super) fn terms(&self) -> Vec<Term> {
        let resource = self.resource.map(Term::Resource);
        let actor = self.actor.clone().map(Term::Actor);
        let command = self.command.map(Term::Command);
        resource.into_iter().chain(actor).chain(command).collect()
    }
}
