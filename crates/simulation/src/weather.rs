//! How bad a run is: drawn once from its seed, so that seeds differ in kind and not only in detail.

use crate::chance::Chance;
use crate::schedule::{MS, Micros};

/// The odds of one run, per thousand.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weather {
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    /// Messages and flushes that take long.
    pub(crate) slow: u64,
    /// How long a flush takes at most, as a rule.
    pub(crate) disk: Micros,
    /// Applying late, and standing still between deciding and appending.
    pub(crate) late: u64,
    /// Faults at the worst moment: when something was just acknowledged, or is being decided.
    pub(crate) spite: u64,
    /// Between two faults.
    pub(crate) fault_every: Micros,
    /// How many of the faults are a host's: few leases end where leaders don't last.
    pub(crate) hosts: u64,
    /// Whether clocks may jump by hours.
    pub(crate) hours: bool,
    /// How long the shortest election timeout is.
    pub(crate) election: Micros,
    /// How long clients think between two operations, at most.
    pub(crate) think: Micros,
    /// The client of a leader has no room for a message.
    pub(crate) full: u64,
}

impl Weather {
    pub(crate) fn draw(chance: &mut Chance) -> Self {
        let of = |chance: &mut Chance, odds: &[u64]| odds[chance.index(odds.len())];
        Self {
            lost: of(chance, &[0, 2, 20, 100]),
            doubled: of(chance, &[0, 5, 50, 150]),
            slow: of(chance, &[0, 10, 60]),
            disk: of(chance, &[2, 10, 40]) * MS,
            late: of(chance, &[0, 10, 40]),
            spite: of(chance, &[0, 10, 40]),
            fault_every: of(chance, &[150, 400, 1000]) * MS,
            hosts: of(chance, &[150, 300, 900, 1000]),
            hours: chance.is(60),
            election: of(chance, &[120, 250]) * MS,
            think: of(chance, &[5, 20, 100, 300]) * MS,
            full: of(chance, &[0, 5, 50]),
        }
    }

    /// How long a message takes.
    pub(crate) fn delay(&self, chance: &mut Chance) -> Micros {
        match chance.is(self.slow) {
            true => chance.pick(5 * MS..400 * MS),
            false => chance.pick(50..2 * MS),
        }
    }

    /// How long a flush takes.
    pub(crate) fn flush(&self, chance: &mut Chance) -> Micros {
        match chance.is(self.slow) {
            true => chance.pick(20 * MS..600 * MS),
            false => chance.pick(100..self.disk),
        }
    }
}
