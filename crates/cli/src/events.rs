//! `chv events`: what happened, from the log; with `-f` also what happens.

use std::io::Write;
use std::time::Duration;

use chv_domain::{Actor, CommandId, HostName, Seq, VmId, VmRef};
use chv_proto::client::follow;
use chv_proto::convert::{self, EventEntry};
use chv_proto::v1::query_envelope::Query;
use chv_proto::v1::{self, query_reply};

use crate::cli::Reading;
use crate::failure::Failure;
use crate::output::Format;
use crate::refusal;
use crate::session::{Session, no_vm, unfit};
use crate::view::event::{EventShow, HEADING};
use crate::view::extent::Extent;
use crate::vm::reference::Reference;
use crate::when::When;

/// Show what happened: when, by whom, why. Events are numbered without holes, and never change.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chv events --vm hello              from the command to the running guest
  chv events -f                      everything, and then as it happens
  chv events --actor alice --from 1200
  chv events --reverse --limit 20    the newest, first
  chv events --host h1 --since 1h --until 30m
  chv events -o json | jq -r 'select(.kind == \"blocked\") | .data.reason'")]
pub(crate) struct Events {
    /// Only of this VM; one that is deleted is known by its id alone.
    #[arg(long, value_name = "NAME|ID")]
    vm: Option<Reference>,
    /// Only of this host.
    #[arg(long, value_name = "NAME")]
    host: Option<HostName>,
    /// Only by this actor: a user, or host/NAME for a host's daemon.
    #[arg(long, value_name = "ACTOR")]
    actor: Option<Actor>,
    /// Only of this command.
    #[arg(long, value_name = "ID")]
    command: Option<CommandId>,
    /// Begin with this event; otherwise with the oldest that is kept, or with --reverse the newest.
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(u64).range(1..))]
    from: Option<u64>,
    /// Only those of this time or later: how long ago (`10m`), or a time (`2026-11-21T08:30:00Z`).
    #[arg(long, value_name = "TIME|AGO")]
    since: Option<When>,
    /// Only those before this time.
    #[arg(long, value_name = "TIME|AGO")]
    until: Option<When>,
    /// The newest first.
    #[arg(short, long)]
    reverse: bool,
    /// At most this many.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Go on as events happen, until Ctrl-C.
    #[arg(short, long, conflicts_with_all = ["until", "reverse", "limit"])]
    follow: bool,
    #[command(flatten)]
    reading: Reading,
}

impl Events {
    pub(crate) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        let vm = match &self.vm {
            Some(vm) => Some(self.resolve(session, vm.resolve(session.project())).await?),
            None => None,
        };
        let mut shown = Shown::new(session.format());
        if self.follow {
            self.follow(session, vm, &mut shown, to).await
        } else {
            self.past(session, vm, &mut shown, to).await
        }
    }

    /// A name stands for the VM that has it now, also when that is deleted while its events are followed.
    async fn resolve(&self, session: &Session, vm: VmRef) -> Result<VmId, Failure> {
        if let VmRef::Id(id) = vm {
            return Ok(id);
        }
        match session.find_vm(&vm, self.reading.into(), None).await? {
            Some((found, _)) => found.id.parse().map_err(|_| unfit()),
            None => {
                Err(no_vm(&vm)
                    .or_try("the id, if it was deleted: `chv events` shows it where it was created"))
            }
        }
    }

    /// Shows what the log has.
    async fn past(
        &self,
        session: &Session,
        vm: Option<VmId>,
        shown: &mut Shown,
        to: &mut impl Write,
    ) -> Result<(), Failure> {
        let mut list = self.list(session, vm);
        // What was shown once is there: a page from a replica that lags must not end before it.
        let mut seen = None;
        let mut past_end = false;
        loop {
            let query = Query::ListEvents(list.clone());
            let audience = self.reading.into();
            let reply = session.query(audience, query, seen).await?;
            let Some(query_reply::Result::Events(page)) = reply.result else {
                return Err(unfit());
            };
            let extent = Extent::new(&page, reply.as_leader, reply.replica);
            if !past_end && self.from.is_some_and(|from| extent.ends_before(from)) {
                past_end = true;
                eprintln!("{}", extent.end());
            }
            if let Some(limit) = self.limit {
                list.limit = limit.saturating_sub(shown.count + page.events.len() as u32);
            }
            for event in page.events {
                shown.event(&session.entry(event)?, to)?;
            }
            to.flush()?;
            if !self.reverse {
                seen = Some(Seq(page.next_seq.saturating_sub(1)));
            }
            let enough = self.limit.is_some_and(|limit| shown.count >= limit);
            if enough || !page.more || page.next_seq == list.from_seq {
                if shown.count == 0 && !past_end {
                    eprintln!("{}", extent.instead());
                }
                return Ok(());
            }
            list.from_seq = page.next_seq;
        }
    }

    /// What is asked for.
    fn list(&self, session: &Session, vm: Option<VmId>) -> v1::ListEvents {
        let text = |text: Option<String>| text.unwrap_or_default();
        let now = session.now();
        v1::ListEvents {
            from_seq: self.from.unwrap_or_default(),
            limit: self.limit.unwrap_or_default(),
            vm: vm.map(|vm| convert::vm_ref_to_wire(&VmRef::Id(vm))),
            host: text(self.host.as_ref().map(ToString::to_string)),
            actor: text(self.actor.as_ref().map(ToString::to_string)),
            command: text(self.command.as_ref().map(ToString::to_string)),
            backward: self.reverse,
            from_time_ms: self.since.map_or(0, |since| since.millis(now)),
            until_time_ms: self.until.map_or(0, |until| until.millis(now)),
        }
    }

    /// The event that following begins with. Where there is none yet, that is told: nothing may come for long.
    async fn first(&self, session: &Session) -> Result<Seq, Failure> {
        if self.from.is_none() && self.since.is_none() {
            return Ok(Seq::ZERO);
        }
        let now = session.now();
        let list = v1::ListEvents {
            from_seq: self.from.unwrap_or_default(),
            from_time_ms: self.since.map_or(0, |since| since.millis(now)),
            limit: 1,
            ..v1::ListEvents::default()
        };
        let query = Query::ListEvents(list);
        let reply = session.query(self.reading.into(), query, None).await?;
        let Some(query_reply::Result::Events(page)) = reply.result else {
            return Err(unfit());
        };
        let extent = Extent::new(&page, reply.as_leader, reply.replica);
        if let Some(from) = self.from.filter(|from| extent.ends_before(*from)) {
            eprintln!("{}", extent.awaited(from));
            return Ok(Seq(from));
        }
        Ok(match (self.since, self.from) {
            (None, Some(from)) => Seq(from),
            _ => Seq(page.events.first().map_or(page.next_seq, |event| event.seq)),
        })
    }

    /// Shows what the log has, and what happens then.
    async fn follow(
        &self,
        session: &Session,
        vm: Option<VmId>,
        shown: &mut Shown,
        to: &mut impl Write,
    ) -> Result<(), Failure> {
        let filter = follow::Filter {
            vm,
            host: self.host.clone(),
            actor: self.actor.clone(),
            command: self.command,
        };
        let mut events = follow::events(&session.client().await?, self.first(session).await?, filter);
        // Another reader's going away shows only in a write, and a quiet cluster writes nothing.
        let mut closed = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                event = events.recv() => {
                    let Some(event) = event else {
                        return Err(refusal::follow(events.failure()));
                    };
                    shown.event(&session.entry(event)?, to)?;
                    to.flush()?;
                }
                _ = closed.tick() => if reader_gone() { return Ok(()) },
                () = session.interrupt().heard() => return Ok(()),
            }
        }
    }
}

/// The events that are shown, one after the other.
pub(crate) struct Shown {
    format: Format,
    show: EventShow,
    heading: bool,
    /// How many events were shown.
    count: u32,
}

impl Shown {
    pub(crate) fn new(format: Format) -> Self {
        Self {
            format,
            show: EventShow::default(),
            heading: false,
            count: 0,
        }
    }

    pub(crate) fn event(&mut self, entry: &EventEntry, to: &mut impl Write) -> Result<(), Failure> {
        self.count = self.count.saturating_add(1);
        self.show.learn(entry);
        match self.format {
            Format::Table => {
                if !std::mem::replace(&mut self.heading, true) {
                    writeln!(to, "{HEADING}")?;
                }
                writeln!(to, "{}", self.show.line(entry))?;
            }
            // One a line, so that a stream can be read as it comes.
            Format::Json => {
                serde_json::to_writer(&mut *to, &self.show.view(entry)).map_err(std::io::Error::from)?;
                writeln!(to)?;
            }
            Format::Yaml => {
                let text = serde_saphyr::to_string(&self.show.view(entry)).map_err(std::io::Error::other)?;
                write!(to, "---\n{text}")?;
            }
        }
        self.show.forget(entry);
        Ok(())
    }
}

/// Whether whoever reads standard output has gone.
pub(crate) fn reader_gone() -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut stdout = [PollFd::from_borrowed_fd(
        rustix::stdio::stdout(),
        PollFlags::empty(),
    )];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut stdout, Some(&at_once)).is_ok()
        && stdout[0].revents().intersects(PollFlags::ERR | PollFlags::NVAL)
}
