//! Reads of hosts.

use std::collections::BTreeSet;
use std::time::Instant;

use chv_domain::Projection;
use chv_proto::{convert, v1};

use super::{Reader, page};

pub(super) fn list(
    reader: &Reader,
    state: &Projection,
    query: v1::ListHosts,
    then: bool,
) -> Result<v1::HostPage, v1::Refused> {
    let now = Instant::now();
    // Heartbeats are not in the log: of another time it isn't known who was alive.
    let alive = match then {
        true => BTreeSet::new(),
        false => reader.alive(state),
    };
    let last_heard = |host| match then {
        true => None,
        false => reader.liveness.last_heard(host, now),
    };
    let after = |name: &str| query.after.is_empty() || name > query.after.as_str();
    let hosts = state
        .hosts_by_name()
        .filter(|host| after(host.name.as_str()))
        .map(|host| convert::host_to_wire(host, alive.contains(&host.id), last_heard(host)));
    let (hosts, more) = page(hosts, query.limit, reader.page_bytes());
    Ok(v1::HostPage { hosts, more })
}
