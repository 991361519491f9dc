//! Where several sorted runs of numbers meet: each is asked for its next number in turn, so the shortest run
//! says how much is looked at. Pure.

use chv_domain::Seq;

/// In which order events are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// Upward.
    #[default]
    OldestFirst,
    /// Downward.
    NewestFirst,
}

impl Order {
    /// The number that comes after `seq` in this order; `None` when there is none.
    pub fn after(self, seq: Seq) -> Option<Seq> {
        let next = match self {
            Self::OldestFirst => seq.0.checked_add(1),
            Self::NewestFirst => seq.0.checked_sub(1),
        };
        next.map(Seq)
    }

    /// Whether `one` comes after `other` in this order.
    pub fn is_after(self, one: Seq, other: Seq) -> bool {
        match self {
            Self::OldestFirst => one > other,
            Self::NewestFirst => one < other,
        }
    }
}

/// Where runs meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Met {
    /// The numbers that are in all of them, in order.
    pub(crate) hits: Vec<Seq>,
    /// Where to go on; `None` when there are no more.
    pub(crate) next: Option<Seq>,
}

/// The numbers from `from` to `to`, in `order`, that all `runs` have: at most `limit`, found with about `seeks`
/// calls of `seek`, which finds a run's first number at or after the one given.
pub(super) fn meet<E>(
    runs: usize,
    order: Order,
    (from, to): (Seq, Seq),
    (limit, seeks): (usize, usize),
    mut seek: impl FnMut(usize, Seq) -> Result<Option<Seq>, E>,
) -> Result<Met, E> {
    let mut met = Met {
        hits: Vec::new(),
        next: Some(from),
    };
    let mut sought = 0;
    while let Some(mut at) = met.next.filter(|next| !order.is_after(*next, to)) {
        if met.hits.len() >= limit || sought >= seeks {
            return Ok(met);
        }
        // How many runs in a row have `at`.
        let (mut agree, mut run) = (0, 0);
        while agree < runs {
            sought += 1;
            match seek(run, at)? {
                None => {
                    met.next = None;
                    return Ok(met);
                }
                Some(found) if found == at => agree += 1,
                Some(found) => (at, agree) = (found, 1),
            }
            run = (run + 1) % runs;
            // Nothing before `at` is in all of them.
            if sought >= seeks && agree < runs && order.is_after(at, from) {
                met.next = Some(at).filter(|at| !order.is_after(*at, to));
                return Ok(met);
            }
        }
        if order.is_after(at, to) {
            break;
        }
        met.hits.push(at);
        met.next = order.after(at);
    }
    met.next = None;
    Ok(met)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    fn runs() -> impl Strategy<Value = Vec<BTreeSet<u64>>> {
        proptest::collection::vec(proptest::collection::btree_set(1..60_u64, 0..50), 1..4)
    }

    proptest! {
        #[test]
        fn pages_together_are_what_all_runs_have(
            runs in runs(),
            newest_first: bool,
            (low, high) in (1..60_u64, 1..60_u64),
            limit in 1..7_usize,
            seeks in 1..9_usize,
        ) {
            let order = if newest_first { Order::NewestFirst } else { Order::OldestFirst };
            let (from, to) = if newest_first { (high, low) } else { (low, high) };
            let mut expected: Vec<u64> = (low..=high)
                .filter(|number| runs.iter().all(|run| run.contains(number)))
                .collect();
            if newest_first {
                expected.reverse();
            }
            let mut found = Vec::new();
            let mut next = Some(Seq(from));
            let mut pages = 0;
            while let Some(begin) = next {
                let met = meet(runs.len(), order, (begin, Seq(to)), (limit, seeks), |run, at| {
                    Ok::<_, Infallible>(match order {
                        Order::OldestFirst => runs[run].range(at.0..).next().copied().map(Seq),
                        Order::NewestFirst => runs[run].range(..=at.0).next_back().copied().map(Seq),
                    })
                }).unwrap();
                prop_assert!(met.hits.len() <= limit);
                found.extend(met.hits.iter().map(|seq| seq.0));
                next = met.next;
                pages += 1;
                prop_assert!(pages < 500, "no end");
            }
            prop_assert_eq!(found, expected);
        }
    }
}
