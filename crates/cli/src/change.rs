//! What every verb that changes something does: send its commands, tell what came of each, wait until it is so,
//! tell that. Which commands, and what to wait for, is the verb's.

mod failures;

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use chv_domain::{Command, CommandId, HostName, Seq, VmRef};
use chv_proto::v1;
use serde::Serialize;

use crate::cli::Waiting;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::manifest::Place;
use crate::output::{Format, duration, structured};
use crate::session::Session;
use crate::vm::reference::Reference;
use crate::wait::{self, Goal, Progress, Target};

/// The condition under which a change may be made.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(crate) struct Expect {
    /// Only when it is at this revision; `get` shows it.
    #[arg(long, value_name = "REVISION")]
    revision: Option<u64>,
}

impl Expect {
    /// Where nothing was said, this revision.
    pub(crate) const fn or(self, revision: u64) -> Self {
        Self {
            revision: match self.revision {
                None => Some(revision),
                said => said,
            },
        }
    }
}

/// A change that is about to be made.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    action: &'static str,
    about: String,
    place: Option<Place>,
    kind: &'static str,
    command: Command,
    expected: Option<Seq>,
    goal: Option<Goal>,
}

/// What came of a change, for programs.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Changed {
    kind: &'static str,
    name: String,
    id: Option<String>,
    action: &'static str,
    changed: bool,
    command: Option<String>,
    first_seq: Option<u64>,
    last_seq: Option<u64>,
    revision: u64,
    host: Option<String>,
    placement: Option<String>,
    /// What it was waited to be, and is.
    reached: Option<&'static str>,
    waited_ms: Option<u64>,
}

impl Change {
    /// Of a VM; `action` is the word for it.
    pub(crate) fn of_vm(action: &'static str, vm: &VmRef, command: Command) -> Self {
        Self {
            action,
            about: vm.to_string(),
            place: None,
            kind: "Vm",
            command,
            expected: None,
            goal: None,
        }
    }

    /// Of a host.
    pub(crate) fn of_host(action: &'static str, host: &HostName, command: Command) -> Self {
        Self {
            action,
            about: format!("host {host}"),
            place: None,
            kind: "Host",
            command,
            expected: None,
            goal: None,
        }
    }

    /// Of the cluster itself; `about` says of what of it.
    pub(crate) fn of_cluster(action: &'static str, about: String, command: Command) -> Self {
        Self {
            action,
            about,
            place: None,
            kind: "Cluster",
            command,
            expected: None,
            goal: None,
        }
    }

    /// Only under this condition.
    #[must_use]
    pub(crate) fn expecting(mut self, expect: Expect) -> Self {
        self.expected = expect.revision.map(Seq);
        self
    }

    /// Asked for at this place, which a failure then names.
    #[must_use]
    pub(crate) fn asked_at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    /// To be waited for.
    #[must_use]
    pub(crate) fn until(mut self, goal: Goal) -> Self {
        self.goal = Some(goal);
        self
    }

    /// Makes the change, tells what came of it, and waits for it if it is to be waited for.
    pub(crate) async fn make(
        self,
        session: &Session,
        waiting: Waiting,
        to: &mut impl Write,
    ) -> Result<(), Failure> {
        make_all(session, &[self], Vec::new(), waiting, to).await
    }

    /// What it is about, in words.
    fn named(&self) -> String {
        match self.kind {
            "Vm" => format!("VM {}", self.about),
            _ => self.about.clone(),
        }
    }

    /// What came of it, from the answer.
    fn made(&self, id: CommandId, accepted: v1::Accepted) -> Changed {
        let some = |text: String| (!text.is_empty()).then_some(text);
        let v1::Accepted {
            first_seq,
            last_seq,
            vm,
            host,
            revision,
            unchanged,
            placement,
            ..
        } = accepted;
        Changed {
            kind: self.kind,
            name: self.about.clone(),
            id: some(vm),
            action: if unchanged { "unchanged" } else { self.action },
            changed: !unchanged,
            command: Some(id.to_string()),
            first_seq: (first_seq != 0).then_some(first_seq),
            last_seq: (last_seq != 0).then_some(last_seq),
            revision,
            host: some(host),
            placement: some(placement),
            reached: None,
            waited_ms: None,
        }
    }
}

impl Changed {
    /// For a VM that is as it should be without a command.
    pub(crate) fn unchanged(name: String, vm: &v1::Vm) -> Self {
        Self {
            kind: "Vm",
            name,
            id: Some(vm.id.clone()),
            action: "unchanged",
            changed: false,
            command: None,
            first_seq: None,
            last_seq: None,
            revision: vm.revision,
            host: Some(vm.host.clone()),
            placement: None,
            reached: None,
            waited_ms: None,
        }
    }

    fn line(&self) -> String {
        match &self.placement {
            Some(placement) => format!("{}: {}, placed on {placement}", self.name, self.action),
            None => format!("{}: {}", self.name, self.action),
        }
    }

    /// The least event from which all of it can be seen.
    fn seen_from(&self) -> Seq {
        Seq(self.last_seq.unwrap_or_default().max(self.revision))
    }
}

/// Something that may have to be waited for.
pub(crate) struct Pending {
    /// What is known of it.
    pub changed: Changed,
    /// What it is to be waited to be.
    pub goal: Option<Goal>,
}

/// Makes changes, then waits for all of them together, and for those `already` made. One that is refused does not keep
/// the others from being made, but then none is waited for.
pub(crate) async fn make_all<W: Write>(
    session: &Session,
    changes: &[Change],
    already: Vec<Pending>,
    waiting: Waiting,
    to: &mut W,
) -> Result<(), Failure> {
    session.interrupt().listen();
    let (before, asked) = (already.len(), changes.len() + already.len());
    let began = Instant::now();
    let deadline = began + session.patience(Duration::from_secs(60));
    let people = session.format() == Format::Table;
    let mut progress = Progress::new();
    let mut told: Vec<Option<Changed>> = vec![None; asked];
    let mut targets = Vec::new();
    let mut tell = |index: usize, pending: Pending, to: &mut W| -> std::io::Result<()> {
        if people {
            writeln!(to, "{}", pending.changed.line())?;
            to.flush()?;
        }
        if !waiting.no_wait {
            targets.extend(pending.target(index));
        }
        told[index] = Some(pending.changed);
        Ok(())
    };
    for (index, pending) in already.into_iter().enumerate() {
        tell(index, pending, to)?;
    }
    let commands = changes
        .iter()
        .map(|change| (change.command.clone(), change.expected))
        .collect();
    let mut failed: BTreeMap<usize, Failure> = BTreeMap::new();
    let mut hear = |place: usize, id: CommandId, answer: Result<v1::Accepted, Failure>| {
        let change: &Change = &changes[place];
        match answer {
            Ok(accepted) => {
                let changed = change.made(id, accepted);
                tell(
                    before + place,
                    Pending {
                        changed,
                        goal: change.goal,
                    },
                    to,
                )
            }
            Err(failure) => {
                failed.insert(place, failure);
                Ok(())
            }
        }
    };
    let sent = match changes {
        [] => Ok(()),
        _ => {
            session
                .submit_all(commands, deadline, &mut progress, &mut hear)
                .await
        }
    };
    progress.clear();
    let mut reached = |target: &Target, outcome: String| {
        if let Some(changed) = told[target.index].as_mut() {
            changed.reached = Some(target.goal.word());
            changed.waited_ms = u64::try_from(began.elapsed().as_millis()).ok();
        }
        if people {
            writeln!(
                to,
                "{}: {outcome}, after {}",
                target.name,
                duration(began.elapsed())
            )?;
            to.flush()?;
        }
        Ok(())
    };
    let ended = match sent.and_then(|()| failures::one(changes, failed)) {
        Ok(()) => {
            targets.sort_by_key(|target| target.index);
            wait::all(session, targets, deadline, &mut progress, &mut reached).await
        }
        Err(failure) => Err(failure),
    };
    progress.clear();
    // The shape follows from what was asked for, not from how far it got.
    let told: Vec<Changed> = told.into_iter().flatten().collect();
    match told.as_slice() {
        [] if asked == 1 => false,
        [one] if asked == 1 => structured(session.format(), one, to)?,
        many => structured(session.format(), &many, to)?,
    };
    ended
}

/// Makes the same change of each of `vms`; of several at once only without a condition.
pub(crate) async fn make_each(
    session: &Session,
    vms: &[Reference],
    expect: Expect,
    waiting: Waiting,
    to: &mut impl Write,
    change: impl Fn(&VmRef) -> Change,
) -> Result<(), Failure> {
    if vms.len() > 1 && expect.revision.is_some() {
        let what = "--revision is about one VM, and several are named";
        return Err(Failure::new(Exit::Usage, what).or_try("one VM at a time"));
    }
    let mut changes: Vec<Change> = Vec::with_capacity(vms.len());
    for vm in vms {
        let change = change(&vm.resolve(session.project())).expecting(expect);
        if changes.iter().all(|named| named.about != change.about) {
            changes.push(change);
        }
    }
    make_all(session, &changes, Vec::new(), waiting, to).await
}

impl Pending {
    fn target(&self, index: usize) -> Option<Target> {
        Some(Target {
            index,
            name: self.changed.name.clone(),
            vm: self.changed.id.as_ref()?.parse().ok()?,
            goal: self.goal?,
            after: self.changed.seen_from(),
        })
    }
}
