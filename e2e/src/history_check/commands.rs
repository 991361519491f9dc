//! Commands are linearizable and each is done once: every answer fits the one order that the numbers give, and that
//! order fits real time.

use std::collections::{BTreeMap, BTreeSet};

use chv_domain::Seq;

use super::Wrong;
use super::history::{Changed, History, Moment, Sent, Told};
use super::model::Model;

pub(super) fn check(history: &History, model: &Model) -> Result<(), Wrong> {
    let order = RealTime::of(history, model);
    let sent: BTreeSet<_> = history.sent.iter().map(|sent| sent.command).collect();
    for sent in &history.sent {
        one(sent, model, &order).map_err(|words| {
            let told = &sent.told;
            Wrong::Command(format!("{} of {}, told {told:?}: {words}", sent.command, sent.vm))
        })?;
    }
    let known: BTreeSet<_> = history.sent.iter().map(|sent| sent.vm).collect();
    for fact in &history.trail {
        // A VM's first change is its creation, which is no part of the history.
        let Changed::Wish(vm) = fact.changed else { continue };
        let created = model.revision(vm, Seq(fact.seq.0 - 1)) == Seq::ZERO;
        if known.contains(&vm) && !created && !sent.contains(&fact.command) {
            return Err(Wrong::Command(format!(
                "{} of event {} was never sent",
                fact.command, fact.seq
            )));
        }
    }
    Ok(())
}

fn one(sent: &Sent, model: &Model, order: &RealTime) -> Result<(), String> {
    let done = model.events_of(sent.command);
    // The events after which it may have been decided.
    let (from, to) = (order.floor(sent.at), order.ceiling(sent.until, model.end()));
    if let Some((first, _)) = done {
        let before = model.revision(sent.vm, Seq(first.0 - 1));
        if before != sent.expected {
            return Err(format!(
                "it was done on revision {before}, and expects {}",
                sent.expected
            ));
        }
    }
    match &sent.told {
        Told::Done { first, last } => {
            if done != Some((*first, *last)) {
                return Err(format!("the trail has it at {done:?}"));
            }
            // Sent again later, it gets its first answer: then it is older than what was answered meanwhile.
            if !order.is_first(sent) {
                return Ok(());
            }
            if *first <= from {
                return Err(format!("{from} was acknowledged before it was sent"));
            }
            if *last > to {
                return Err(format!(
                    "a command that was sent after its answer is at {}",
                    to.next()
                ));
            }
            Ok(())
        }
        Told::Unchanged if done.is_some() => Err(format!("it did something: {done:?}")),
        Told::Unchanged if model.had(sent.vm, sent.expected, from, to) => Ok(()),
        Told::Unchanged => Err(format!("the VM had no revision {} then", sent.expected)),
        Told::Conflict if done.is_some() => Err(format!("it was done: {done:?}")),
        Told::Conflict => {
            let always = model.revision(sent.vm, from) == sent.expected
                && model.revision(sent.vm, to) == sent.expected;
            match always {
                true => Err(format!(
                    "the VM had revision {} all the time from {from} to {to}",
                    sent.expected
                )),
                false => Ok(()),
            }
        }
        Told::Nothing => Ok(()),
    }
}

/// What was acknowledged before, and what was begun after, each moment.
struct RealTime {
    /// By the moment of the answer: the highest event acknowledged until then.
    acknowledged: Vec<(Moment, Seq)>,
    /// By the moment of sending, latest first: the lowest event of what was sent from then on.
    begun: Vec<(Moment, Seq)>,
    /// When each command was sent first.
    first_sent: BTreeMap<chv_domain::CommandId, Moment>,
}

impl RealTime {
    fn of(history: &History, model: &Model) -> Self {
        let mut first_sent = BTreeMap::new();
        for sent in &history.sent {
            let at = first_sent.entry(sent.command).or_insert(sent.at);
            *at = sent.at.min(*at);
        }
        let mut acknowledged = Vec::new();
        for sent in &history.sent {
            if let Told::Done { last, .. } = sent.told {
                acknowledged.push((sent.until, last));
            }
        }
        acknowledged.sort_unstable();
        let mut highest = Seq::ZERO;
        for (_, last) in &mut acknowledged {
            highest = highest.max(*last);
            *last = highest;
        }
        let begun = first_sent
            .iter()
            .filter_map(|(command, at)| Some((*at, model.events_of(*command)?.0)));
        let mut begun: Vec<_> = begun.collect();
        begun.sort_unstable_by(|one, other| other.cmp(one));
        let mut lowest = Seq(u64::MAX);
        for (_, first) in &mut begun {
            lowest = lowest.min(*first);
            *first = lowest;
        }
        Self {
            acknowledged,
            begun,
            first_sent,
        }
    }

    fn is_first(&self, sent: &Sent) -> bool {
        self.first_sent.get(&sent.command) == Some(&sent.at)
    }

    /// The highest event that was acknowledged before `at`.
    fn floor(&self, at: Moment) -> Seq {
        floor(&self.acknowledged, at)
    }

    /// The highest event before all that was begun after `until`.
    fn ceiling(&self, until: Moment, end: Seq) -> Seq {
        let count = self.begun.partition_point(|(at, _)| *at > until);
        count
            .checked_sub(1)
            .map_or(end, |at| Seq(self.begun[at].1.0 - 1).min(end))
    }
}

/// The highest event of those that were known before `at`; `known` is in order of both.
pub(super) fn floor(known: &[(Moment, Seq)], at: Moment) -> Seq {
    let count = known.partition_point(|(until, _)| *until < at);
    count.checked_sub(1).map_or(Seq::ZERO, |last| known[last].1)
}
