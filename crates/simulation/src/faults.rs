//! What goes wrong in a run, and how it ends: with everything well again.

use crate::raft::REPLICAS;
use crate::schedule::MS;
use crate::world::{Event, HOSTS, SUBSCRIBERS, World};

/// How long it may take, once all else is well, until what asks for failover is placed elsewhere: an election, the
/// wait of a new leader, and what it takes to decide.
const LEFT_BY: u64 = 8000 * MS;

impl World {
    /// One fault, and when the next one comes.
    pub(crate) fn fault(&mut self) {
        if self.healed {
            return;
        }
        self.faults += 1;
        match self.chance.is(self.weather.hosts) {
            true => self.some_host_fault(),
            false => self.other_fault(),
        }
        let every = self.weather.fault_every;
        let after = self.chance.pick(every / 4..every * 2);
        self.schedule.after(after, Event::Fault);
    }

    fn some_host_fault(&mut self) {
        let host = self.chance.index(HOSTS);
        if self.hosts[host].machine.up {
            self.host_fault(host);
        }
    }

    fn other_fault(&mut self) {
        let replica = self.chance.index(REPLICAS);
        match self.chance.pick(0..12) {
            0 => self.down(replica, false),
            1 => self.down(replica, true),
            2 => {
                self.note(|| "all lose power".to_owned());
                self.all_down();
            }
            3 | 4 => self.pause(replica),
            5 | 6 => self.partition(replica),
            7 => self.cut.clear(),
            8 => self.lose_broker(replica),
            9 => {
                self.note(|| "the broker is gone".to_owned());
                (0..REPLICAS).for_each(|replica| self.lose_broker(replica));
            }
            10 => self.clock_jumps(replica),
            _ => {
                let subscriber = self.chance.index(SUBSCRIBERS);
                self.resubscribe(subscriber);
            }
        }
    }

    /// Something was acknowledged: the worst moment to lose power.
    pub(crate) fn acknowledged(&mut self) {
        if self.healed || !self.chance.is(self.weather.spite) {
            return;
        }
        self.faults += 1;
        let leader = (0..REPLICAS).find(|replica| self.replicas[*replica].raft.leads().is_some());
        match leader.filter(|_| self.chance.is(500)) {
            Some(leader) => {
                self.crash(leader, true);
                let after = self.chance.pick(MS..100 * MS);
                self.schedule.after(after, Event::Restart(leader));
            }
            None => {
                self.note(|| "all lose power at the worst moment".to_owned());
                self.all_down();
            }
        }
    }

    /// A leader takes long to decide: the worst moment to lose its office.
    pub(crate) fn deciding(&mut self, replica: usize) {
        if !self.healed && self.weather.spite > 0 && self.chance.is(500) {
            self.faults += 1;
            self.partition(replica);
            let after = self.chance.pick(200 * MS..700 * MS);
            self.schedule.after(after, Event::Mend(replica));
        }
    }

    /// A replica is not cut off any more.
    pub(crate) fn mend(&mut self, replica: usize) {
        self.cut.retain(|(from, to)| *from != replica && *to != replica);
    }

    fn all_down(&mut self) {
        (0..REPLICAS).for_each(|replica| self.down(replica, true));
    }

    fn down(&mut self, replica: usize, power: bool) {
        self.crash(replica, power);
        let after = self.chance.pick(10 * MS..1500 * MS);
        self.schedule.after(after, Event::Restart(replica));
    }

    /// As by SIGSTOP, or a machine that is out of breath.
    fn pause(&mut self, replica: usize) {
        let until = self.schedule.now + self.chance.pick(50 * MS..2000 * MS);
        self.note(|| format!("replica {replica} stands still until {until}"));
        self.replicas[replica].paused_until = until;
    }

    /// Cuts a replica off from the others, in one direction or both.
    fn partition(&mut self, replica: usize) {
        let (hears, is_heard) = (self.chance.is(300), self.chance.is(300));
        self.note(|| format!("replica {replica} is cut off; hears: {hears}, is heard: {is_heard}"));
        for other in (0..REPLICAS).filter(|other| *other != replica) {
            if !hears {
                self.cut.insert((other, replica));
            }
            if !is_heard {
                self.cut.insert((replica, other));
            }
        }
    }

    fn lose_broker(&mut self, replica: usize) {
        self.note(|| format!("replica {replica} loses the broker"));
        self.disconnect(replica);
        let after = self.chance.pick(MS..1200 * MS);
        self.schedule.after(after, Event::Connect(replica));
    }

    fn clock_jumps(&mut self, replica: usize) {
        let most: i64 = if self.weather.hours { 3 * 3600 } else { 240 };
        let range = u64::try_from(2 * most).expect("it is positive");
        let seconds = i64::try_from(self.chance.pick(0..range)).expect("it is small") - most;
        self.note(|| format!("replica {replica}'s clock is off by {seconds} s"));
        self.replicas[replica].clock = seconds * 1_000_000;
    }

    /// Everything works from here on.
    pub(crate) fn heal(&mut self) {
        self.note(|| "all is well from here on".to_owned());
        self.healed = true;
        self.cut.clear();
        self.weather.lost = 0;
        self.weather.slow = 0;
        self.weather.late = 0;
        self.weather.full = 0;
        // Hosts that are cut off or down come back when their time has come, while a leader lasts.
        if self.chance.is(300) {
            let host = self.chance.index(HOSTS);
            self.note(|| format!("host {host} is lost for good"));
            self.lose_power(host);
            self.lost = Some(host);
            self.schedule.after(LEFT_BY, Event::LeftBy);
        }
        for replica in 0..REPLICAS {
            self.replicas[replica].paused_until = 0;
            self.restart(replica);
            self.connect(replica);
        }
    }
}
