//! Makes this host's VMs what is wanted of them: one task for each VM, which asks the plan for the next step,
//! does it, and looks again. Hears of wishes at once, of ends as they happen, and never polls for either.
//!
//! What it doesn't do: decide what is wanted, or find out over the network what that is.

mod actor;
mod attached;
mod device;
mod here;
mod launch;
mod slots;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chv_domain::{DesiredVm, Seq, VmId};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::plan::{Observed, Wanted};
use crate::report::Reporter;
use crate::stock::Stock;
use actor::Actor;
pub use attached::Console;
pub use here::{Here, Hypervisors};
pub use slots::{Slots, host_is_busy};

/// A change of what is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// This VM should be so.
    Vm(Arc<DesiredVm>),
    /// This VM is not this host's any more, as of this event. Says nothing of a VM with a newer grant.
    NotOurs(VmId, Seq),
    /// These are all VMs of this host as of this event: every other one is not.
    All(Vec<Arc<DesiredVm>>, Seq),
}

/// The VMs of this host.
#[derive(Clone)]
pub struct Converge(Arc<Inner>);

struct Inner {
    here: Arc<Here>,
    reporter: Reporter,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// The highest grant that was found here.
    highest: Seq,
    vms: Mutex<BTreeMap<VmId, Handle>>,
}

struct Handle {
    wanted: watch::Sender<Wanted>,
    console: watch::Receiver<Console>,
}

impl Converge {
    /// Begins with what was found on this host. Nothing is started or stopped before the first wish. Its tasks
    /// are owned by `tasks` and end when `stop` is cancelled; guests run on.
    pub fn start(
        here: Arc<Here>,
        reporter: Reporter,
        stock: Vec<Stock>,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let grants = stock.iter().filter_map(|found| found.observed.epoch);
        let highest = grants.map(|epoch| epoch.0).max().unwrap_or(Seq::ZERO);
        let this = Self(Arc::new(Inner {
            here,
            reporter,
            tasks,
            stop,
            highest,
            vms: Mutex::default(),
        }));
        let mut vms = this.vms();
        for found in stock {
            let handle = this.look_after(found, Wanted::Unheard);
            vms.insert(handle.0, handle.1);
        }
        drop(vms);
        this
    }

    /// Takes note of a wish; the VM's task hears it at once.
    pub fn wish(&self, wish: Wish) {
        let mut vms = self.vms();
        match wish {
            Wish::Vm(vm) => self.want(&mut vms, vm),
            Wish::NotOurs(vm, at) => disown(&vms, vm, at),
            Wish::All(all, at) => {
                self.gather(&all);
                let ours: BTreeSet<VmId> = all.iter().map(|desired| desired.vm).collect();
                vms.keys()
                    .filter(|vm| !ours.contains(vm))
                    .for_each(|vm| disown(&vms, *vm, at));
                all.into_iter().for_each(|desired| self.want(&mut vms, desired));
            }
        }
    }

    /// Where more VMs than can be started at once are to run, none is before all of them have asked.
    fn gather(&self, all: &[Arc<DesiredVm>]) {
        let slots = &self.0.here.slots;
        if all.iter().filter(|desired| desired.power.runs()).count() > slots.count() {
            slots.begin_to_gather();
            self.0.tasks.spawn(slots.clone().gather());
        }
    }

    /// The highest grant that was found on this host at the start: the log has come at least so far.
    pub fn highest_grant(&self) -> Seq {
        self.0.highest
    }

    /// The console of a VM of this host; `None` when there is no such VM.
    pub fn console(&self, vm: VmId) -> Option<Console> {
        self.vms().get(&vm).map(|handle| handle.console.borrow().clone())
    }

    /// Where a VM of this host writes its console's output; `None` when there is no such VM.
    pub fn console_log(&self, vm: VmId) -> Option<PathBuf> {
        self.vms()
            .contains_key(&vm)
            .then(|| self.0.here.data.run_dir(vm).console_log())
    }

    /// What all of them and their hypervisors write.
    pub fn logs(&self) -> Vec<PathBuf> {
        let vms = self.vms();
        let dirs = vms.keys().map(|vm| self.0.here.data.run_dir(*vm));
        dirs.flat_map(|dir| [dir.console_log(), dir.hypervisor_log()])
            .collect()
    }

    fn want(&self, vms: &mut BTreeMap<VmId, Handle>, desired: Arc<DesiredVm>) {
        let vm = desired.vm;
        let wanted = Wanted::Vm(desired);
        match vms.get(&vm) {
            Some(handle) => {
                handle.wanted.send_if_modified(|known| {
                    let news = *known != wanted;
                    if news {
                        *known = wanted;
                    }
                    news
                });
            }
            None => {
                let nothing = Stock {
                    vm,
                    observed: Observed::nothing(),
                    running: None,
                };
                let handle = self.look_after(nothing, wanted);
                vms.insert(handle.0, handle.1);
            }
        }
    }

    fn look_after(&self, stock: Stock, wanted: Wanted) -> (VmId, Handle) {
        let Inner {
            here,
            reporter,
            tasks,
            stop,
            ..
        } = &*self.0;
        let vm = stock.vm;
        let (sender, receiver) = watch::channel(wanted);
        let (mut actor, console) = Actor::new(here.clone(), stock, receiver, reporter.outbox());
        let (this, stop) = (self.clone(), stop.clone());
        tasks.spawn(async move {
            loop {
                actor.run(&stop).await;
                // Nobody wished for it again in the meantime: wishes are taken under the same lock.
                let mut vms = this.vms();
                let forgotten = vms
                    .get(&vm)
                    .is_none_or(|handle| matches!(*handle.wanted.borrow(), Wanted::NotOurs(_)));
                if stop.is_cancelled() || forgotten {
                    vms.remove(&vm);
                    return;
                }
            }
        });
        let handle = Handle {
            wanted: sender,
            console,
        };
        (vm, handle)
    }

    fn vms(&self) -> MutexGuard<'_, BTreeMap<VmId, Handle>> {
        self.0.vms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn disown(vms: &BTreeMap<VmId, Handle>, vm: VmId, at: Seq) {
    let Some(handle) = vms.get(&vm) else { return };
    handle.wanted.send_if_modified(|known| {
        let news = match known {
            Wanted::Unheard => true,
            Wanted::NotOurs(before) => *before < at,
            Wanted::Vm(desired) => desired.epoch.0 <= at,
        };
        if news {
            *known = Wanted::NotOurs(at);
        }
        news
    });
}
