//! Reads see what is so: the leader all that was acknowledged or read from it before, any replica all that its session
//! knows already; and never go back.

use std::collections::BTreeMap;

use chv_domain::{Seq, VmId};

use super::Wrong;
use super::commands::floor;
use super::history::{History, Look, Moment, Told, View};
use super::model::Model;

pub(super) fn check(history: &History, model: &Model) -> Result<(), Wrong> {
    let known = Known::of(history);
    let mut sessions: BTreeMap<(usize, VmId), Seq> = BTreeMap::new();
    // A client sends one thing after the other, so the order of sending is that of its session.
    let mut looks: Vec<&Look> = history.looks.iter().collect();
    looks.sort_by_key(|look| look.at);
    for look in looks {
        let session = sessions.entry((look.client, look.vm)).or_default();
        one(look, model, &known, *session).map_err(|words| Wrong::Read(format!("{words}: {look:?}")))?;
        *session = look.revision;
    }
    Ok(())
}

fn one(look: &Look, model: &Model, known: &Known, session: Seq) -> Result<(), String> {
    let least = match look.view {
        View::Leader => known.before(look.at, look.vm),
        View::Any(least) => least,
    };
    if look.applied < least {
        return Err(format!("the replica had not applied {least}"));
    }
    if look.revision < session {
        return Err(format!("the same client had seen revision {session} before"));
    }
    if !model.had(look.vm, look.revision, least, look.applied) {
        return Err(format!("no such revision between {least} and {}", look.applied));
    }
    Ok(())
}

/// What was known, by when.
struct Known {
    acknowledged: Vec<(Moment, Seq)>,
    read: BTreeMap<VmId, Vec<(Moment, Seq)>>,
}

impl Known {
    fn of(history: &History) -> Self {
        let done = history.sent.iter().filter_map(|sent| match sent.told {
            Told::Done { last, .. } => Some((sent.until, last)),
            Told::Unchanged | Told::Conflict | Told::Nothing => None,
        });
        let mut read: BTreeMap<VmId, Vec<(Moment, Seq)>> = BTreeMap::new();
        for look in history.looks.iter().filter(|look| look.view == View::Leader) {
            read.entry(look.vm).or_default().push((look.until, look.revision));
        }
        for seen in read.values_mut() {
            *seen = rising(std::mem::take(seen));
        }
        Self {
            acknowledged: rising(done.collect()),
            read,
        }
    }

    fn before(&self, at: Moment, vm: VmId) -> Seq {
        let read = self.read.get(&vm).map_or(Seq::ZERO, |read| floor(read, at));
        floor(&self.acknowledged, at).max(read)
    }
}

/// In order of time, each with the highest number until then.
fn rising(mut known: Vec<(Moment, Seq)>) -> Vec<(Moment, Seq)> {
    known.sort_unstable();
    let mut highest = Seq::ZERO;
    for (_, seq) in &mut known {
        highest = highest.max(*seq);
        *seq = highest;
    }
    known
}
