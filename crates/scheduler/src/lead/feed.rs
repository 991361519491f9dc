//! What changed for each host between two states, as the messages of their feeds. Pure.
//!
//! A feed carries state, not events: the newest of each VM that changed. Messages are chained by the
//! host's feed position, so a host sees at once that it missed one, and asks for its slice.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chv_domain::{DesiredVm, Event, HostId, HostName, Projection, Record, Resource, Seq, Vm, VmId};
use chv_proto::convert::FeedDelta;

/// What changed for one host, and the name by which its feed goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta {
    /// The host's name.
    pub to: HostName,
    /// What changed.
    pub changes: FeedDelta,
}

/// What an event is about, and the host that it placed a VM on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Touched {
    resource: Resource,
    placed_on: Option<HostId>,
}

/// What a record's events touch: a VM that came and went in between leaves no other sign of the host that it was on.
pub fn touched(record: &Record) -> impl Iterator<Item = Touched> + '_ {
    record.events.iter().map(|event| Touched {
        resource: event.resource(),
        placed_on: match event {
            Event::VmPlaced { placed, .. } => Some(placed.host),
            _ => None,
        },
    })
}

/// The deltas from `before` to `after`, where `touched` holds what [`touched`] says of every record in between. They are
/// right for a host that knows any state in between, too, by a slice that it asked for meanwhile: a VM that was on it then
/// is gone.
pub fn deltas(before: &Projection, after: &Projection, touched: &BTreeSet<Touched>) -> Vec<Delta> {
    let mut found: BTreeMap<HostId, Delta> = BTreeMap::new();
    for Touched { resource, placed_on } in touched {
        match resource {
            Resource::Host(host) => {
                entry(&mut found, before, after, *host);
            }
            Resource::Vm(id) => {
                let (was, is) = (before.vm(*id), after.vm(*id));
                let left = [host_of(was), *placed_on].into_iter().flatten();
                for host in left.filter(|host| Some(*host) != host_of(is)) {
                    if let Some(delta) = entry(&mut found, before, after, host) {
                        add(&mut delta.changes.gone, *id, |gone| *gone);
                    }
                }
                let desired = is.and_then(|vm| DesiredVm::of(vm, vm.placement?.host));
                let host = host_of(is).and_then(|host| entry(&mut found, before, after, host));
                if let (Some(delta), Some(desired)) = (host, desired) {
                    add(&mut delta.changes.vms, desired, |vm| vm.vm);
                }
            }
            // No host's.
            Resource::Cluster => {}
        }
    }
    found.into_values().collect()
}

/// Adds one, unless it was the last: what is touched more than once comes one after the other.
fn add<T>(to: &mut Vec<T>, one: T, id: impl Fn(&T) -> VmId) {
    if to.last().map(&id) != Some(id(&one)) {
        to.push(one);
    }
}

fn host_of(vm: Option<&Arc<Vm>>) -> Option<HostId> {
    vm?.placement.map(|placement| placement.host)
}

/// The delta of `host`, when its feed has moved.
fn entry<'a>(
    found: &'a mut BTreeMap<HostId, Delta>,
    before: &Projection,
    after: &Projection,
    host: HostId,
) -> Option<&'a mut Delta> {
    let free = match found.entry(host) {
        Entry::Occupied(delta) => return Some(delta.into_mut()),
        Entry::Vacant(free) => free,
    };
    let is = after.host(host)?;
    let prev = before.host(host).map_or(Seq::ZERO, |host| host.feed);
    if is.feed == prev {
        return None;
    }
    Some(free.insert(Delta {
        to: is.name.clone(),
        changes: FeedDelta {
            host,
            prev: Some(prev),
            feed: is.feed,
            vms: Vec::new(),
            gone: Vec::new(),
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chv_domain::{
        Actor, Batch, Capacity, Command, CommandId, Context, Decided, HostFacts, HostSlice, HypervisorFacts,
        HypervisorKind, Observation, ProjectName, ReplicaId, Replicas, Submission, Term, Timestamp, VmRef,
        decide_onto,
    };
    use proptest::prelude::*;

    const TERM: Term = Term(1);

    /// A state with two hosts, and the records that led to it.
    struct Cluster {
        state: Projection,
        commands: u8,
    }

    impl Cluster {
        fn with_two_hosts() -> Self {
            let mut cluster = Self {
                state: Projection::default(),
                commands: 0,
            };
            for number in [1, 2] {
                let kind = HypervisorKind::QemuTcg;
                let facts = HostFacts {
                    capacity: Capacity {
                        vcpus: 9,
                        memory_mib: 9000,
                    },
                    hypervisors: vec![HypervisorFacts {
                        kind,
                        version: String::new(),
                    }],
                    daemon: String::new(),
                    missing: Vec::new(),
                };
                let host = HostId::from_bytes([number; 16]);
                cluster.send(&format!("host/h{number}"), Command::RegisterHost { host, facts });
            }
            cluster
        }

        /// Sends a command; what was touched, when anything was.
        fn send(&mut self, actor: &str, command: Command) -> BTreeSet<Touched> {
            self.commands += 1;
            let actor: Actor = actor.parse().unwrap();
            let id = CommandId::from_bytes([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, self.commands]);
            let submission = Submission::new(id, actor, command);
            let alive = self.state.hosts_by_name().map(|host| host.id).collect();
            let context = Context {
                now: Timestamp(1),
                term: TERM,
                alive: &alive,
                replicas: &Replicas::alone(ReplicaId::new(1).unwrap()),
            };
            match decide_onto(&mut self.state.clone(), &submission, context) {
                Ok(Decided::Record(record)) => {
                    let touched = touched(&record).collect();
                    let batch = Batch {
                        published: Seq::ZERO,
                        records: vec![record],
                    };
                    self.state.apply_batch(TERM, &batch);
                    touched
                }
                _ => BTreeSet::new(),
            }
        }

        fn step(&mut self, step: (u8, u8)) -> BTreeSet<Touched> {
            let (what, number) = step;
            let vm = || VmRef::Name(ProjectName::default(), format!("vm{number}").parse().unwrap());
            let command = match what {
                0 | 1 => Command::CreateVm {
                    project: ProjectName::default(),
                    name: format!("vm{number}").parse().unwrap(),
                    labels: BTreeMap::new(),
                    annotations: BTreeMap::new(),
                    protected: false,
                    spec: Arc::new(
                        serde_json::from_str(r#"{"cpu":1,"memory":"64MiB","boot":{"kernel":"k"}}"#).unwrap(),
                    ),
                    start: true,
                },
                2 => Command::StopVm {
                    vm: vm(),
                    timeout: None,
                },
                3 => Command::StartVm { vm: vm() },
                4 => Command::DeleteVm {
                    vm: vm(),
                    force: true,
                    keep: None,
                },
                _ => return self.removed(&vm()),
            };
            self.send("alice", command)
        }

        fn removed(&mut self, vm: &VmRef) -> BTreeSet<Touched> {
            let Some(vm) = self.state.resolve(vm).cloned() else {
                return BTreeSet::new();
            };
            let placement = vm.placement.unwrap();
            let host = self.state.host(placement.host).unwrap().name.clone();
            let observation = Observation::Removed;
            let report = Command::ReportVm {
                vm: vm.id,
                epoch: placement.epoch,
                observation,
            };
            self.send(&format!("host/{host}"), report)
        }
    }

    /// What a host that heard every delta makes of them; it may have had a slice since the last.
    fn hear(slice: &mut HostSlice, delta: &FeedDelta) {
        assert!(delta.prev <= Some(slice.feed), "the chain is broken");
        slice.feed = delta.feed;
        slice.vms.retain(|vm| !delta.gone.contains(&vm.vm));
        for desired in &delta.vms {
            slice.vms.retain(|vm| vm.vm != desired.vm);
            slice.vms.push(desired.clone());
        }
        slice.vms.sort_by_key(|vm| vm.vm);
    }

    proptest! {
        #[test]
        fn a_host_that_heard_every_delta_has_its_slice(
            steps in prop::collection::vec((0u8..6, 0u8..4), 0..40),
            every in 1usize..5,
        ) {
            let mut cluster = Cluster::with_two_hosts();
            let hosts: Vec<_> = cluster.state.hosts_by_name().map(|host| host.id).collect();
            let mut heard: Vec<_> =
                hosts.iter().map(|host| HostSlice::of(&cluster.state, *host).unwrap()).collect();
            // Several commands to a batch, as group commit has it.
            for batch in steps.chunks(every) {
                let before = cluster.state.clone();
                let (mut touched, mut between) = (BTreeSet::new(), Vec::new());
                for step in batch {
                    between.push(cluster.state.clone());
                    touched.extend(cluster.step(*step));
                }
                for delta in deltas(&before, &cluster.state, &touched) {
                    let host = delta.changes.host;
                    let at = hosts.iter().position(|other| *other == host).unwrap();
                    prop_assert_eq!(delta.changes.prev, Some(heard[at].feed));
                    hear(&mut heard[at], &delta.changes);
                    // And so has one that had a slice of any state on the way.
                    for state in &between {
                        let mut slice = HostSlice::of(state, host).unwrap();
                        hear(&mut slice, &delta.changes);
                        prop_assert_eq!(&slice, &HostSlice::of(&cluster.state, host).unwrap());
                    }
                }
            }
            for (host, heard) in hosts.iter().zip(&heard) {
                prop_assert_eq!(heard, &HostSlice::of(&cluster.state, *host).unwrap());
            }
        }
    }
}
