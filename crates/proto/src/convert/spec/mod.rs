//! Specifications of VMs: the whole, and what boots. Processors, memory and devices have files of their own.

mod attached;
mod cloud_init;
mod cpu;
mod device;
mod memory;
mod restart;

use chv_domain::VmSpec;
use chv_domain::spec::{Boot, Cmdline, Console, HostPath, RngSource, StopTimeout};

use super::error::{WireError, parse, parse_optional};
use crate::v1;

pub(super) use attached::attached_to_wire;
pub(super) use cloud_init::cloud_init_to_wire;
pub(super) use cpu::cpu_to_wire;
pub(super) use device::{disk_to_wire, nic_to_wire};
pub(super) use memory::memory_to_wire;
pub(super) use restart::restart_to_wire;

/// A specification, as it is sent.
pub fn spec_to_wire(spec: &VmSpec) -> v1::VmSpec {
    v1::VmSpec {
        cpu: Some(cpu_to_wire(&spec.cpu)),
        memory: Some(memory_to_wire(&spec.memory)),
        boot: Some(boot_to_wire(&spec.boot)),
        disks: spec.disks.iter().map(disk_to_wire).collect(),
        nics: spec.nics.iter().map(nic_to_wire).collect(),
        hypervisor: spec.hypervisor.map(|kind| kind.to_string()).unwrap_or_default(),
        stop_timeout_s: spec.stop_timeout.seconds(),
        on_host_loss: spec.on_host_loss.to_string(),
        rng: rng_to_wire(spec.rng).to_owned(),
        watchdog: spec.watchdog,
        cloud_init: spec.cloud_init.as_ref().map(cloud_init_to_wire),
        machine: spec
            .machine
            .map(|machine| machine.to_string())
            .unwrap_or_default(),
        restart: restart_to_wire(&spec.restart),
        start_priority: spec.start_priority.into(),
        ..attached_to_wire(spec)
    }
}

/// A specification that was sent. Fields are named from the specification's own root. Whether its fields go together is
/// not looked at: the leader does.
pub fn spec_from_wire(spec: v1::VmSpec) -> Result<VmSpec, WireError> {
    let cpu = spec.cpu.ok_or_else(|| WireError::missing("cpu"))?;
    let memory = spec.memory.ok_or_else(|| WireError::missing("memory"))?;
    let boot = spec.boot.ok_or_else(|| WireError::missing("boot"))?;
    let stop_timeout = stop_timeout("stop_timeout_s", spec.stop_timeout_s)?;
    Ok(VmSpec {
        cpu: cpu::cpu_from_wire(cpu).map_err(|error| error.within("cpu"))?,
        memory: memory::memory_from_wire(memory).map_err(|error| error.within("memory"))?,
        boot: boot_from_wire(boot).map_err(|error| error.within("boot"))?,
        disks: each("disks", spec.disks, device::disk_from_wire)?,
        nics: each("nics", spec.nics, device::nic_from_wire)?,
        hypervisor: parse_optional("hypervisor", &spec.hypervisor)?,
        stop_timeout: stop_timeout.unwrap_or_default(),
        on_host_loss: parse_optional("on_host_loss", &spec.on_host_loss)?.unwrap_or_default(),
        rng: parse_optional("rng", &spec.rng)?.unwrap_or_default(),
        watchdog: spec.watchdog,
        cloud_init: spec
            .cloud_init
            .map(cloud_init::cloud_init_from_wire)
            .transpose()
            .map_err(|error| error.within("cloud_init"))?,
        machine: parse_optional("machine", &spec.machine)?,
        restart: spec
            .restart
            .map(restart::restart_from_wire)
            .transpose()
            .map_err(|error| error.within("restart"))?
            .unwrap_or_default(),
        start_priority: restart::priority_from_wire(spec.start_priority)?,
        serial: attached::port_from_wire("serial", spec.serial)?.unwrap_or_default(),
        console: attached::port_from_wire("console", spec.console)?.map_or_else(Console::default, Console),
        panic_device: spec.panic_device,
        shares: each("shares", spec.shares, attached::share_from_wire)?,
        pmem: each("pmem", spec.pmem, attached::pmem_from_wire)?,
        tpm: given_path("tpm", spec.tpm)?,
    })
}

/// As it is sent; what holds when nothing is said is not.
pub(super) fn rng_to_wire(rng: RngSource) -> &'static str {
    match rng {
        RngSource::Urandom => "",
        other => other.as_str(),
    }
}

/// A stop timeout in seconds, where 0 stands for none.
pub(super) fn stop_timeout(field: &str, seconds: u32) -> Result<Option<StopTimeout>, WireError> {
    given(field, seconds)
}

/// A number, where 0 stands for none.
fn given<N, T>(field: &str, number: N) -> Result<Option<T>, WireError>
where
    N: Default + PartialEq,
    T: TryFrom<N, Error: std::fmt::Display>,
{
    if number == N::default() {
        return Ok(None);
    }
    T::try_from(number)
        .map(Some)
        .map_err(|error| WireError::new(field, error))
}

/// Every part of a list; what is wrong is named with its place, from 0.
fn each<W, T>(field: &str, list: Vec<W>, from: fn(W) -> Result<T, WireError>) -> Result<Vec<T>, WireError> {
    let parts = list.into_iter().enumerate();
    parts
        .map(|(index, part)| from(part).map_err(|error| error.within(format!("{field}[{index}]"))))
        .collect()
}

fn boot_to_wire(boot: &Boot) -> v1::Boot {
    v1::Boot {
        kernel: path_to_wire(&boot.kernel),
        initramfs: path_to_wire(&boot.initramfs),
        cmdline: boot.cmdline.as_str().to_owned(),
        firmware: path_to_wire(&boot.firmware),
        order: boot.order.iter().map(ToString::to_string).collect(),
    }
}

fn path(field: &str, text: String) -> Result<HostPath, WireError> {
    HostPath::try_from(text).map_err(|error| WireError::new(field, error))
}

/// A path, where an empty text stands for none.
fn given_path(field: &str, text: String) -> Result<Option<HostPath>, WireError> {
    let given = Some(text).filter(|text| !text.is_empty());
    given.map(|text| path(field, text)).transpose()
}

fn path_to_wire(path: &Option<HostPath>) -> String {
    path.as_ref().map(ToString::to_string).unwrap_or_default()
}

fn boot_from_wire(boot: v1::Boot) -> Result<Boot, WireError> {
    Ok(Boot {
        kernel: given_path("kernel", boot.kernel)?,
        initramfs: given_path("initramfs", boot.initramfs)?,
        cmdline: Cmdline::try_from(boot.cmdline).map_err(|error| WireError::new("cmdline", error))?,
        firmware: given_path("firmware", boot.firmware)?,
        order: each("order", boot.order, |id| parse("id", &id))?,
    })
}
