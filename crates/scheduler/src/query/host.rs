//! Reads of hosts.

use std::time::Instant;

use chv_domain::Projection;
use chv_proto::{convert, v1};

use super::{Reader, page};

pub(super) fn list(
    reader: &Reader,
    state: &Projection,
    query: v1::ListHosts,
) -> Result<v1::HostPage, v1::Refused> {
    let now = Instant::now();
    let alive = reader.alive(state);
    let after = |name: &str| query.after.is_empty() || name > query.after.as_str();
    let hosts = state
        .hosts_by_name()
        .filter(|host| after(host.name.as_str()))
        .map(|host| {
            convert::host_to_wire(
                host,
                alive.contains(&host.id),
                reader.liveness.last_heard(host, now),
            )
        });
    let (hosts, more) = page(hosts, query.limit);
    Ok(v1::HostPage { hosts, more })
}
