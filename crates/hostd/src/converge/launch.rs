//! From what is wanted of a VM to a machine that runs: chooses the hypervisor, finds the files, notes what it is
//! about to do, and does it. Reports nothing.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;

use chv_domain::spec::OnHostLoss;
use chv_domain::{DesiredVm, HypervisorKind, Timestamp, VmId};
use tracing::Instrument;

use super::here::Here;
use super::slots::Slot;
use crate::hypervisor::{HypervisorError, Instance, Machine, Making, Remedy};
use crate::lease::{self, SinceBoot, asks};
use crate::ledger::{Marker, Noted, VmNote};
use crate::plan::Runs;
use crate::seed;
use crate::wall::Wall;

/// A machine that runs.
pub(super) struct Launched {
    pub(super) instance: Instance,
    /// What it was started as.
    pub(super) runs: Runs,
    /// When it was last seen before its start that it may run.
    pub(super) looked: SinceBoot,
    /// Whether the lease that it was started under has ended since: whoever ends guests with it may have looked before
    /// this one was there, and it may be another host's by now.
    pub(super) outlived: bool,
    /// The next one's once this one has booted.
    pub(super) slot: Slot,
}

/// Why it doesn't.
#[derive(Debug)]
pub(super) enum Fault {
    /// Something has to change first; this is what stands in the way.
    Blocked(String),
    /// It may pass.
    Passing(String),
    /// A process for it is there already.
    AlreadyRunning,
}

impl From<HypervisorError> for Fault {
    fn from(error: HypervisorError) -> Self {
        match (&error, error.remedy()) {
            (HypervisorError::AlreadyRunning { .. }, _) => Self::AlreadyRunning,
            (_, Remedy::WaitForHost | Remedy::ChangeSpec) => Self::Blocked(error.to_string()),
            (_, Remedy::Retry) => Self::Passing(error.to_string()),
        }
    }
}

/// Launches the VM. Dropped, it leaves no process, a moment after `making` is over.
pub(super) async fn launch(
    here: &Here,
    desired: &DesiredVm,
    now: Timestamp,
    making: Making,
) -> Result<Launched, Fault> {
    // Before anything else, so that what takes long to get ready keeps its place.
    let place = here.slots.ask(desired.spec.start_priority);
    let kind = here.facts.borrow().choose(&desired.spec).map_err(|why| {
        Fault::Blocked(format!(
            "this host can't run it: {why}; `chv-hostd check` there says more"
        ))
    })?;
    let driver = here.hypervisors.get(kind).ok_or_else(|| {
        Fault::Blocked(format!(
            "{kind} is not installed on this host any more; install it, or restart chv-hostd"
        ))
    })?;
    let mut machine = prepare(here, desired, kind, now, making)
        .instrument(tracing::info_span!("prepare"))
        .await?;
    machine.wall = wall(here, desired.vm)?;
    let note = VmNote {
        epoch: desired.epoch,
        noted: Noted::Launching { epoch: desired.epoch },
    };
    here.ledger
        .put(desired.vm, &note)
        .await
        .map_err(|error| Fault::Passing(error.to_string()))?;
    let gone = || Fault::Passing("no more guests are started by this daemon".to_owned());
    let slot = place.turn().await.ok_or_else(gone)?;
    let looked = under_lease(here, desired).await?;
    let instance = driver.launch(&machine).await?;
    // From here on its process is found by whoever ends guests with the lease.
    let leased = desired.spec.on_host_loss == OnHostLoss::Failover;
    let outlived = leased && here.lease.has_ended_since(looked);
    let walled = machine.wall.user.is_some();
    Ok(Launched {
        instance,
        runs: Runs::started(kind, walled, machine.spec),
        looked,
        outlived,
        slot,
    })
}

/// What the VM's process is put behind. Noted before anything is its user's.
fn wall(here: &Here, vm: VmId) -> Result<Wall, Fault> {
    let wall = here
        .walls
        .of(vm)
        .map_err(|error| Fault::Blocked(error.to_string()))?;
    if let Some(user) = wall.user {
        let noted = here.ledger.set_user(vm, user);
        noted.map_err(|error| Fault::Passing(error.to_string()))?;
    }
    Ok(wall)
}

/// The last look before a guest is started, and when it was: for one that asks for failover there is a guard, and the
/// lease is held.
async fn under_lease(here: &Here, desired: &DesiredVm) -> Result<SinceBoot, Fault> {
    if desired.spec.on_host_loss == OnHostLoss::Stay {
        return Ok(lease::now());
    }
    let guarded = here.lease.guarded().await;
    guarded.map_err(|error| Fault::Passing(format!("the lease's guard can't be started: {error}")))?;
    let looked = lease::now();
    match here.lease.may_start() {
        true => Ok(looked),
        false => Err(Fault::Passing(
            "this host holds no lease from the leader now; it is started when it does".to_owned(),
        )),
    }
}

/// Finds the machine's files, and makes its directory ready.
async fn prepare(
    here: &Here,
    desired: &DesiredVm,
    kind: HypervisorKind,
    now: Timestamp,
    making: Making,
) -> Result<Machine, Fault> {
    let (files, dir, desired) = (here.files.clone(), here.data.run_dir(desired.vm), desired.clone());
    let prepared = tokio::task::spawn_blocking(move || {
        let mut files = files
            .of(&desired.spec)
            .map_err(|error| Fault::Blocked(error.to_string()))?;
        let seed = match &desired.spec.cloud_init {
            Some(cloud_init) => Some(seed::image(desired.vm, &desired.name, cloud_init)),
            None => None,
        };
        let seed = seed.transpose().map_err(|error| {
            Fault::Blocked(format!(
                "the disk for cloud-init can't be made: {error}; make its texts shorter"
            ))
        })?;
        files.seed = seed.is_some().then(|| dir.seed());
        let machine = Machine {
            vm: desired.vm,
            run_dir: dir.clone(),
            spec: Arc::clone(&desired.spec),
            files,
            wall: Wall::default(),
            making,
        };
        let DesiredVm {
            vm,
            project,
            name,
            spec,
            epoch,
            ..
        } = desired;
        let marker = Marker {
            vm,
            project,
            name,
            epoch,
            hypervisor: kind,
            launched: now,
            spec,
            changed: None,
            begun: None,
        };
        let failed = |error: std::io::Error| Fault::Passing(format!("{}: {error}", dir.path().display()));
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir.path())
            .map_err(failed)?;
        if let Some(seed) = seed {
            std::fs::write(dir.seed(), seed).map_err(failed)?;
        }
        asks::write(&dir, marker.spec.on_host_loss).map_err(failed)?;
        marker.write(&dir).map_err(failed)?;
        Ok(machine)
    });
    prepared
        .await
        .unwrap_or_else(|error| Err(Fault::Passing(error.to_string())))
}
