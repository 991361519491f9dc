//! Whether a VM that ended is started again, and when: by its spec, how it ended, and how often it was before. A host goes
//! by it also where it hears from no leader, and the leader makes the same of what the host reports. Reads no clock.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event::ExitReason;
use crate::seq::Seq;
use crate::spec::{Restart, RestartPolicy, Within};

/// What a host says of the run that ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// The order or the grant that the host knew last: a later one asks for something else than what ended. 0 where that
    /// is not known any more.
    pub order: Seq,
    /// How long it ran, in milliseconds.
    pub ran_ms: u64,
    /// How often in a row it was started again under that order before this run.
    pub restarts: u32,
}

impl Run {
    /// How long it ran.
    pub const fn ran(&self) -> Duration {
        Duration::from_millis(self.ran_ms)
    }
}

/// What becomes of a VM after its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Aftermath {
    /// What was ordered: it is to be stopped, or booted anew.
    AsOrdered,
    /// It is started again, as often in a row as this says; 0 after a good run.
    Again(u32),
    /// It stays stopped until somebody starts it.
    Stays(NoMore),
}

/// Why a VM is not started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoMore {
    /// Its policy is never.
    Never,
    /// Its guest powered itself off, and its policy is on-failure.
    NoFailure,
    /// It was started again this often in a row, its limit.
    Limit(u32),
}

impl fmt::Display for NoMore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.write_str("its restart policy is never"),
            Self::NoFailure => f.write_str("its restart policy is on-failure, and that was none"),
            Self::Limit(limit) => write!(f, "it was started again {limit} times in a row, its limit"),
        }
    }
}

impl Restart {
    /// What becomes of a VM that should run, after an end.
    pub fn after(&self, reason: &ExitReason, run: &Run) -> Aftermath {
        // It ended for something that is over by now.
        if !counts(reason) {
            return Aftermath::Again(run.restarts);
        }
        match self.policy {
            RestartPolicy::Never => return Aftermath::Stays(NoMore::Never),
            RestartPolicy::OnFailure if *reason == ExitReason::PoweredOffItself => {
                return Aftermath::Stays(NoMore::NoFailure);
            }
            RestartPolicy::OnFailure | RestartPolicy::Always => {}
        }
        if run.ran() >= self.good_run() {
            return Aftermath::Again(0);
        }
        let limit = self
            .limit
            .and_then(|limit| u32::try_from(Within::get(limit)).ok());
        match limit.filter(|limit| run.restarts >= *limit) {
            Some(limit) => Aftermath::Stays(NoMore::Limit(limit)),
            None => Aftermath::Again(run.restarts.saturating_add(1)),
        }
    }

    /// How long is waited after an end before the restart with this number in a row. `chance` is 0 to 1: VMs that end together are not
    /// started again together.
    pub fn wait(&self, reason: &ExitReason, restart: u32, chance: f64) -> Duration {
        let Some(doublings) = restart.checked_sub(1).filter(|_| counts(reason)) else {
            return Duration::ZERO;
        };
        let (first, most) = self.waits();
        let whole = first.saturating_mul(2_u32.saturating_pow(doublings)).min(most);
        whole.mul_f64(0.8 + chance.clamp(0.0, 1.0) / 5.0)
    }
}

/// Whether an end says anything of the guest.
fn counts(reason: &ExitReason) -> bool {
    !reason.was_asked_for() && *reason != ExitReason::LeaseEnded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::spec::Part as _;

    fn within<const LEAST: u64, const MOST: u64>(
        most: u64,
    ) -> impl Strategy<Value = Option<Within<LEAST, MOST>>> {
        prop::option::of((LEAST..=most.min(MOST)).prop_map(|number| Within::try_from(number).unwrap()))
    }

    fn restarts() -> impl Strategy<Value = Restart> {
        (
            prop::sample::select(RestartPolicy::ALL),
            within(10),
            within(100),
            within(8),
            within(30),
        )
            .prop_map(|(policy, backoff, max_backoff, limit, reset_after)| Restart {
                policy,
                backoff,
                max_backoff: max_backoff.max(backoff.map(|first| Within::try_from(first.get()).unwrap())),
                limit,
                reset_after,
            })
    }

    fn ends() -> impl Strategy<Value = (ExitReason, u64)> {
        let reason = prop_oneof![
            3 => Just(ExitReason::Crashed("it".to_owned())),
            1 => Just(ExitReason::Vanished),
            1 => Just(ExitReason::OutOfMemory),
            1 => Just(ExitReason::PoweredOffItself),
            1 => Just(ExitReason::LeaseEnded),
        ];
        (reason, 0_u64..70_000)
    }

    proptest! {
        /// A VM's life under one order: the counts, the waits and the limit are what the policy says.
        #[test]
        fn restarts_are_counted_waited_for_and_limited(
            restart in restarts(), ends in prop::collection::vec(ends(), 1..40), chance in 0.0..=1.0,
        ) {
            prop_assert_eq!(restart.fault(), None);
            let (first, most) = restart.waits();
            let mut run = Run::default();
            // What a person would count: bad runs since the last good one.
            let mut bad = 0;
            for (reason, ran_ms) in ends {
                run.ran_ms = ran_ms;
                let good = run.ran() >= restart.good_run();
                let asked = reason == ExitReason::LeaseEnded;
                let itself = reason == ExitReason::PoweredOffItself;
                match restart.after(&reason, &run) {
                    Aftermath::Again(count) => {
                        prop_assert!(asked || restart.policy != RestartPolicy::Never);
                        prop_assert!(!itself || restart.policy == RestartPolicy::Always);
                        bad = match (asked, good) {
                            (true, _) => bad,
                            (false, true) => 0,
                            (false, false) => bad + 1,
                        };
                        prop_assert_eq!(count, bad);
                        if let Some(limit) = restart.limit {
                            prop_assert!(u64::from(count) <= limit.get());
                        }
                        let wait = restart.wait(&reason, count, chance);
                        let whole = first.saturating_mul(1 << count.saturating_sub(1).min(20)).min(most);
                        match count == 0 || asked {
                            true => prop_assert_eq!(wait, Duration::ZERO),
                            false => prop_assert!(wait <= whole && wait >= whole.mul_f64(0.799), "{:?} of {:?}", wait, whole),
                        }
                        run.restarts = count;
                    }
                    Aftermath::Stays(NoMore::Never) => prop_assert_eq!(restart.policy, RestartPolicy::Never),
                    Aftermath::Stays(NoMore::NoFailure) => {
                        prop_assert!(itself && restart.policy == RestartPolicy::OnFailure);
                    }
                    Aftermath::Stays(NoMore::Limit(limit)) => {
                        prop_assert!(!good && !asked);
                        prop_assert_eq!((restart.limit.map(Within::get), limit), (Some(u64::from(limit)), bad));
                    }
                    Aftermath::AsOrdered => prop_assert!(false, "nothing was ordered"),
                }
            }
        }
    }

    #[test]
    fn given_nothing_in_the_spec_then_waits_double_up_to_a_minute_and_there_is_no_limit() {
        let restart = Restart::default();
        let crashed = ExitReason::Crashed(String::new());
        let waits = (1..9).map(|count| restart.wait(&crashed, count, 1.0).as_secs());
        assert_eq!(waits.collect::<Vec<_>>(), [1, 2, 4, 8, 16, 32, 60, 60]);
        let run = Run {
            restarts: u32::MAX,
            ..Run::default()
        };
        assert_eq!(restart.after(&crashed, &run), Aftermath::Again(u32::MAX));
    }
}
