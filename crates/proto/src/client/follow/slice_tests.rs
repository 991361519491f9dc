//! A snapshot and the events after it, over any network, are what a model says that happened to the slice.

use std::collections::BTreeMap;

use chv_domain::{Placed, Power, Seq, VmSpec};
use proptest::prelude::*;

use super::*;
use crate::client::follow::core::Pages;
use crate::client::follow::core::tests::{World, steps};

/// What happens; numbers are taken modulo what there is.
#[derive(Debug, Clone, Copy)]
enum Step {
    Create { project: u8, host: u8 },
    Place { vm: u8, host: u8 },
    Start { vm: u8 },
    Delete { vm: u8 },
    Cordon { host: u8 },
    Register { host: u8 },
    Cluster,
}

fn step() -> impl Strategy<Value = Step> {
    let (two, three, any) = (0..2_u8, 0..3_u8, any::<u8>());
    prop_oneof![
        (two, three.clone()).prop_map(|(project, host)| Step::Create { project, host }),
        (any, three.clone()).prop_map(|(vm, host)| Step::Place { vm, host }),
        any.prop_map(|vm| Step::Start { vm }),
        any.prop_map(|vm| Step::Delete { vm }),
        three.clone().prop_map(|host| Step::Cordon { host }),
        three.prop_map(|host| Step::Register { host }),
        Just(Step::Cluster),
    ]
}

fn vm(number: u8) -> VmId {
    VmId::from_bytes([number; 16])
}

fn host(number: u8) -> HostId {
    HostId::from_bytes([number + 1; 16])
}

fn host_name(number: u8) -> HostName {
    format!("h{number}").parse().unwrap()
}

fn project(number: u8) -> ProjectName {
    format!("p{number}").parse().unwrap()
}

fn spec() -> VmSpec {
    serde_json::from_str(r#"{"cpu":1,"memory":"1MiB","boot":{"kernel":"k"}}"#).unwrap()
}

/// Where each VM is, told in full: the model.
#[derive(Debug, Clone, Default)]
struct State {
    vms: BTreeMap<VmId, (ProjectName, Option<HostName>)>,
    hosts: BTreeMap<HostId, HostName>,
}

impl State {
    fn fold(&mut self, event: &Event) {
        match event {
            Event::VmCreated { vm, project, .. } => {
                self.vms.insert(*vm, (project.clone(), None));
            }
            Event::VmPlaced { vm, placed } => {
                self.vms.get_mut(vm).unwrap().1 = Some(placed.name.clone());
            }
            Event::VmDeleted { vm } => {
                self.vms.remove(vm);
            }
            Event::HostRegistered { host, name, .. } => {
                self.hosts.insert(*host, name.clone());
            }
            _ => {}
        }
    }

    fn holds(&self, slice: &Slice, resource: Resource) -> bool {
        match (slice, resource) {
            (Slice::Everything, _) => true,
            (Slice::Vm(vm), resource) => resource == Resource::Vm(*vm),
            (Slice::Project(project), Resource::Vm(vm)) => {
                self.vms.get(&vm).is_some_and(|(of, _)| of == project)
            }
            (Slice::Host(name), Resource::Vm(vm)) => {
                self.vms.get(&vm).is_some_and(|(_, on)| on.as_ref() == Some(name))
            }
            (Slice::Host(name), Resource::Host(host)) => self.hosts.get(&host) == Some(name),
            _ => false,
        }
    }

    /// What a snapshot of `slice` has in it.
    fn members(&self, slice: &Slice) -> Members {
        let vms = self.vms.keys().filter(|vm| self.holds(slice, Resource::Vm(**vm)));
        let host = match slice {
            Slice::Host(name) => self
                .hosts
                .iter()
                .find(|(_, of)| *of == name)
                .map(|(host, _)| *host),
            _ => None,
        };
        Members::new(slice.clone(), vms.copied(), host)
    }
}

/// The events of these steps, as a decider would have them.
fn history(steps: &[Step]) -> Vec<Event> {
    let mut state = State::default();
    let (mut events, mut created) = (Vec::new(), 0);
    for step in steps {
        let some = |number: u8| {
            let vms: Vec<VmId> = state.vms.keys().copied().collect();
            (!vms.is_empty()).then(|| vms[usize::from(number) % vms.len()])
        };
        let placed = |vm, number| Event::VmPlaced {
            vm,
            placed: Placed {
                host: host(number),
                name: host_name(number),
                verdicts: vec![],
                others: 0,
            },
        };
        let new = match *step {
            Step::Create { project: of, host } => {
                created += 1;
                let id = vm(created);
                let create = Event::VmCreated {
                    vm: id,
                    project: project(of),
                    name: format!("v{created}").parse().unwrap(),
                    labels: BTreeMap::new(),
                    spec: spec().into(),
                    power: Power::Running,
                };
                vec![create, placed(id, host)]
            }
            Step::Place { vm, host } => some(vm).map(|vm| placed(vm, host)).into_iter().collect(),
            Step::Start { vm } => some(vm)
                .map(|vm| Event::VmStartRequested { vm })
                .into_iter()
                .collect(),
            Step::Delete { vm } => some(vm).map(|vm| Event::VmDeleted { vm }).into_iter().collect(),
            Step::Cordon { host: number } => vec![Event::HostCordoned { host: host(number) }],
            Step::Register { host: number } => vec![Event::HostRegistered {
                host: host(number),
                name: host_name(number),
                facts: chv_domain::HostFacts {
                    capacity: chv_domain::Capacity::default(),
                    hypervisors: vec![],
                    daemon: String::new(),
                    missing: Vec::new(),
                },
            }],
            Step::Cluster => vec![Event::ClusterFormed {
                replicas: BTreeMap::new(),
            }],
        };
        for event in new {
            state.fold(&event);
            events.push(event);
        }
    }
    events
}

fn slice() -> impl Strategy<Value = Slice> {
    prop_oneof![
        Just(Slice::Everything),
        (1..6_u8).prop_map(|number| Slice::Vm(vm(number))),
        (0..2_u8).prop_map(|number| Slice::Project(project(number))),
        (0..3_u8).prop_map(|number| Slice::Host(host_name(number))),
    ]
}

proptest! {
    #[test]
    fn a_snapshot_and_its_tail_are_the_slices_history(
        moves in proptest::collection::vec(step(), 1..60),
        slice in slice(),
        taken: proptest::sample::Index,
        network in steps(),
    ) {
        // Given a history, and a snapshot of a slice after one of its events,
        let history = history(&moves);
        prop_assume!(!history.is_empty());
        let snapshot = taken.index(history.len() + 1);
        let mut state = State::default();
        history[..snapshot].iter().for_each(|event| state.fold(event));
        let mut members = state.members(&slice);
        // and what is true: an event is about the slice when its resource is in it before or after.
        let mut expected = Vec::new();
        for (at, event) in history.iter().enumerate().skip(snapshot) {
            let before = state.holds(&slice, event.resource());
            state.fold(event);
            if before || state.holds(&slice, event.resource()) {
                expected.push(at as u64 + 1);
            }
        }
        // When the events after it are followed, over a network that loses, doubles and disorders,
        let mut world = World::new(Seq(snapshot as u64).next().0, Pages::Whole);
        for step in &network {
            world.step(step);
        }
        world.last = world.last.max(history.len() as u64);
        world.heal();
        let followed = world.delivered.iter().filter(|seq| **seq <= history.len() as u64);
        // then what is told is exactly that, each once and in order.
        let told: Vec<u64> = followed.copied().filter(|seq| members.take(&history[*seq as usize - 1])).collect();
        prop_assert_eq!(told, expected);
    }
}
