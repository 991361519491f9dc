//! Queries, answered from the folded state, a small page at a time so that paging is tested.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use chv_domain::*;
use chv_proto::v1::query_envelope::Query;
use chv_proto::v1::{self, query_reply};
use chv_proto::{convert, subject};
use futures::StreamExt;
use prost::Message;

use super::{State, h1};

pub(super) async fn answer_queries(
    mut queries: async_nats::Subscriber,
    nats: async_nats::Client,
    state: Arc<Mutex<State>>,
) {
    while let Some(message) = queries.next().await {
        let (_, audience, kind) = subject::parse_query(&message.subject).unwrap();
        let asked = convert::decode_query(&message.payload, &kind).unwrap();
        let reply = {
            let state = state.lock().unwrap();
            if state.mute {
                continue;
            }
            v1::QueryReply {
                version: convert::VERSION,
                replica: 1,
                applied_seq: state.projection.seq().0,
                state_seq: state.projection.seq().0,
                as_leader: audience == subject::Audience::Leader,
                result: Some(state.result(asked.query)),
            }
        };
        if let Some(to) = message.reply {
            nats.publish(to, reply.encode_to_vec().into()).await.unwrap();
        }
    }
}

impl State {
    fn result(&self, query: Query) -> query_reply::Result {
        use query_reply::Result as Answer;
        let host_name = h1();
        match query {
            Query::GetVm(get) => {
                let named = convert::vm_ref_from_wire(get.vm, "vm").unwrap();
                match self.projection.resolve(&named) {
                    Some(vm) => Answer::Vm(convert::vm_to_wire(vm, Some(&host_name))),
                    None => Answer::Refused(convert::refused(
                        "not_found",
                        format!("there is no VM {named}"),
                        "",
                    )),
                }
            }
            Query::ListVms(list) if list.deleted => Answer::Vms(v1::VmPage {
                vms: self
                    .projection
                    .binned()
                    .map(|vm| convert::vm_to_wire(vm, Some(&host_name)))
                    .collect(),
                more: false,
            }),
            Query::ListVms(list) => {
                // One a page, so that paging is tested.
                let after = list
                    .after
                    .map(|after| (after.project.parse().unwrap(), after.name.parse().unwrap()));
                let mut vms = self.projection.vms_by_name(after.as_ref());
                Answer::Vms(v1::VmPage {
                    vms: vms
                        .next()
                        .map(|vm| convert::vm_to_wire(vm, Some(&host_name)))
                        .into_iter()
                        .collect(),
                    more: vms.next().is_some(),
                })
            }
            Query::ListHosts(list) => {
                let hosts = self
                    .projection
                    .hosts_by_name()
                    .filter(|host| host.name.as_str() > list.after.as_str());
                Answer::Hosts(v1::HostPage {
                    hosts: hosts
                        .map(|host| convert::host_to_wire(host, true, Some(Duration::from_millis(300))))
                        .collect(),
                    more: false,
                })
            }
            Query::ListEvents(list) => Answer::Events(self.events(list)),
            Query::ReadLog(_) => Answer::Refused(convert::refused("gone", "a fake keeps no records", "")),
            Query::ReadBase(_) => Answer::Refused(convert::refused("invalid", "a fake keeps no states", "")),
            Query::GetCluster(_) => Answer::Cluster(v1::ClusterState::default()),
            Query::GetStatus(get) => Answer::Status(v1::ReplicaStatus {
                cluster: "01KAJ4W2R4T8Y3Z6N5M7Q9C1BD".to_owned(),
                replica: 1,
                role: "leader".to_owned(),
                term: 1,
                leader: 1,
                applied_seq: self.projection.seq().0,
                replicas: [1, 2]
                    .map(|replica| v1::ClusterReplica {
                        replica,
                        address: format!("127.0.0.1:710{replica}"),
                        member: "voter".to_owned(),
                        ..v1::ClusterReplica::default()
                    })
                    .into(),
                vms: self.projection.vm_count() as u64,
                hosts: 1,
                hosts_alive: 1,
                version: "0.1.0".to_owned(),
                digest: if get.digest {
                    self.projection.digest().0.to_vec()
                } else {
                    Vec::new()
                },
                ..v1::ReplicaStatus::default()
            }),
        }
    }

    /// Looks at two events a page, so that paging is tested.
    fn events(&self, list: v1::ListEvents) -> v1::EventPage {
        let from = list.from_seq.max(1);
        let vm = list
            .vm
            .map(|vm| convert::vm_ref_from_wire(Some(vm), "vm").unwrap());
        let vm = vm.map(|vm| match vm {
            VmRef::Id(id) => id,
            VmRef::Name(..) => self.projection.resolve(&vm).unwrap().id,
        });
        let all: Vec<_> = self
            .records
            .iter()
            .flat_map(|record| self.messages(record))
            .collect();
        let last = self.projection.seq().0;
        let size = match list.limit {
            0 => 2,
            limit => limit.min(2) as usize,
        };
        let page: Vec<_> = match (list.backward, list.from_seq) {
            (false, _) => all
                .iter()
                .filter(|event| event.seq >= from)
                .take(size)
                .cloned()
                .collect(),
            (true, 0) => all.iter().rev().take(size).cloned().collect(),
            (true, _) => all
                .iter()
                .rev()
                .filter(|event| event.seq <= from)
                .take(size)
                .cloned()
                .collect(),
        };
        let next_seq = page.last().map_or(from, |last| match list.backward {
            false => last.seq + 1,
            true => last.seq - 1,
        });
        let wanted = |event: &v1::EventMessage| {
            let entry = convert::event_from_wire(event.clone()).unwrap();
            vm.is_none_or(|vm| entry.event.resource() == Resource::Vm(vm))
                && (list.actor.is_empty() || list.actor == event.actor)
                && (list.command.is_empty() || list.command == event.command)
                && event.time_us >= list.from_time_ms * 1000
                && (list.until_time_ms == 0 || event.time_us < list.until_time_ms * 1000)
        };
        v1::EventPage {
            events: page.into_iter().filter(wanted).collect(),
            next_seq,
            more: (1..=last).contains(&next_seq),
            oldest_seq: 1,
            last_seq: last,
        }
    }
}
