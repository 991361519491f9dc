//! What is made of a QEMU that runs: processors, memory, disks and network cards that come and go. Each change looks first how
//! the machine is, and waits where its guest has a part in it: QEMU takes many orders that the guest may not carry out.

use std::time::Duration;

use chv_domain::spec::{DeviceId, Disk, HotplugMethod, Nic};
use chv_domain::{HypervisorKind, Memory, Vcpus, VmId, VmSpec};
use serde_json::{Value, json};

use super::args::{disk, memory, nic, port};
use super::qmp::{Qmp, QmpError};
use crate::hypervisor::changing::Changing;
use crate::hypervisor::error::HypervisorError;
use crate::hypervisor::machine::mac_of;
use crate::plan::Change;

/// Between two looks whether the guest has done its part.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Bytes of a MiB.
const MIB: u64 = 1 << 20;

/// Where QEMU keeps what is no device.
const OBJECTS: &str = "/objects";

/// Where QEMU keeps what was given a name.
const NAMED: &str = "/machine/peripheral";

/// Why a change is not made.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChangeError {
    #[error(transparent)]
    Qmp(#[from] QmpError),
    #[error(transparent)]
    Machine(#[from] HypervisorError),
    #[error("all its PCI ports are in use; start it anew to give it more")]
    NoPort,
    #[error("QEMU has no place for another processor")]
    NoSocket,
    #[error("the change has no image file")]
    NoFile,
}

/// Makes one change, and waits for as long as the guest's part in it takes.
pub(super) async fn change(
    qmp: &mut Qmp,
    vm: VmId,
    kind: HypervisorKind,
    changing: &Changing<'_>,
) -> Result<(), ChangeError> {
    match changing.change {
        Change::Vcpus(vcpus) => set_vcpus(qmp, *vcpus).await,
        Change::Memory(size) => set_memory(qmp, changing.started, *size).await,
        Change::Balloon(back) => set_balloon(qmp, changing.started, changing.is, *back).await,
        Change::AttachDisk(disk) => {
            let path = changing.disk.ok_or(ChangeError::NoFile)?;
            attach_disk(qmp, disk, disk::parts(disk, path, kind)?).await
        }
        Change::DetachDisk(id) => detach_disk(qmp, id).await,
        Change::AttachNic(nic) => attach_nic(qmp, vm, nic).await,
        Change::DetachNic(id) => detach_nic(qmp, id).await,
    }
}

/// The places for processors that are taken, and those that are not, the first ones first.
async fn sockets(qmp: &mut Qmp) -> Result<(Vec<Value>, Vec<Value>), ChangeError> {
    let mut all = list(qmp.execute("query-hotpluggable-cpus").await?)?;
    let place = |socket: &Value| {
        ["socket-id", "die-id", "core-id", "thread-id"].map(|level| socket["props"][level].as_u64())
    };
    all.sort_by_key(place);
    Ok(all.into_iter().partition(|socket| socket["qom-path"].is_string()))
}

async fn set_vcpus(qmp: &mut Qmp, wanted: Vcpus) -> Result<(), ChangeError> {
    let wanted = wanted.get() as usize;
    loop {
        let (taken, free) = sockets(qmp).await?;
        if taken.len() == wanted {
            return Ok(());
        }
        if taken.len() < wanted {
            let socket = free.first().ok_or(ChangeError::NoSocket)?;
            let mut cpu = socket["props"].clone();
            cpu["driver"] = socket["type"].clone();
            cpu["id"] = json!(cpu_name(socket));
            qmp.execute_with("device_add", cpu).await?;
            continue;
        }
        // The last of those that were added: the others are not to be taken.
        let last = taken.iter().rev().find_map(|socket| {
            let path = socket["qom-path"].as_str()?;
            Some(path.strip_prefix(NAMED)?.trim_start_matches('/').to_owned())
        });
        let last = last.ok_or(ChangeError::NoSocket)?;
        remove(qmp, last).await?;
    }
}

fn cpu_name(socket: &Value) -> String {
    let part = |level: &str| socket["props"][level].as_u64().unwrap_or_default();
    format!(
        "cpu-{}-{}-{}-{}",
        part("socket-id"),
        part("die-id"),
        part("core-id"),
        part("thread-id")
    )
}

/// Whether memory comes by the device that takes it back too.
fn by_device(started: &VmSpec) -> bool {
    let hotplug = started.memory.hotplug.as_ref();
    hotplug.is_some_and(|hotplug| hotplug.method == HotplugMethod::VirtioMem)
}

async fn set_memory(qmp: &mut Qmp, started: &VmSpec, wanted: Memory) -> Result<(), ChangeError> {
    if by_device(started) {
        let more = wanted.bytes().saturating_sub(started.memory.size.bytes());
        let path = format!("{NAMED}/{}", memory::DEVICE);
        let set = json!({"path": path, "property": "requested-size", "value": more});
        qmp.execute_with("qom-set", set).await?;
        let get = json!({"path": path, "property": "size"});
        return until(qmp, "qom-get", get, |size| size.as_u64() == Some(more)).await;
    }
    let amount = qmp.execute("query-memory-size-summary").await?;
    let part = |name: &str| amount[name].as_u64().unwrap_or_default();
    let is = part("base-memory") + part("plugged-memory");
    let size = wanted.bytes();
    if is >= size {
        return Ok(());
    }
    let (backend, module) = (format!("ram-{size}"), format!("module-{size}"));
    let mib = u32::try_from((size - is) / MIB).unwrap_or(u32::MAX);
    // One of an earlier try may be of another size.
    while named(qmp, OBJECTS).await?.contains(&backend) {
        let_go(qmp.execute_with("object-del", json!({"id": backend})).await).await?;
    }
    let added = memory::backend(&backend, mib, &started.memory).json();
    qmp.execute_with("object-add", added).await?;
    let device = json!({"driver": "pc-dimm", "id": module, "memdev": backend});
    qmp.execute_with("device_add", device).await?;
    Ok(())
}

async fn set_balloon(
    qmp: &mut Qmp,
    started: &VmSpec,
    is: &VmSpec,
    back: Option<Memory>,
) -> Result<(), ChangeError> {
    // QEMU counts what modules give, and not what the device gives that takes memory back too.
    let counted = match by_device(started) {
        true => started.memory.size,
        false => is.memory.size,
    };
    let left = counted.bytes().saturating_sub(back.map_or(0, Memory::bytes));
    qmp.execute_with("balloon", json!({"value": left})).await?;
    until(qmp, "query-balloon", json!({}), |balloon| {
        balloon["actual"].as_u64() == Some(left)
    })
    .await
}

async fn attach_disk(qmp: &mut Qmp, disk: &Disk, parts: disk::Parts) -> Result<(), ChangeError> {
    let name = disk::name(&disk.id);
    if named(qmp, NAMED).await?.contains(&name) {
        return Ok(());
    }
    // Those of an earlier try may be of another file.
    remove_disk(qmp, &disk.id).await?;
    let port = free_port(qmp).await?;
    if let Some(limit) = parts.limit {
        qmp.execute_with("object-add", limit).await?;
    }
    qmp.execute_with("blockdev-add", parts.node).await?;
    if let Err(error) = qmp.execute_with("device_add", parts.device.json(&port)).await {
        remove_disk(qmp, &disk.id).await?;
        return Err(error.into());
    }
    Ok(())
}

async fn detach_disk(qmp: &mut Qmp, id: &DeviceId) -> Result<(), ChangeError> {
    remove(qmp, disk::name(id)).await?;
    remove_disk(qmp, id).await
}

/// Lets go of the image of a disk that is no device, and of its limit.
async fn remove_disk(qmp: &mut Qmp, id: &DeviceId) -> Result<(), ChangeError> {
    let name = disk::name(id);
    while nodes(qmp).await?.contains(&name) {
        let_go(qmp.execute_with("blockdev-del", json!({"node-name": name})).await).await?;
    }
    let limit = disk::limit_name(id);
    while named(qmp, OBJECTS).await?.contains(&limit) {
        let_go(qmp.execute_with("object-del", json!({"id": limit})).await).await?;
    }
    Ok(())
}

/// What a device used is in use for a moment after the device is gone.
async fn let_go(deleted: Result<Value, QmpError>) -> Result<(), ChangeError> {
    match deleted {
        Ok(_) => Ok(()),
        Err(QmpError::Refused { .. }) => {
            tokio::time::sleep(LOOK_EVERY).await;
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

async fn attach_nic(qmp: &mut Qmp, vm: VmId, nic: &Nic) -> Result<(), ChangeError> {
    let name = nic::name(&nic.id);
    if named(qmp, NAMED).await?.contains(&name) {
        return Ok(());
    }
    let parts = nic::parts(nic, mac_of(vm, nic));
    remove_netdev(qmp, &name).await?;
    let port = free_port(qmp).await?;
    qmp.execute_with("netdev_add", parts.netdev).await?;
    if let Err(error) = qmp.execute_with("device_add", parts.device.json(&port)).await {
        remove_netdev(qmp, &name).await?;
        return Err(error.into());
    }
    Ok(())
}

async fn detach_nic(qmp: &mut Qmp, id: &DeviceId) -> Result<(), ChangeError> {
    let name = nic::name(id);
    remove(qmp, name.clone()).await?;
    remove_netdev(qmp, &name).await
}

/// Unplugs what a network card was plugged into. Nothing lists those: it is asked until there is none to refuse it for.
async fn remove_netdev(qmp: &mut Qmp, name: &str) -> Result<(), ChangeError> {
    loop {
        match qmp.execute_with("netdev_del", json!({"id": name})).await {
            Err(QmpError::Refused { description, .. }) if description.contains("not found") => return Ok(()),
            deleted => let_go(deleted).await?,
        }
    }
}

/// Takes a device from the guest, and waits until the guest has let go of it.
async fn remove(qmp: &mut Qmp, name: String) -> Result<(), ChangeError> {
    if !named(qmp, NAMED).await?.contains(&name) {
        return Ok(());
    }
    match qmp.execute_with("device_del", json!({"id": name})).await {
        Ok(_) => {}
        // It was asked before, and the guest has not done its part yet.
        Err(QmpError::Refused { description, .. }) if description.contains("in the process of unplug") => {}
        Err(error) => return Err(error.into()),
    }
    while named(qmp, NAMED).await?.contains(&name) {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// The names of what is at `path`.
async fn named(qmp: &mut Qmp, path: &'static str) -> Result<Vec<String>, ChangeError> {
    let there = list(qmp.execute_with("qom-list", json!({"path": path})).await?)?;
    Ok(there
        .iter()
        .filter_map(|entry| Some(entry["name"].as_str()?.to_owned()))
        .collect())
}

async fn nodes(qmp: &mut Qmp) -> Result<Vec<String>, ChangeError> {
    let nodes = list(
        qmp.execute_with("query-named-block-nodes", json!({"flat": true}))
            .await?,
    )?;
    Ok(nodes
        .iter()
        .filter_map(|node| Some(node["node-name"].as_str()?.to_owned()))
        .collect())
}

/// A port that nothing is in: by what devices are plugged into, since what the firmware knows of buses comes later.
async fn free_port(qmp: &mut Qmp) -> Result<String, ChangeError> {
    let named = named(qmp, NAMED).await?.into_iter();
    let (ports, devices): (Vec<_>, Vec<_>) = named.partition(|name| name.starts_with(port::NAME));
    let mut taken = Vec::new();
    for device in devices {
        let get = json!({"path": format!("{NAMED}/{device}"), "property": "parent_bus"});
        match qmp.execute_with("qom-get", get).await {
            Ok(bus) => taken.push(bus.as_str().unwrap_or_default().to_owned()),
            // A module of memory is on none.
            Err(QmpError::Refused { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let free = |port: &String| taken.iter().all(|bus| bus.split('/').all(|part| part != port));
    ports.into_iter().find(free).ok_or(ChangeError::NoPort)
}

/// Asks until the answer is as it should be. Whoever calls has a deadline.
async fn until(
    qmp: &mut Qmp,
    question: &'static str,
    arguments: Value,
    is_so: impl Fn(&Value) -> bool,
) -> Result<(), ChangeError> {
    while !is_so(&qmp.execute_with(question, arguments.clone()).await?) {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

fn list(answer: Value) -> Result<Vec<Value>, QmpError> {
    match answer {
        Value::Array(list) => Ok(list),
        other => Err(QmpError::Malformed(other.to_string())),
    }
}
