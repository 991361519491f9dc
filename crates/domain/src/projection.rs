//! The state that the events fold to. One serde struct, so that a snapshot is the whole of it by
//! construction; persistent maps, so that a copy costs nothing and readers never stop the fold.

use std::sync::Arc;
use std::time::Duration;

use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};

use crate::actor::Actor;
use crate::cluster::Cluster;
use crate::command::{Verb, VmRef};
use crate::event::Resource;
use crate::evolve;
use crate::hash::RecordHash;
use crate::host::Host;
use crate::ids::{CommandId, HostId, VmId};
use crate::name::{HostName, ProjectName, VmName};
use crate::record::{Batch, Record};
use crate::seq::{Seq, Term};
use crate::stored;
use crate::time::Timestamp;
use crate::vm::Vm;
use crate::vm_names::VmNames;

/// How long the outcome of a command is kept, counted from the time in the command's id. A command with
/// an older id is refused, so within this window a retry always gets the first answer.
pub const OUTCOME_WINDOW: Duration = Duration::from_secs(3600);

/// How far a sender's clock may be ahead of the leader's.
pub const CLOCK_SLACK: Duration = Duration::from_secs(300);

/// What came of an accepted command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// Who sent it.
    pub actor: Actor,
    /// What kind it was.
    pub verb: Verb,
    /// Its first event.
    pub first: Seq,
    /// Its last event.
    pub last: Seq,
    /// What the first event is about.
    pub resource: Resource,
}

/// What came of a batch that reached the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BatchOutcome {
    /// All of its records are facts now; the last event is this one.
    Applied {
        /// The last event's number.
        last: Seq,
    },
    /// None is: it was decided in another term, or on another state. Every replica drops it alike.
    Dropped,
}

/// The folded state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Projection {
    pub(crate) seq: Seq,
    pub(crate) time: Timestamp,
    pub(crate) hash: RecordHash,
    pub(crate) published: Seq,
    pub(crate) vms: OrdMap<VmId, Arc<Vm>>,
    pub(crate) vm_names: VmNames,
    /// The VMs that are deleted and can be undeleted, by when their time is over.
    pub(crate) bin: OrdSet<(Timestamp, VmId)>,
    pub(crate) hosts: OrdMap<HostId, Arc<Host>>,
    pub(crate) host_names: OrdMap<HostName, HostId>,
    pub(crate) outcomes: OrdMap<CommandId, Arc<Outcome>>,
    pub(crate) cluster: Cluster,
}

impl Projection {
    /// The last event folded in.
    pub const fn seq(&self) -> Seq {
        self.seq
    }

    /// The last record's time.
    pub const fn time(&self) -> Timestamp {
        self.time
    }

    /// The last record's hash, which the next record carries.
    pub const fn hash(&self) -> RecordHash {
        self.hash
    }

    /// Every event up to this one was published by some leader.
    pub const fn published(&self) -> Seq {
        self.published
    }

    /// A VM by id.
    pub fn vm(&self, id: VmId) -> Option<&Arc<Vm>> {
        self.vms.get(&id)
    }

    /// A VM by name.
    pub fn vm_named(&self, project: &ProjectName, name: &VmName) -> Option<&Arc<Vm>> {
        self.vms.get(&self.vm_names.get(project, name)?)
    }

    /// A VM as a person names it. Where none has the name, the one that had it and was deleted last, while it can be
    /// undeleted.
    pub fn resolve(&self, vm: &VmRef) -> Option<&Arc<Vm>> {
        match vm {
            VmRef::Id(id) => self.vm(*id),
            VmRef::Name(project, name) => self.vm_named(project, name).or_else(|| {
                let had_it = |vm: &&Arc<Vm>| vm.project == *project && vm.name == *name;
                self.binned().filter(had_it).max_by_key(|vm| vm.revision())
            }),
        }
    }

    /// The VMs that are deleted and can be undeleted, the first whose time is over first.
    pub fn binned(&self) -> impl Iterator<Item = &Arc<Vm>> {
        self.bin.iter().filter_map(|(_, id)| self.vms.get(id))
    }

    /// Every VM, in the order of project and name, beginning after `after`.
    pub fn vms_by_name(&self, after: Option<&(ProjectName, VmName)>) -> impl Iterator<Item = &Arc<Vm>> {
        self.vm_names.after(after).filter_map(|id| self.vms.get(&id))
    }

    /// How many VMs there are.
    pub fn vm_count(&self) -> usize {
        self.vms.len()
    }

    /// A host by id.
    pub fn host(&self, id: HostId) -> Option<&Arc<Host>> {
        self.hosts.get(&id)
    }

    /// A host by name.
    pub fn host_named(&self, name: &HostName) -> Option<&Arc<Host>> {
        self.hosts.get(self.host_names.get(name)?)
    }

    /// Every host, in the order of their names.
    pub fn hosts_by_name(&self) -> impl Iterator<Item = &Arc<Host>> {
        self.host_names.values().filter_map(|id| self.hosts.get(id))
    }

    /// What is wanted of the cluster itself.
    pub const fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// What came of a command, while it is kept.
    pub fn outcome(&self, command: CommandId) -> Option<&Outcome> {
        self.outcomes.get(&command).map(Arc::as_ref)
    }

    /// Of how many commands it keeps what came of them.
    pub fn outcome_count(&self) -> usize {
        self.outcomes.len()
    }

    /// The state without the outcomes of commands, which only the present needs: what a state of the past is kept as.
    #[must_use]
    pub fn without_outcomes(mut self) -> Self {
        self.outcomes = OrdMap::new();
        self
    }

    /// Whether this is what records folded to: `fold` may have begun with a state of the past, which has no outcomes of
    /// commands before it, and how far events were published is in no record.
    pub fn is_fold(&self, fold: &Self) -> bool {
        let bare = |state: &Self| Self {
            published: Seq::ZERO,
            ..state.clone().without_outcomes()
        };
        let known = |(id, outcome)| self.outcomes.get(id) == Some(outcome);
        bare(self) == bare(fold) && fold.outcomes.iter().all(known)
    }

    /// A digest of the whole state: equal on two replicas exactly when they hold the same.
    pub fn digest(&self) -> RecordHash {
        let bytes = stored::encode(self).expect("a projection is made of values that always encode");
        RecordHash::of(&bytes)
    }

    /// Folds a committed batch in, or drops it whole when any of its records was decided in another term
    /// than its entry's, or does not continue the chain.
    pub fn apply_batch(&mut self, entry_term: Term, batch: &Batch) -> BatchOutcome {
        if !self.continues_with(entry_term, batch) {
            return BatchOutcome::Dropped;
        }
        for record in &batch.records {
            self.fold(record);
        }
        self.published = self.published.max(batch.published);
        BatchOutcome::Applied { last: self.seq }
    }

    /// As [`Self::apply_batch`], where it was decided here: `decided` is the state that its records were folded into
    /// then, which is taken over. A state that ends with another record is not, and the batch is folded in.
    pub fn apply_decided(&mut self, entry_term: Term, batch: &Batch, decided: Self) -> BatchOutcome {
        let last = batch.records.last().map(|record| record.hash());
        if last != Some(decided.hash) || !self.continues_with(entry_term, batch) {
            return self.apply_batch(entry_term, batch);
        }
        let published = self.published.max(batch.published);
        *self = Self { published, ..decided };
        BatchOutcome::Applied { last: self.seq }
    }

    /// Whether all records of a batch were decided in its entry's term, and continue the chain one after the other.
    fn continues_with(&self, entry_term: Term, batch: &Batch) -> bool {
        let (mut seq, mut hash) = (self.seq, self.hash);
        batch.records.iter().all(|record| {
            let continues = record.first == seq.next() && record.prev == hash;
            (seq, hash) = (record.last(), record.hash());
            continues && record.term == entry_term && !record.events.is_empty()
        })
    }

    /// Folds records of the past in, the first of which comes next. Stops before one that does not come next; says
    /// how many it took.
    pub fn replay(&mut self, records: &[Record]) -> usize {
        let mut taken = 0;
        for record in records {
            if record.first != self.seq.next() || record.prev != self.hash || record.events.is_empty() {
                break;
            }
            self.fold(record);
            taken += 1;
        }
        taken
    }

    /// Folds one record in. The caller knows that it continues the chain.
    pub(crate) fn fold(&mut self, record: &Record) {
        self.time = record.time;
        self.hash = record.hash();
        for (seq, event) in record.numbered() {
            self.seq = seq;
            evolve::evolve(self, record, seq, event);
        }
        if let Some(first) = record.events.first() {
            let outcome = Outcome {
                actor: record.actor.clone(),
                verb: record.cause.verb,
                first: record.first,
                last: record.last(),
                resource: first.resource(),
            };
            self.outcomes.insert(record.cause.command, Arc::new(outcome));
        }
        self.forget_outcomes();
    }

    fn forget_outcomes(&mut self) {
        let keep_from = self.time.minus(OUTCOME_WINDOW + CLOCK_SLACK).as_millis();
        while let Some((oldest, _)) = self.outcomes.get_min() {
            if oldest.made_at_ms() >= keep_from {
                break;
            }
            let oldest = *oldest;
            self.outcomes.remove(&oldest);
        }
    }
}
