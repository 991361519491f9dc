//! The trail as a model: which command did what, and which revision each VM had after each event.

use std::collections::BTreeMap;

use chv_domain::{CommandId, Seq, VmId};

use super::Wrong;
use super::history::{Changed, Fact};

/// What the trail says.
#[derive(Debug)]
pub(super) struct Model {
    commands: BTreeMap<CommandId, (Seq, Seq)>,
    revisions: BTreeMap<VmId, Vec<Seq>>,
    end: Seq,
}

impl Model {
    /// Reads the trail: numbers from 1 without a hole, and each command in one place.
    pub(super) fn of(trail: &[Fact]) -> Result<Self, Wrong> {
        let mut model = Self {
            commands: BTreeMap::new(),
            revisions: BTreeMap::new(),
            end: Seq::ZERO,
        };
        for fact in trail {
            if fact.seq != model.end.next() {
                return Err(Wrong::Trail(format!("{} follows {}", fact.seq, model.end)));
            }
            let (_, last) = model
                .commands
                .entry(fact.command)
                .or_insert((fact.seq, model.end));
            if *last != model.end {
                let words = format!(
                    "command {} was done at {last} and again at {}",
                    fact.command, fact.seq
                );
                return Err(Wrong::Trail(words));
            }
            *last = fact.seq;
            model.end = fact.seq;
            if let Changed::Wish(vm) = fact.changed {
                model.revisions.entry(vm).or_default().push(fact.seq);
            }
        }
        Ok(model)
    }

    /// The last event.
    pub(super) const fn end(&self) -> Seq {
        self.end
    }

    /// The first and the last event of a command; `None` when it was not done.
    pub(super) fn events_of(&self, command: CommandId) -> Option<(Seq, Seq)> {
        self.commands.get(&command).copied()
    }

    /// The revision of a VM after event `seq`; zero while there is no such VM.
    pub(super) fn revision(&self, vm: VmId, seq: Seq) -> Seq {
        let all = self.revisions_of(vm);
        let count = all.partition_point(|revision| *revision <= seq);
        count.checked_sub(1).map_or(Seq::ZERO, |at| all[at])
    }

    /// Whether the VM had this revision after one of the events `from` to `to`.
    pub(super) fn had(&self, vm: VmId, revision: Seq, from: Seq, to: Seq) -> bool {
        let all = self.revisions_of(vm);
        let next = all.iter().find(|later| **later > revision);
        let is_one = revision == Seq::ZERO || all.contains(&revision);
        // It had it from that event until the next one.
        is_one && revision <= to && next.is_none_or(|next| *next > from)
    }

    fn revisions_of(&self, vm: VmId) -> &[Seq] {
        self.revisions.get(&vm).map_or(&[], Vec::as_slice)
    }
}
