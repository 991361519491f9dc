//! Takes stock when the daemon starts: which VMs this host has, which of them run, and what was going on when the
//! daemon before this one ended. Starts and stops nothing.
//!
//! Three sources, so that none has to be trusted: the ledger, the VMs' directories, whose locks their processes
//! hold, and the process list, for a process whose directory somebody has removed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chv_domain::{ExitReason, HypervisorKind, Run, Timestamp, VmId};

use crate::clock::Clock;
use crate::data_dir::DataDir;
use crate::hypervisor::{Instance, Process, marked};
use crate::ledger::{Ledger, LedgerError, Marker, Noted, VmNote};
use crate::plan::{Boots, Guest, LastEnd, Observed, Runs};

/// One VM that this host has something of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stock {
    /// The VM.
    pub vm: VmId,
    /// What is known of it.
    pub observed: Observed,
    /// Its process, when it has one.
    pub running: Option<Running>,
}

/// A process that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// It.
    pub instance: Instance,
    /// When it was started.
    pub launched: Timestamp,
    /// Why the daemon before this one was ending it, when it was.
    pub killed: Option<ExitReason>,
}

/// Why stock can't be taken.
#[derive(Debug, thiserror::Error)]
pub enum StockError {
    /// The ledger can't be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The directory of the VMs can't be read.
    #[error("the VMs' directories in {path}: {source}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Takes stock of what is in `data`.
pub async fn take(data: &DataDir, ledger: &Ledger, clock: Clock) -> Result<Vec<Stock>, StockError> {
    let directory = |source| StockError::Directory {
        path: data.vms(),
        source,
    };
    let mut notes: BTreeMap<VmId, Option<VmNote>> = data
        .vms_on_disk()
        .map_err(directory)?
        .into_iter()
        .map(|vm| (vm, None))
        .collect();
    notes.extend(ledger.notes()?.into_iter().map(|(vm, note)| (vm, Some(note))));
    let mut strays = strays(&data.vms()).map_err(directory)?;
    for vm in strays.keys() {
        notes.entry(*vm).or_insert(None);
    }
    let mut stock = Vec::new();
    for (vm, note) in notes {
        stock.push(look(data, vm, note, strays.remove(&vm), clock.now()).await);
    }
    Ok(stock)
}

/// Takes stock of one VM again, of which it could not be told whether it runs.
pub async fn retake(data: &DataDir, ledger: &Ledger, vm: VmId, now: Timestamp) -> Result<Stock, LedgerError> {
    Ok(look(data, vm, ledger.note(vm)?, None, now).await)
}

async fn look(
    data: &DataDir,
    vm: VmId,
    note: Option<VmNote>,
    stray: Option<(HypervisorKind, Process)>,
    now: Timestamp,
) -> Stock {
    let run_dir = data.run_dir(vm);
    let found = Instance::find(run_dir.clone()).await;
    let found = match (found, stray) {
        (Ok(Some(instance)), _) if instance.vm == vm => Found::Runs(instance),
        (_, Some((kind, process))) => Found::Runs(Instance {
            vm,
            kind,
            run_dir: run_dir.clone(),
            process,
        }),
        (Ok(_), None) => Found::Nothing,
        (Err(error), None) => {
            tracing::warn!(%vm, %error, "can't tell whether this VM runs; nothing is done before that is clear");
            Found::Unclear
        }
    };
    let marker = Marker::read(&run_dir);
    let runs = marker.as_ref().map(|marker| marker.runs(&run_dir));
    one(vm, note, (marker, runs), found, run_dir.path().exists(), now)
}

/// What was seen of a VM's process.
enum Found {
    Runs(Instance),
    Nothing,
    Unclear,
}

fn one(
    vm: VmId,
    note: Option<VmNote>,
    (marker, runs): (Option<Marker>, Option<Runs>),
    found: Found,
    on_disk: bool,
    now: Timestamp,
) -> Stock {
    let noted = note.as_ref().map(|note| note.noted.clone());
    let ran_under = match &noted {
        Some(Noted::Launching { epoch } | Noted::Running { epoch, .. } | Noted::Ended { epoch, .. }) => {
            Some(*epoch)
        }
        Some(Noted::Nothing) | None => None,
    }
    .or(marker.as_ref().map(|marker| marker.epoch));
    let mut observed = Observed {
        epoch: note.as_ref().map(|note| note.epoch).max(ran_under),
        leftovers: on_disk || note.is_some(),
        ..Observed::nothing()
    };
    let (launched, stop, killed, boots) = match &noted {
        Some(Noted::Running {
            launched,
            stop,
            killed,
            boots,
            order,
            restarts,
            ..
        }) => {
            (observed.order, observed.restarts) = (*order, *restarts);
            (Some(*launched), *stop, killed.clone(), boots.clone())
        }
        _ => (marker.map(|marker| marker.launched), None, None, Boots::default()),
    };
    match found {
        Found::Runs(instance) => {
            observed.found(ran_under, stop, boots, runs);
            return Stock {
                vm,
                observed,
                running: Some(Running {
                    instance,
                    launched: launched.unwrap_or(now),
                    killed,
                }),
            };
        }
        Found::Unclear => {
            observed.guest = Guest::Unclear;
            return Stock {
                vm,
                observed,
                running: None,
            };
        }
        Found::Nothing => {}
    }
    let ended = match noted {
        Some(Noted::Nothing) => None,
        Some(Noted::Ended { epoch, reason, run }) => {
            (observed.order, observed.restarts) = (run.order, run.restarts);
            Some((Some(epoch), reason, run))
        }
        Some(Noted::Running {
            epoch,
            launched,
            order,
            restarts,
            ..
        }) => {
            let asked = stop.map(|_| ExitReason::PoweredOff);
            // As far as is known it ran until now.
            let ran_ms = u64::try_from(now.since(launched).as_millis()).unwrap_or(u64::MAX);
            let run = Run {
                order,
                ran_ms,
                restarts,
            };
            Some((Some(epoch), killed.or(asked).unwrap_or(ExitReason::Vanished), run))
        }
        // It may have run, and the log may believe that it does. To a log that knows better this tells nothing.
        Some(Noted::Launching { .. }) | None => Some((ran_under, ExitReason::Vanished, Run::default())),
    };
    if let Some((epoch, reason, run)) = ended {
        let end = LastEnd {
            reason,
            run,
            at: now,
            chance: 0,
        };
        observed.has_ended(epoch, end);
    }
    Stock {
        vm,
        observed,
        running: None,
    }
}

/// Processes that run a machine of this daemon's, by the mark on their command line and where they were started.
fn strays(vms: &Path) -> std::io::Result<BTreeMap<VmId, (HypervisorKind, Process)>> {
    let mut strays = BTreeMap::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let Ok(Some(process)) = Process::of(pid) else {
            continue;
        };
        // A process that is ending has neither; one of another user shows its directory to nobody.
        let (Ok(words), Ok(dir)) = (
            std::fs::read(entry.path().join("cmdline")),
            std::fs::read_link(entry.path().join("cwd")),
        ) else {
            continue;
        };
        let Some((vm, kind)) = marked(
            words
                .split(|&byte| byte == 0)
                .map_while(|word| std::str::from_utf8(word).ok()),
        ) else {
            continue;
        };
        // The kernel adds " (deleted)" to a directory that is gone, which is the hypervisor's own in the VM's.
        let here = dir
            .strip_prefix(vms)
            .is_ok_and(|dir| dir.starts_with(vm.to_string()));
        if here {
            strays.insert(vm, (kind, process));
        }
    }
    Ok(strays)
}
