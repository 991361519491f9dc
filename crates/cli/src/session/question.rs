//! The questions that several verbs ask: VMs and hosts, page by page. Which replica answers is the verb's choice.

use std::time::Duration;

use chv_domain::{ProjectName, Seq, VmRef};
use chv_proto::convert::{self, At, EventEntry};
use chv_proto::subject::Audience;
use chv_proto::v1::query_envelope::Query;
use chv_proto::v1::{self, query_reply};

use super::Session;
use crate::cli::Reading;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Format;
use crate::refusal;
use crate::view::garbled;
use crate::view::host::HostView;
use crate::view::vm::VmView;
use crate::when::AsOf;

/// How long a read is waited for.
const READ: Duration = Duration::from_secs(10);

/// Which VMs are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// Those that have a name.
    Named,
    /// Those that are deleted and can be undeleted.
    Deleted,
}

impl From<Reading> for Audience {
    fn from(reading: Reading) -> Self {
        if reading.consistent {
            Self::Leader
        } else {
            Self::Any
        }
    }
}

impl Session {
    /// Asks a question.
    pub(crate) async fn query(
        &self,
        audience: Audience,
        query: Query,
        min_seq: Option<Seq>,
    ) -> Result<v1::QueryReply, Failure> {
        self.query_at(audience, query, min_seq, None).await
    }

    /// Asks a question about a moment of the past.
    pub(crate) async fn query_at(
        &self,
        audience: Audience,
        query: Query,
        min_seq: Option<Seq>,
        at: Option<At>,
    ) -> Result<v1::QueryReply, Failure> {
        let client = self.client().await?;
        client
            .query_at(audience, query, min_seq, at, self.patience(READ))
            .await
            .map_err(refusal::query)
    }

    /// As of when to ask, if not as of now.
    fn at(&self, as_of: AsOf) -> Option<At> {
        as_of.at.map(|moment| moment.at(self.now()))
    }

    /// Tells a person at which event things were so.
    fn tell(&self, as_of: AsOf, seq: u64) {
        if as_of.at.is_some() && self.format() == Format::Table {
            eprintln!("as of event {seq}");
        }
    }

    /// A VM and the last event that it was read at; `None` when it is not there.
    pub(crate) async fn find_vm(
        &self,
        vm: &VmRef,
        audience: Audience,
        min_seq: Option<Seq>,
    ) -> Result<Option<(v1::Vm, Seq)>, Failure> {
        let query = Query::GetVm(v1::GetVm {
            vm: Some(convert::vm_ref_to_wire(vm)),
        });
        match self.query(audience, query, min_seq).await {
            Ok(v1::QueryReply {
                applied_seq,
                result: Some(query_reply::Result::Vm(vm)),
                ..
            }) => Ok(Some((vm, Seq(applied_seq)))),
            Ok(_) => Err(unfit()),
            Err(failure) if failure.exit == Exit::NotFound => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// A VM to show.
    pub(crate) async fn vm(&self, vm: &VmRef, audience: Audience, as_of: AsOf) -> Result<VmView, Failure> {
        let query = Query::GetVm(v1::GetVm {
            vm: Some(convert::vm_ref_to_wire(vm)),
        });
        match self.query_at(audience, query, None, self.at(as_of)).await {
            Ok(v1::QueryReply {
                state_seq,
                result: Some(query_reply::Result::Vm(vm)),
                ..
            }) => {
                self.tell(as_of, state_seq);
                VmView::new(vm)
            }
            Ok(_) => Err(unfit()),
            Err(failure) if failure.exit == Exit::NotFound && as_of.at.is_none() => Err(no_vm(vm)),
            Err(failure) => Err(failure),
        }
    }

    /// The VMs of a project, or of all.
    pub(crate) async fn vms(
        &self,
        project: Option<&ProjectName>,
        which: Which,
        audience: Audience,
        as_of: AsOf,
    ) -> Result<Vec<VmView>, Failure> {
        let mut vms: Vec<VmView> = Vec::new();
        let (mut after, mut at) = (None, self.at(as_of));
        loop {
            let query = Query::ListVms(v1::ListVms {
                project: project.map(ToString::to_string).unwrap_or_default(),
                after,
                limit: 0,
                deleted: which == Which::Deleted,
            });
            let reply = self.query_at(audience, query, None, at).await?;
            let Some(query_reply::Result::Vms(page)) = reply.result else {
                return Err(unfit());
            };
            // Further pages are of the same state.
            at = at.and(Some(At::Seq(Seq(reply.state_seq))));
            after = page.vms.last().map(|last| v1::ProjectAndName {
                project: last.project.clone(),
                name: last.name.clone(),
            });
            for vm in page.vms {
                vms.push(VmView::new(vm)?);
            }
            if !page.more || after.is_none() || which == Which::Deleted {
                if page.more && which == Which::Deleted {
                    eprintln!("there are more; these are the first whose time is over");
                }
                self.tell(as_of, reply.state_seq);
                return Ok(vms);
            }
        }
    }

    /// The hosts after a name, up to and with another if one is given.
    pub(crate) async fn hosts_after(
        &self,
        after: &str,
        last: Option<&str>,
        audience: Audience,
        as_of: AsOf,
    ) -> Result<Vec<HostView>, Failure> {
        let mut hosts: Vec<HostView> = Vec::new();
        let (mut after, mut at) = (after.to_owned(), self.at(as_of));
        loop {
            let query = Query::ListHosts(v1::ListHosts { after, limit: 0 });
            let reply = self.query_at(audience, query, None, at).await?;
            let Some(query_reply::Result::Hosts(page)) = reply.result else {
                return Err(unfit());
            };
            at = at.and(Some(At::Seq(Seq(reply.state_seq))));
            let ended = !page.more || page.hosts.is_empty();
            for host in page.hosts {
                if last.is_some_and(|last| host.name.as_str() > last) {
                    return Ok(hosts);
                }
                hosts.push(host.into());
            }
            match hosts.last() {
                Some(host) if !ended => after = host.name.clone(),
                _ => {
                    self.tell(as_of, reply.state_seq);
                    return Ok(hosts);
                }
            }
        }
    }

    /// An event from the wire.
    pub(crate) fn entry(&self, event: v1::EventMessage) -> Result<EventEntry, Failure> {
        convert::event_from_wire(event).map_err(|error| garbled(&error))
    }
}

/// For a VM that is not there.
pub(crate) fn no_vm(vm: &VmRef) -> Failure {
    Failure::new(Exit::NotFound, format!("there is no VM {vm}"))
        .or_try("`chv vm list --all-projects` shows those that are")
}

/// For an answer to another question.
pub(crate) fn unfit() -> Failure {
    Failure::new(
        Exit::Internal,
        "the scheduler answered another question than was asked",
    )
    .or_try("`chv --version` and `chv status -o json`: the versions may not fit together")
}
