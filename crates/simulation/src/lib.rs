//! The scheduler's rules in one process, on a schedule that a seed decides: with messages lost, late, doubled and
//! out of order, replicas that are killed, lose power, stand still or are cut off, a broker that goes away, and
//! clocks that jump. An oracle looks at everything that happens. See docs/simulation.md.
//!
//! One seed is one run, to the last detail: no threads, no clock, no other source of chance.

mod broker;
mod bug;
mod chance;
mod client;
mod deciding;
mod faults;
mod guests;
mod host;
mod judge;
mod lease;
mod machine;
mod office;
mod oracle;
mod packet;
mod publish;
mod raft;
mod replica;
mod schedule;
mod subscriber;
mod weather;
mod world;

pub use bug::Bug;
pub use oracle::{Count, Violation};

use world::World;

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// What must not be, and was.
    pub violation: Option<Violation>,
    /// What happened.
    pub count: Count,
    /// What happened last, oldest first; only when asked for.
    pub trace: Vec<String>,
}

/// Runs one seed, with one rule off when a bug is given.
pub fn run(seed: u64, bug: Option<Bug>, traced: bool) -> Run {
    let mut world = World::new(seed, bug, traced);
    let violation = world.run().err();
    let count = Count {
        faults: world.faults,
        ..world.oracle.count
    };
    Run {
        violation,
        count,
        trace: world.trace(),
    }
}
