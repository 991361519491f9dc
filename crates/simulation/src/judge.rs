//! The last look: once everything was well for long enough, everybody must have come to the same.

use chv_domain::HostSlice;

use crate::office::Tenure;
use crate::oracle::Violation;
use crate::world::World;

impl World {
    pub(crate) fn judge(&mut self) -> Result<(), Violation> {
        self.oracle.verdict()?;
        let state = self.oracle.state();
        let last = state.seq();
        if self.oracle.acknowledged() > last {
            return Err(format!(
                "event {} was acknowledged, and the log ends at {last}",
                self.oracle.acknowledged()
            ));
        }
        let digest = state.digest();
        for (number, replica) in self.replicas.iter().enumerate() {
            if replica.applied.state.digest() != digest {
                let has = replica.applied.state.seq();
                return Err(format!(
                    "replica {number} ends with {has} of {last} events, or with another state"
                ));
            }
        }
        let leading = |tenure: &Tenure| match tenure {
            Tenure::Open(office) if !office.closing => Some(office.publication.published()),
            _ => None,
        };
        let leaders = self
            .replicas
            .iter()
            .filter_map(|replica| leading(&replica.tenure));
        let [published] = leaders.collect::<Vec<_>>()[..] else {
            return Err("there is not one leader in the end".to_owned());
        };
        if published < last {
            return Err(format!(
                "in the end {published} of {last} events count as published"
            ));
        }
        if let Some(seq) = self.oracle.unpublished() {
            return Err(format!("event {seq} never reached the broker"));
        }
        for (number, subscriber) in self.subscribers.iter().enumerate() {
            if subscriber.last != last {
                return Err(format!(
                    "subscriber {number} ends with {} of {last} events",
                    subscriber.last
                ));
            }
        }
        for (number, host) in self.hosts.iter().enumerate() {
            if self.lost == Some(number) {
                continue;
            }
            let Some(slice) = HostSlice::of(&state, host.id) else {
                // Where a leader's clock was hours ahead, what others send is refused for hours.
                if self.weather.hours {
                    continue;
                }
                return Err(format!("host {} is not registered", host.name));
            };
            if let Some(wrong) = host.differs(&slice).or_else(|| host.runs_otherwise(&slice)) {
                return Err(format!("host {}: {wrong}", host.name));
            }
        }
        Ok(())
    }

    /// What asks for failover has left a host that is lost, unless no other one could take it.
    pub(crate) fn judge_lost(&mut self) {
        let (state, Some(host)) = (self.oracle.state(), self.lost) else {
            return;
        };
        let Some(host) = state.host(self.hosts[host].id) else {
            return;
        };
        let left_behind = host.vms.iter().filter_map(|vm| state.vm(*vm));
        let left_behind = left_behind
            .filter(|vm| vm.fails_over() && vm.trouble.is_none())
            .count();
        if left_behind > 0 {
            let name = &host.name;
            self.oracle.wrong(format!(
                "{left_behind} VMs that ask for failover are still on the lost host {name}"
            ));
        }
    }
}
