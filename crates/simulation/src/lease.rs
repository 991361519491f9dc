//! Leases as a leader handles them: granted with the answers to heartbeats, and once they are over, what asks for
//! failover is placed elsewhere. The rules are the scheduler's own.

use std::rc::Rc;

use chv_domain::{LeaseDuration, ReplicaId, Seq};
use chv_scheduler::lead::leases::Leases;
use chv_scheduler::lead::{failover, own};

use crate::broker::PATIENCE;
use crate::bug::Bug;
use crate::packet::{Answer, Beat, Sender, ToUser};
use crate::replica::{Then, Until, Wait};
use crate::world::World;

/// The shortest, so that much happens within a run.
const LEASE: LeaseDuration = LeaseDuration::SHORTEST;

/// How many VMs are placed elsewhere at a look.
const MOST: usize = 8;

impl World {
    /// What a leader knows of leases as it begins.
    pub(crate) fn leases(&self) -> Leases {
        let now = self.instant();
        let begun = match self.bug {
            Some(Bug::Lease) => now.checked_sub(LEASE.over_after()).unwrap_or(now),
            _ => now,
        };
        Leases::new(LEASE, LEASE, begun)
    }

    /// A replica hears a heartbeat. A leader answers it once it has made sure that it leads.
    pub(crate) fn heartbeat(&mut self, replica: usize, beat: Beat) {
        let host = &self.hosts[beat.host];
        let (id, name) = (host.id, host.name.parse().expect("it is a name"));
        let instant = self.instant();
        self.replicas[replica].liveness.heard(name, id, instant);
        if self.office(replica).is_none_or(|office| office.closing) {
            return;
        }
        let mut out = Vec::new();
        if let Some((round, index)) = self.replicas[replica].raft.confirm(&mut out) {
            let wait = Wait {
                until: Until::Confirmed { round, index },
                then: Then::Heartbeat(beat),
                deadline: self.schedule.now + PATIENCE,
            };
            self.wait(replica, wait);
        }
        self.carry_out(replica, out);
    }

    /// Answers a heartbeat as the leader.
    pub(crate) fn grant(&mut self, replica: usize, beat: Beat) {
        let (id, instant) = (self.hosts[beat.host].id, self.instant());
        let known = self.replicas[replica]
            .applied
            .state
            .host(id)
            .map(|host| host.feed);
        let Some(office) = self.office(replica).filter(|office| !office.closing) else {
            return;
        };
        let lease = known.and_then(|_| office.leases.grant(id, instant));
        let reply = ToUser::HeartbeatReply {
            host: beat.host,
            registered: known.is_some(),
            feed: known.unwrap_or(Seq::ZERO),
            beat,
            lease,
        };
        self.tell_user(replica, reply);
    }

    /// Places elsewhere what is due.
    pub(crate) fn fail_over(&mut self, replica: usize) {
        let (instant, clock) = (self.instant(), self.clock(self.replicas[replica].clock));
        let state = self.replicas[replica].applied.state.clone();
        let Some(office) = self.office(replica).filter(|office| office.own == 0) else {
            return;
        };
        let due = failover::due(&state, &office.leases, instant, office.moved, MOST);
        office.moved = due.last().map(|last| (last.from, last.vm));
        office.own = due.len();
        due.iter().for_each(|due| office.leases.begin_moving(due.from));
        let leader = ReplicaId::new(replica as u64 + 1).expect("it is not zero");
        for due in due {
            self.oracle.ids += 1;
            let submission =
                own::submission(due.command(), &state, leader, clock, u128::from(self.oracle.ids));
            self.note(|| format!("replica {replica} places {} elsewhere", due.vm));
            let floor = self.oracle.acknowledged();
            self.oracle.sent(&submission, floor);
            self.intake(replica, Sender::Leader, Rc::new(submission));
        }
    }

    /// What came of a command of the office's own.
    pub(crate) fn moved(&mut self, replica: usize, answer: &Answer) {
        self.oracle.answered(answer);
        if let Some(office) = self
            .office(replica)
            .filter(|office| office.serial == answer.office)
        {
            office.own = office.own.saturating_sub(1);
            if office.own == 0 {
                office.leases.end_moving();
            }
        }
    }
}
