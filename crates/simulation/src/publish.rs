//! Hands to the broker what the scheduler's publication says, as the scheduler's task does.

use std::rc::Rc;

use chv_domain::{Projection, Record};
use chv_proto::{convert, v1};
use chv_scheduler::lead::publication::{Mark, Outgoing};
use prost::Message as _;

use crate::bug::Bug;
use crate::packet::{ToBroker, ToReplica};
use crate::world::{Event, World};

impl World {
    pub(crate) fn publish_batch(&mut self, replica: usize, records: &[Record], state: Projection) {
        let link = self.replicas[replica].link;
        let Some(office) = self.office(replica) else {
            return;
        };
        if office.publication.continues_with(records) {
            let out = office.publication.batch(records, state, link);
            self.hand_over(replica, out);
        } else if office.publication.is_behind(state.seq()) {
            self.catch_up(replica);
        }
    }

    /// Publishes from the log what is applied and not published.
    pub(crate) fn catch_up(&mut self, replica: usize) {
        let applied = self.replicas[replica].applied.clone();
        let Some(office) = self.office(replica) else {
            return;
        };
        let mut up = office.publication.catch_up(applied.state);
        loop {
            let link = self.replicas[replica].link;
            let (records, fails) = (1 + self.chance.index(5), self.chance.is(10));
            let Some(office) = self.office(replica) else {
                return;
            };
            let Some(from) = office.publication.read_from(&up, link).filter(|_| !fails) else {
                break;
            };
            let at = applied.records.partition_point(|record| record.last() < from);
            let page: Vec<Record> = applied
                .records
                .iter()
                .skip(at)
                .take(records)
                .map(|record| (**record).clone())
                .collect();
            if page.is_empty() {
                break;
            }
            let out = office.publication.page(&mut up, &page, link);
            if !self.hand_over(replica, out) {
                break;
            }
        }
        let link = self.replicas[replica].link;
        let Some(office) = self.office(replica) else {
            return;
        };
        let out = office.publication.caught_up(up, link);
        self.hand_over(replica, out);
    }

    pub(crate) fn check_publication(&mut self, replica: usize) {
        let link = self.replicas[replica].link;
        let applied = self.replicas[replica].applied.state.seq();
        let Some(office) = self.office(replica) else {
            return;
        };
        office.publication.check(link);
        let overdue = office.publication.overdue(link);
        if self.bug != Some(Bug::LostMark) {
            self.hand_over(replica, overdue.into_iter().collect());
        }
        let Some(office) = self.office(replica) else {
            return;
        };
        if office.publication.is_behind(applied) {
            self.catch_up(replica);
        }
    }

    pub(crate) fn mark_back(&mut self, replica: usize, serial: u64, mark: Mark) {
        let link = self.replicas[replica].link;
        let Some(office) = self
            .office(replica)
            .filter(|office| office.serial == serial && !office.closing)
        else {
            return;
        };
        let out = office.publication.came_back(mark, link);
        let published = office.publication.published();
        self.oracle.published(published);
        self.hand_over(replica, out);
    }

    pub(crate) fn tick(&mut self, replica: usize) {
        if let Some(published) = self.office(replica).map(|office| office.publication.published()) {
            self.tell_broker(replica, ToBroker::Tick(published));
        }
    }

    /// Hands messages over until the client has no room; whether it had room for all.
    fn hand_over(&mut self, replica: usize, mut out: Vec<Outgoing>) -> bool {
        let full = self.weather.full;
        let room = out.iter().position(|_| self.chance.is(full));
        let rest = room.map_or_else(Vec::new, |room| out.split_off(room));
        let bug = self.bug;
        let Some(office) = self.office(replica) else {
            return false;
        };
        if bug == Some(Bug::Room) {
            out.extend(rest.into_iter().skip(1));
        } else if !rest.is_empty() {
            office.publication.not_taken(&rest);
        }
        let office = office.serial;
        for message in out {
            self.hand(replica, office, message);
        }
        room.is_none()
    }

    fn hand(&mut self, replica: usize, office: u64, message: Outgoing) {
        match message {
            Outgoing::Event(published) => {
                let message = v1::EventMessage::decode(published.event.message)
                    .expect("an event is encoded as the message that it is");
                self.tell_broker(replica, ToBroker::Event(Rc::new(message)));
            }
            Outgoing::Feed(delta) => {
                let host = self.host_numbered(delta.changes.host);
                let delta = Rc::new(convert::delta_to_wire(&delta.changes));
                self.tell_broker(replica, ToBroker::Feed { host, delta });
            }
            Outgoing::Mark(mark) if self.bug == Some(Bug::Mark) => {
                self.schedule
                    .after(0, Event::ToReplica(replica, ToReplica::Mark { office, mark }));
            }
            Outgoing::Mark(mark) => self.tell_broker(replica, ToBroker::Mark { office, mark }),
        }
    }
}
