//! Hosts introduce themselves; operators cordon and uncordon them.

use super::{Finding, expects, not_permitted};
use crate::command::Submission;
use crate::event::{Event, Resource};
use crate::host::{Capacity, Host, HostFacts, HypervisorKind};
use crate::ids::HostId;
use crate::name::HostName;
use crate::projection::Projection;
use crate::rejection::{Rejection, RejectionCode};
use crate::units::format_mib;

/// The most that a host may offer: more than any has, over-commit included.
const MOST_VCPUS: u32 = 1 << 20;
const MOST_MEMORY_MIB: u64 = 1 << 30;

/// The longest version text, in bytes.
const MOST_TEXT: usize = 256;

pub(super) fn register(
    state: &Projection,
    name: &HostName,
    id: HostId,
    facts: &HostFacts,
) -> Result<Finding, Rejection> {
    plausible(facts)?;
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

/// Facts are claims: what no host has, or what would not fit an event, is refused.
fn plausible(facts: &HostFacts) -> Result<(), Rejection> {
    let invalid = |message: String| Err(Rejection::new(RejectionCode::Invalid, message));
    let Capacity { vcpus, memory_mib } = facts.capacity;
    if vcpus > MOST_VCPUS || memory_mib > MOST_MEMORY_MIB {
        return invalid(format!(
            "a host offers at most {MOST_VCPUS} vCPUs and {} of memory, not {vcpus} and {}",
            format_mib(MOST_MEMORY_MIB),
            format_mib(memory_mib)
        ));
    }
    let longest = facts
        .hypervisors
        .iter()
        .map(|hypervisor| hypervisor.version.len())
        .max();
    if facts.hypervisors.len() > HypervisorKind::ALL.len()
        || longest.unwrap_or(0).max(facts.daemon.len()) > MOST_TEXT
    {
        let kinds = HypervisorKind::ALL.len();
        return invalid(format!(
            "a host has at most {kinds} hypervisors, and version texts of {MOST_TEXT} bytes"
        ));
    }
    Ok(())
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
