//! `chv vm why`: why a VM is as it is, and where it is, put together from its events.

use std::io::{self, Write};

use chv_domain::{Aftermath, Event, VmId, VmRef};
use chv_proto::convert::{self, EventEntry};
use chv_proto::v1::query_envelope::Query;
use chv_proto::v1::{self, query_reply};
use serde::Serialize;

use super::reference::Reference;
use crate::cli::Reading;
use crate::failure::Failure;
use crate::output::{printable, rfc3339, structured};
use crate::session::{Session, no_vm, unfit};
use crate::view::event::{EventShow, EventView};
use crate::view::vm::VmView;

/// How many pages of its newest events are looked at: what is older than that explains nothing any more.
const PAGES: usize = 20;

/// Say why a VM is as it is: what was asked for, where it was placed and why, how it ended last, what stands in its way.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chv vm why web
  chv vm why web -o json | jq -r .lastExit.data.console")]
pub(crate) struct Why {
    /// Its name, project/name, or id.
    #[arg(value_name = "VM")]
    vm: Reference,
    #[command(flatten)]
    reading: Reading,
}

impl Why {
    pub(crate) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        let asked = self.vm.resolve(session.project());
        let Some((vm, _)) = session.find_vm(&asked, self.reading.into(), None).await? else {
            return Err(no_vm(&asked).or_try("`chv events --vm ID` shows what became of one that is deleted"));
        };
        let id: VmId = vm.id.parse().map_err(|_| unfit())?;
        let revision = vm.revision;
        let found = self.look(session, id, revision).await?;
        let vm = VmView::new(vm)?;
        if structured(session.format(), &found.view(&vm), to)? {
            return Ok(());
        }
        Ok(found.tell(&vm, to)?)
    }

    /// Reads the VM's events, the newest first, until each that explains something is found.
    async fn look(&self, session: &Session, vm: VmId, revision: u64) -> Result<Found, Failure> {
        let mut found = Found::default();
        let mut list = v1::ListEvents {
            vm: Some(convert::vm_ref_to_wire(&VmRef::Id(vm))),
            backward: true,
            ..v1::ListEvents::default()
        };
        for _ in 0..PAGES {
            let query = Query::ListEvents(list.clone());
            let reply = session.query(self.reading.into(), query, None).await?;
            let Some(query_reply::Result::Events(page)) = reply.result else {
                return Err(unfit());
            };
            for event in page.events {
                found.take(session.entry(event)?, revision);
            }
            if found.is_whole() || !page.more || page.next_seq == list.from_seq {
                break;
            }
            list.from_seq = page.next_seq;
        }
        Ok(found)
    }
}

/// The newest event of each kind that explains something.
#[derive(Debug, Default)]
struct Found {
    ordered: Option<EventEntry>,
    placed: Option<EventEntry>,
    exited: Option<EventEntry>,
    blocked: Option<EventEntry>,
}

/// The same for programs; what there is none of is null.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct WhyView<'a> {
    vm: &'a VmView,
    ordered: Option<EventView>,
    placed: Option<EventView>,
    last_exit: Option<EventView>,
    blocked: Option<EventView>,
}

impl Found {
    /// Takes an event that is older than those before.
    fn take(&mut self, entry: EventEntry, revision: u64) {
        if entry.seq.0 == revision {
            self.ordered.get_or_insert_with(|| entry.clone());
        }
        match &entry.event {
            Event::VmPlaced { .. } => self.placed.get_or_insert(entry),
            Event::VmExited { .. } => self.exited.get_or_insert(entry),
            Event::VmBlocked { .. } => self.blocked.get_or_insert(entry),
            _ => return,
        };
    }

    const fn is_whole(&self) -> bool {
        self.ordered.is_some() && self.placed.is_some() && self.exited.is_some() && self.blocked.is_some()
    }

    fn view<'a>(&self, vm: &'a VmView) -> WhyView<'a> {
        let show = EventShow::default();
        let view = |entry: &Option<EventEntry>| entry.as_ref().map(|entry| show.view(entry));
        WhyView {
            vm,
            ordered: view(&self.ordered),
            placed: view(&self.placed),
            last_exit: view(&self.exited),
            blocked: view(&self.blocked).filter(|_| vm.trouble().is_some()),
        }
    }

    /// For people.
    fn tell(&self, vm: &VmView, to: &mut impl Write) -> io::Result<()> {
        let mut line =
            |field: &str, value: &str| writeln!(to, "{:<11}{}", format!("{field}:"), printable(value));
        let at = |entry: &EventEntry| format!("event {}, {}", entry.seq, rfc3339(entry.time));
        line("status", vm.status())?;
        if let Some(trouble) = vm.trouble() {
            let since = self.blocked.as_ref().map(|entry| format!(" ({})", at(entry)));
            line("trouble", &format!("{trouble}{}", since.unwrap_or_default()))?;
        }
        if let Some(entry) = &self.ordered {
            let verb = entry.cause.verb;
            line(
                "asked for",
                &format!("{} by {}, {verb} ({})", vm.power(), entry.actor, at(entry)),
            )?;
        }
        if let Some(entry) = &self.placed
            && let Event::VmPlaced { placed, .. } = &entry.event
        {
            line("placed", &format!("on {placed} ({})", at(entry)))?;
        }
        if let Some(entry) = &self.exited
            && let Event::VmExited {
                reason,
                console,
                then,
                ..
            } = &entry.event
        {
            line("last exit", &format!("{reason} ({})", at(entry)))?;
            match then {
                Aftermath::Stays(why) => line("then", &format!("not started again: {why}"))?,
                Aftermath::Again(0) => line("then", "started again")?,
                Aftermath::Again(restart) => line("then", &format!("started again, {restart} in a row"))?,
                Aftermath::AsOrdered => {}
            }
            for said in console.lines() {
                line("console", said)?;
            }
        }
        Ok(())
    }
}
