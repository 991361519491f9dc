//! Watching a slice: how it is, and then every event about it, without a hole between the two and none twice.
//!
//! The snapshot is of one event, wherever its pages come from, and following begins with the event after it. Whoever was
//! away for so long that those are not kept any more gets a new snapshot. Which events are about the slice is in
//! [`slice`](super::slice), which is pure.

use std::convert::Infallible;

use chv_domain::{Seq, VmRef};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use super::slice::{Members, Slice};
use super::{AGAIN, Filter, FollowError, PAGE_PATIENCE, WAITING_EVENTS, events, not_for_now};
use crate::client::Client;
use crate::convert::{self, At};
use crate::subject::Audience;
use crate::v1;
use crate::v1::query_envelope::Query;
use crate::v1::query_reply::Result as Answer;

/// What a watcher is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// How the slice is: first of all, and again in place of events that are not kept any more. What was told before
    /// does not count any longer.
    Snapshot(Snapshot),
    /// The next event about the slice. Its number is larger than the snapshot's.
    Event(Box<v1::EventMessage>),
}

/// How a slice is right after an event.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// The event.
    pub seq: Seq,
    /// Its VMs, in the order of projects and names.
    pub vms: Vec<v1::Vm>,
    /// Its hosts, in the order of their names.
    pub hosts: Vec<v1::Host>,
}

/// A slice that is watched. Watching ends when this is dropped.
#[derive(Debug)]
pub struct Watch {
    changes: mpsc::Receiver<Change>,
    end: oneshot::Receiver<FollowError>,
    _task: AbortOnDropHandle<()>,
}

impl Watch {
    /// What comes next; `None` when there can be no more, and [`Watch::failure`] says why. Nothing is lost when this is
    /// dropped before it is ready.
    pub async fn recv(&mut self) -> Option<Change> {
        self.changes.recv().await
    }

    /// Why there is no more, once [`Watch::recv`] has said so.
    pub fn failure(&mut self) -> Option<FollowError> {
        self.end.try_recv().ok()
    }
}

/// Watches `slice`. Must be called in a tokio runtime. A VM or host that is not there is refused.
pub fn watch(client: &Client, slice: Slice) -> Watch {
    let (sender, changes) = mpsc::channel(WAITING_EVENTS);
    let (ended, end) = oneshot::channel();
    let watcher = Watcher {
        client: client.clone(),
        slice,
        changes: sender,
    };
    let task = tokio::spawn(async move {
        let Err(error) = watcher.run().await;
        // When nobody takes it, the one who would have liked to know is gone.
        let _ = ended.send(error);
    });
    Watch {
        changes,
        end,
        _task: AbortOnDropHandle::new(task),
    }
}

struct Watcher {
    client: Client,
    slice: Slice,
    changes: mpsc::Sender<Change>,
}

impl Watcher {
    async fn run(self) -> Result<Infallible, FollowError> {
        let mut seen = Seq::ZERO;
        loop {
            let snapshot = self.snapshot(seen).await?;
            let mut members = self.members(&snapshot)?;
            let filter = Filter {
                vm: match self.slice {
                    Slice::Vm(vm) => Some(vm),
                    Slice::Everything | Slice::Project(_) | Slice::Host(_) => None,
                },
                ..Filter::default()
            };
            let mut events = events(&self.client, snapshot.seq.next(), filter);
            seen = snapshot.seq;
            self.tell(Change::Snapshot(snapshot)).await;
            while let Some(event) = events.recv().await {
                seen = Seq(event.seq);
                let entry = convert::event_from_wire(event.clone())
                    .map_err(|error| FollowError::Protocol(error.to_string()))?;
                if members.take(&entry.event) {
                    self.tell(Change::Event(Box::new(event))).await;
                }
            }
            match events.failure() {
                Some(FollowError::Refused(refusal)) if refusal.code == "gone" => {}
                Some(error) => return Err(error),
                None => return Err(FollowError::Protocol("the events stopped coming".to_owned())),
            }
        }
    }

    async fn tell(&self, change: Change) {
        // Nobody takes it any more only when this task is being ended, too.
        let _ = self.changes.send(change).await;
    }

    fn members(&self, snapshot: &Snapshot) -> Result<Members, FollowError> {
        let garbled = |_| FollowError::Protocol("a snapshot has an id that is none".to_owned());
        let vms = snapshot
            .vms
            .iter()
            .map(|vm| vm.id.parse())
            .collect::<Result<Vec<_>, _>>()
            .map_err(garbled)?;
        let host = match (&self.slice, snapshot.hosts.first()) {
            (Slice::Host(_), Some(host)) => Some(host.id.parse().map_err(garbled)?),
            _ => None,
        };
        Ok(Members::new(self.slice.clone(), vms, host))
    }

    /// How the slice is after some event that is not before `least`.
    async fn snapshot(&self, least: Seq) -> Result<Snapshot, FollowError> {
        let mut snapshot = Snapshot::default();
        let mut at = None;
        let (mut vms, mut hosts) = match &self.slice {
            Slice::Vm(vm) => {
                let vm = Some(convert::vm_ref_to_wire(&VmRef::Id(*vm)));
                (Some(Query::GetVm(v1::GetVm { vm })), None)
            }
            Slice::Project(project) => (Some(list_vms(project.to_string(), None)), None),
            Slice::Everything | Slice::Host(_) => (
                Some(list_vms(String::new(), None)),
                Some(list_hosts(String::new())),
            ),
        };
        // Hosts first: of an earlier state, which a later page is asked of, it isn't known which are alive.
        while let Some(query) = hosts.take().or_else(|| vms.take()) {
            let reply = self.ask(query, at, least).await?;
            // All further pages are of the state of the first.
            snapshot.seq = at.unwrap_or(Seq(reply.state_seq));
            at = Some(snapshot.seq);
            match reply.result {
                Some(Answer::Vm(vm)) => snapshot.vms.push(vm),
                Some(Answer::Vms(page)) => {
                    let last = page
                        .vms
                        .last()
                        .filter(|_| page.more)
                        .map(|last| v1::ProjectAndName {
                            project: last.project.clone(),
                            name: last.name.clone(),
                        });
                    vms = last.map(|last| list_vms(self.project(), Some(last)));
                    snapshot
                        .vms
                        .extend(page.vms.into_iter().filter(|vm| self.holds_vm(vm)));
                }
                Some(Answer::Hosts(page)) => {
                    let last = page.hosts.last().filter(|_| page.more);
                    hosts = last.map(|last| list_hosts(last.name.clone()));
                    snapshot
                        .hosts
                        .extend(page.hosts.into_iter().filter(|host| self.holds_host(host)));
                }
                _ => {
                    return Err(FollowError::Protocol(
                        "an answer is not what was asked for".to_owned(),
                    ));
                }
            }
        }
        Ok(snapshot)
    }

    fn project(&self) -> String {
        match &self.slice {
            Slice::Project(project) => project.to_string(),
            Slice::Everything | Slice::Vm(_) | Slice::Host(_) => String::new(),
        }
    }

    fn holds_vm(&self, vm: &v1::Vm) -> bool {
        match &self.slice {
            Slice::Host(name) => vm.host == name.as_str(),
            Slice::Project(project) => vm.project == project.as_str(),
            Slice::Everything | Slice::Vm(_) => true,
        }
    }

    fn holds_host(&self, host: &v1::Host) -> bool {
        match &self.slice {
            Slice::Host(name) => host.name == name.as_str(),
            Slice::Everything | Slice::Vm(_) | Slice::Project(_) => true,
        }
    }

    /// One answer, asked for until it is there.
    async fn ask(&self, query: Query, at: Option<Seq>, least: Seq) -> Result<v1::QueryReply, FollowError> {
        let least = at.unwrap_or(least);
        loop {
            let asked = self.client.query_at(
                Audience::Any,
                query.clone(),
                Some(least),
                at.map(At::Seq),
                PAGE_PATIENCE,
            );
            match asked.await {
                Ok(reply) => return Ok(reply),
                Err(error) => not_for_now(error)?,
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}

fn list_vms(project: String, after: Option<v1::ProjectAndName>) -> Query {
    Query::ListVms(v1::ListVms {
        project,
        after,
        limit: 0,
        deleted: false,
    })
}

fn list_hosts(after: String) -> Query {
    Query::ListHosts(v1::ListHosts { after, limit: 0 })
}
