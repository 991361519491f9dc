//! Whether a guest that ended is started again now.

use chv_domain::{Aftermath, DesiredVm, Timestamp};

use super::{LastEnd, Observed};

/// Whether it is, and as which restart in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restarting {
    /// Now: nothing that ended says otherwise.
    Now(u32),
    /// Not before this.
    At(Timestamp),
    /// Not before something else is asked for.
    Not,
}

/// Of a VM that should run, and does not.
pub fn restarting(vm: &DesiredVm, observed: &Observed, now: Timestamp) -> Restarting {
    let ended_under = |end: &&LastEnd| end.run.order == vm.order();
    let Some(end) = observed.last_end.as_ref().filter(ended_under) else {
        return Restarting::Now(0);
    };
    match vm.spec.restart.after(&end.reason, &end.run) {
        Aftermath::AsOrdered => Restarting::Now(0),
        Aftermath::Stays(_) => Restarting::Not,
        Aftermath::Again(restart) => {
            let chance = f64::from(end.chance) / f64::from(u8::MAX);
            let at = end.at.plus(vm.spec.restart.wait(&end.reason, restart, chance));
            if at <= now {
                return Restarting::Now(restart);
            }
            Restarting::At(at)
        }
    }
}
