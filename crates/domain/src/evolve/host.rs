//! What events do to hosts.

use std::sync::Arc;

use imbl::OrdSet;

use crate::host::{Capacity, Host, HostFacts};
use crate::ids::HostId;
use crate::name::HostName;
use crate::projection::Projection;
use crate::record::Record;
use crate::seq::Seq;

pub(super) fn registered(
    state: &mut Projection,
    record: &Record,
    seq: Seq,
    id: HostId,
    name: &HostName,
    facts: &HostFacts,
) {
    let host = Host {
        id,
        name: name.clone(),
        facts: facts.clone(),
        cordoned: false,
        reserved: Capacity::default(),
        vms: OrdSet::new(),
        registered: record.time,
        revision: seq,
        feed: seq,
    };
    state.hosts.insert(id, Arc::new(host));
    state.host_names.insert(name.clone(), id);
}

pub(super) fn facts_changed(state: &mut Projection, seq: Seq, id: HostId, facts: &HostFacts) {
    change(state, id, |host| {
        host.facts = facts.clone();
        host.revision = seq;
    });
}

pub(super) fn cordoned(state: &mut Projection, seq: Seq, id: HostId, cordoned: bool) {
    change(state, id, |host| {
        host.cordoned = cordoned;
        host.revision = seq;
    });
}

/// Changes a host in place, when it is there.
pub(super) fn change(state: &mut Projection, id: HostId, change: impl FnOnce(&mut Host)) {
    if let Some(host) = state.hosts.get_mut(&id) {
        change(Arc::make_mut(host));
    }
}
