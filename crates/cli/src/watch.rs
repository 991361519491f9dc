//! `chv watch`: how things are, and then every change of them.

use std::io::Write;
use std::time::Duration;

use chv_domain::{HostName, VmRef};
use chv_proto::client::follow::{self, Change, Snapshot, slice::Slice};
use chv_proto::subject::Audience;
use serde::Serialize;

use crate::events::{Shown, reader_gone};
use crate::failure::Failure;
use crate::output::Format;
use crate::refusal;
use crate::session::{Session, no_vm, unfit};
use crate::view;
use crate::view::host::HostView;
use crate::view::vm::VmView;
use crate::vm::reference::Reference;

/// Show how things are, and then every change of them, until Ctrl-C: no change is left out, and none is shown twice.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chv watch                          the VMs of the project
  chv watch --vm web
  chv watch --host h1                a host, and the VMs on it
  chv watch --all -o json | jq .")]
pub(crate) struct Watch {
    /// Only this VM.
    #[arg(long, value_name = "NAME|ID", conflicts_with_all = ["host", "all"])]
    vm: Option<Reference>,
    /// This host, and the VMs on it.
    #[arg(long, value_name = "NAME", conflicts_with = "all")]
    host: Option<HostName>,
    /// Everything: VMs of every project, hosts, the cluster.
    #[arg(short = 'A', long)]
    all: bool,
}

/// How things are, for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SnapshotView {
    kind: &'static str,
    seq: u64,
    vms: Vec<VmView>,
    hosts: Vec<HostView>,
}

impl Watch {
    pub(crate) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        let slice = self.slice(session).await?;
        let projects = !matches!(slice, Slice::Project(_));
        let mut changes = follow::watch(&session.client().await?, slice);
        let mut shown = Shown::new(session.format());
        // Another reader's going away shows only in a write, and a quiet cluster writes nothing.
        let mut closed = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                change = changes.recv() => match change {
                    Some(Change::Snapshot(snapshot)) => show(session, snapshot, projects, to)?,
                    Some(Change::Event(event)) => shown.event(&session.entry(*event)?, to)?,
                    None => return Err(refusal::follow(changes.failure())),
                },
                _ = closed.tick() => if reader_gone() { return Ok(()) },
                () = session.interrupt().heard() => return Ok(()),
            }
            to.flush()?;
        }
    }

    async fn slice(&self, session: &Session) -> Result<Slice, Failure> {
        Ok(match (&self.vm, &self.host) {
            (Some(vm), _) => match vm.resolve(session.project()) {
                VmRef::Id(id) => Slice::Vm(id),
                named @ VmRef::Name(..) => match session.find_vm(&named, Audience::Any, None).await? {
                    Some((found, _)) => Slice::Vm(found.id.parse().map_err(|_| unfit())?),
                    None => return Err(no_vm(&named)),
                },
            },
            (None, Some(host)) => Slice::Host(host.clone()),
            (None, None) if self.all => Slice::Everything,
            (None, None) => Slice::Project(session.project().clone()),
        })
    }
}

fn show(session: &Session, snapshot: Snapshot, projects: bool, to: &mut impl Write) -> Result<(), Failure> {
    let seq = snapshot.seq.0;
    let vms: Vec<VmView> = snapshot
        .vms
        .into_iter()
        .map(VmView::new)
        .collect::<Result<_, _>>()?;
    let hosts: Vec<HostView> = snapshot.hosts.into_iter().map(HostView::from).collect();
    match session.format() {
        Format::Table => {
            eprintln!("as of event {seq}");
            if !hosts.is_empty() {
                view::host::table(&hosts, session.now(), to)?;
            }
            view::vm::table(&vms, projects, session.now(), to)?;
        }
        // One a line, as the events that follow.
        Format::Json => {
            let view = SnapshotView {
                kind: "Snapshot",
                seq,
                vms,
                hosts,
            };
            serde_json::to_writer(&mut *to, &view).map_err(std::io::Error::from)?;
            writeln!(to)?;
        }
        Format::Yaml => {
            let view = SnapshotView {
                kind: "Snapshot",
                seq,
                vms,
                hosts,
            };
            let text = serde_saphyr::to_string(&view).map_err(std::io::Error::other)?;
            write!(to, "---\n{text}")?;
        }
    }
    Ok(())
}
