//! Hosts introduce themselves; operators cordon and uncordon them.

use super::{Finding, expects, not_permitted};
use crate::command::Submission;
use crate::event::{Event, Resource};
use crate::host::{Host, HostFacts};
use crate::ids::HostId;
use crate::name::HostName;
use crate::projection::Projection;
use crate::rejection::{Rejection, RejectionCode};

pub(super) fn register(
    state: &Projection,
    name: &HostName,
    id: HostId,
    facts: &HostFacts,
) -> Result<Finding, Rejection> {
    match (state.host(id), state.host_named(name)) {
        (None, None) => Ok(Finding::Events(vec![Event::HostRegistered {
            host: id,
            name: name.clone(),
            facts: facts.clone(),
        }])),
        (Some(known), _) if known.name != *name => Err(not_permitted(format!(
            "host {id} is registered as {}, not as {name}",
            known.name
        ))),
        (Some(known), _) if known.facts == *facts => Ok(already(known)),
        (Some(_), _) => Ok(Finding::Events(vec![Event::HostFactsChanged {
            host: id,
            facts: facts.clone(),
        }])),
        (None, Some(other)) => {
            let message = format!(
                "the name {name} is host {}'s; give this host its data directory back, or another name",
                other.id
            );
            Err(Rejection::new(RejectionCode::Exists, message))
        }
    }
}

pub(super) fn cordon(
    state: &Projection,
    submission: &Submission,
    name: &HostName,
    cordoned: bool,
) -> Result<Finding, Rejection> {
    let Some(host) = state.host_named(name) else {
        let message = format!("there is no host {name}; `chv host list` shows those that are");
        return Err(Rejection::new(RejectionCode::NotFound, message));
    };
    expects(submission, &format!("host {name}"), host.revision)?;
    match (host.cordoned == cordoned, cordoned) {
        (true, _) => Ok(already(host)),
        (false, true) => Ok(Finding::Events(vec![Event::HostCordoned { host: host.id }])),
        (false, false) => Ok(Finding::Events(vec![Event::HostUncordoned { host: host.id }])),
    }
}

fn already(host: &Host) -> Finding {
    Finding::Already(Resource::Host(host.id), host.revision)
}
