//! Following events: each one once, in order, without a hole, for as long as the follower likes.
//!
//! Live messages are a hint that may be late, doubled, out of order or missing; the numbers tell. What is
//! missing is read from any replica, and the leader's tick tells of a missing end. Nothing is kept but the
//! next number: what it decides is in [`core`], which is pure; this is the shell around it.

pub mod core;
pub mod slice;
mod watch;

use std::convert::Infallible;
use std::time::Duration;

use chv_domain::{Actor, CommandId, HostName, Resource, Seq, VmId};
use futures::{FutureExt as _, StreamExt as _};
use prost::Message as _;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use self::core::{Ask, Core, Hole, Live, Page, Pages};
use super::error::QueryError;
use super::news::{Violation, Violations};
use super::{Client, Refusal};
use crate::convert;
use crate::subject::{self, Audience};
use crate::v1;
use crate::v1::query_envelope::Query;
use crate::v1::query_reply::Result as Answer;
pub use watch::{Change, Snapshot, Watch, watch};

/// How many events wait for the follower before reading stops.
const WAITING_EVENTS: usize = 256;

/// How long one page is asked for before the connection is looked at again.
const PAGE_PATIENCE: Duration = Duration::from_secs(5);

/// The pause after a page that could not be had.
const AGAIN: Duration = Duration::from_millis(250);

/// Which events are wanted: those that fit all that is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// About this VM.
    pub vm: Option<VmId>,
    /// About the host of this name.
    pub host: Option<HostName>,
    /// Of this actor.
    pub actor: Option<Actor>,
    /// Of this command.
    pub command: Option<CommandId>,
}

impl Filter {
    fn pages(&self) -> Pages {
        match *self == Self::default() {
            true => Pages::Whole,
            false => Pages::Filtered,
        }
    }
}

/// Why following ended, other than by the follower's wish.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FollowError {
    /// NATS does not permit the user to subscribe, or to ask for events.
    #[error("NATS does not permit {user:?} to read events on {subject}")]
    NotPermitted {
        /// Who.
        user: String,
        /// Where.
        subject: String,
    },
    /// NATS was lost, and does not let the user in again.
    #[error("NATS at {url} does not let {user:?} in any more")]
    ShutOut {
        /// Where.
        url: String,
        /// Who.
        user: String,
    },
    /// A replica refuses to read events.
    #[error("events can't be read: {0}")]
    Refused(Refusal),
    /// A replica's log has a hole.
    #[error("event {missing} is missing in a replica's log: it has {found} in its place")]
    Hole {
        /// The number that should be there.
        missing: Seq,
        /// The number that is.
        found: Seq,
    },
    /// The client's connection was closed, or an answer can't be read.
    #[error("events can't be followed: {0}")]
    Protocol(String),
}

/// Events, as they come. Following ends when this is dropped.
#[derive(Debug)]
pub struct Events {
    events: mpsc::Receiver<v1::EventMessage>,
    end: oneshot::Receiver<FollowError>,
    _task: AbortOnDropHandle<()>,
}

impl Events {
    /// The next event; `None` when there can be no more, and [`Events::failure`] says why. Nothing is lost
    /// when this is dropped before it is ready.
    pub async fn recv(&mut self) -> Option<v1::EventMessage> {
        self.events.recv().await
    }

    /// Why there are no more events, once [`Events::recv`] has said so.
    pub fn failure(&mut self) -> Option<FollowError> {
        self.end.try_recv().ok()
    }
}

/// Follows the events from `from` on; [`Seq::ZERO`] is the oldest that there is. Must be called in a tokio
/// runtime.
pub fn events(client: &Client, from: Seq, filter: Filter) -> Events {
    let (sender, events) = mpsc::channel(WAITING_EVENTS);
    let (ended, end) = oneshot::channel();
    let follower = Follower {
        client: client.clone(),
        core: Core::new(from, filter.pages()),
        filter,
        events: sender,
    };
    let task = tokio::spawn(async move {
        let Err(error) = follower.run().await;
        // When nobody takes it, the one who would have liked to know is gone.
        let _ = ended.send(error);
    });
    Events {
        events,
        end,
        _task: AbortOnDropHandle::new(task),
    }
}

enum News {
    Event(Box<v1::EventMessage>),
    Tick(Seq),
    Connection,
    Closed,
}

struct Follower {
    client: Client,
    filter: Filter,
    core: Core,
    events: mpsc::Sender<v1::EventMessage>,
}

impl Follower {
    async fn run(mut self) -> Result<Infallible, FollowError> {
        let mut violations = self.client.shared.news.violations();
        // Subscribed first and read then, nothing can fall between the two.
        let mut live = self.subscribe(subject::EVENTS).await?;
        let mut ticks = self.subscribe(subject::TICK).await?;
        self.client
            .nats()
            .flush()
            .await
            .map_err(|error| FollowError::Protocol(error.to_string()))?;
        let mut link = self.client.shared.news.link();
        let mut connects = self.client.connects();
        loop {
            self.read(&mut violations).await?;
            let news = tokio::select! {
                biased;
                violation = violations.next() => {
                    self.permitted(violation)?;
                    continue;
                }
                // Events before ticks: a tick speaks of what came before it.
                message = live.next() => message.map_or(News::Closed, |message| event(&message)),
                message = ticks.next() => message.map_or(News::Closed, |message| tick(&message)),
                () = link.next() => News::Connection,
            };
            match news {
                News::Event(event) => {
                    if self.core.live(Seq(event.seq)) == Live::Deliver {
                        self.deliver(*event).await;
                    }
                }
                News::Tick(last) => self.core.tick(last),
                // What was published while the connection was away is found without waiting for a tick.
                News::Connection => {
                    if self.client.is_up() && self.client.connects() != connects {
                        connects = self.client.connects();
                        self.core.reconnected();
                    }
                }
                News::Closed => return Err(FollowError::Protocol("the connection was closed".to_owned())),
            }
        }
    }

    async fn subscribe(&self, subject: &'static str) -> Result<async_nats::Subscriber, FollowError> {
        let subscribed = self.client.nats().subscribe(subject).await;
        subscribed.map_err(|error| FollowError::Protocol(error.to_string()))
    }

    fn permitted(&self, violation: Violation) -> Result<(), FollowError> {
        match violation {
            Violation::Subscribe(subject) if subject == subject::EVENTS || subject == subject::TICK => {
                Err(FollowError::NotPermitted {
                    user: self.client.user().to_owned(),
                    subject,
                })
            }
            _ => Ok(()),
        }
    }

    /// Reads what is missing, page by page.
    async fn read(&mut self, violations: &mut Violations) -> Result<(), FollowError> {
        while let Some(ask) = self.core.wants() {
            while let Some(violation) = violations.next().now_or_never() {
                self.permitted(violation)?;
            }
            let Some((page, applied)) = self.page(ask).await? else {
                tokio::time::sleep(AGAIN).await;
                continue;
            };
            let numbered = |event: v1::EventMessage| (Seq(event.seq), event);
            let taken = self.core.page(Page {
                events: page.events.into_iter().map(numbered).collect(),
                next: Seq(page.next_seq),
                more: page.more,
                applied,
            });
            for event in taken.events {
                self.deliver(event).await;
            }
            if let Some(Hole { missing, found }) = taken.hole {
                return Err(FollowError::Hole { missing, found });
            }
            if !taken.progress && self.core.wants().is_some() {
                tokio::time::sleep(AGAIN).await;
            }
        }
        Ok(())
    }

    /// One page, with the last event that its replica has applied; `None` when it can't be had now.
    async fn page(&self, ask: Ask) -> Result<Option<(v1::EventPage, Seq)>, FollowError> {
        let text = |text: Option<String>| text.unwrap_or_default();
        let query = Query::ListEvents(v1::ListEvents {
            from_seq: ask.from.0,
            limit: 0,
            vm: self
                .filter
                .vm
                .map(|vm| convert::vm_ref_to_wire(&chv_domain::VmRef::Id(vm))),
            host: text(self.filter.host.as_ref().map(ToString::to_string)),
            actor: text(self.filter.actor.as_ref().map(ToString::to_string)),
            command: text(self.filter.command.as_ref().map(ToString::to_string)),
            ..v1::ListEvents::default()
        });
        let asked = self
            .client
            .query(Audience::Any, query, ask.min_seq, PAGE_PATIENCE)
            .await;
        let error = match asked {
            Ok(reply) => match reply.result {
                Some(Answer::Events(page)) => return Ok(Some((page, Seq(reply.applied_seq)))),
                _ => {
                    return Err(FollowError::Protocol(
                        "an answer is not a page of events".to_owned(),
                    ));
                }
            },
            Err(error) => error,
        };
        not_for_now(error).map(|()| None)
    }

    /// Hands an event over if it is wanted.
    async fn deliver(&self, event: v1::EventMessage) {
        if self.wanted(&event) {
            // Nobody takes it any more only when this task is being ended, too.
            let _ = self.events.send(event).await;
        }
    }

    fn wanted(&self, message: &v1::EventMessage) -> bool {
        let Filter {
            vm,
            host,
            actor,
            command,
        } = &self.filter;
        if self.filter == Filter::default() {
            return true;
        }
        let Ok(entry) = convert::event_from_wire(message.clone()) else {
            return false;
        };
        let resource = entry.event.resource();
        let of_host = |host: &HostName| {
            matches!(resource, Resource::Host(_)) && entry.name.as_deref() == Some(host.as_str())
        };
        vm.is_none_or(|vm| resource == Resource::Vm(vm))
            && host.as_ref().is_none_or(of_host)
            && actor.as_ref().is_none_or(|actor| *actor == entry.actor)
            && command.is_none_or(|command| command == entry.cause.command)
    }
}

/// Tells an answer that may be had later from one that won't.
fn not_for_now(error: QueryError) -> Result<(), FollowError> {
    match error {
        QueryError::Refused(refusal) if !refusal.retryable => Err(FollowError::Refused(refusal)),
        QueryError::NotPermitted { user, subject } => Err(FollowError::NotPermitted { user, subject }),
        QueryError::ShutOut { url, user } => Err(FollowError::ShutOut { url, user }),
        QueryError::Protocol { .. } | QueryError::TooLarge { .. } => {
            Err(FollowError::Protocol(error.to_string()))
        }
        QueryError::Refused(_)
        | QueryError::NobodyAnswers { .. }
        | QueryError::Unreachable { .. }
        | QueryError::TimedOut { .. } => {
            debug!(%error, "no answer for now");
            Ok(())
        }
    }
}

fn event(message: &async_nats::Message) -> News {
    match v1::EventMessage::decode(message.payload.as_ref()) {
        Ok(event) => News::Event(Box::new(event)),
        // Whatever it was, the numbers tell what is missing.
        Err(error) => {
            debug!(%error, subject = %message.subject, "an unreadable event");
            News::Tick(Seq::ZERO)
        }
    }
}

fn tick(message: &async_nats::Message) -> News {
    let tick = v1::Tick::decode(message.payload.as_ref()).ok();
    let known = tick.filter(|tick| tick.version == convert::VERSION);
    News::Tick(known.map_or(Seq::ZERO, |tick| Seq(tick.seq)))
}
