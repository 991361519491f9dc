//! `chv vm attach` and `chv vm detach`: disks and network cards, while the VM runs where its hypervisor can.

use std::io::Write;

use chv_domain::VmSpec;
use chv_domain::spec::DeviceId;

use super::device::{AskedDisk, AskedNic, device_id, disk, nic};
use super::reference::Reference;
use super::respec;
use crate::change::Expect;
use crate::cli::Waiting;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::session::Session;

/// Give a VM another disk or network card.
///
/// A VM that runs has it at once where its hypervisor can do that; else at its next start, and that is said.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chv vm attach web --disk id=data,path=data.raw,format=raw
  chv vm attach web --nic tap=tap1,id=lan")]
pub(crate) struct Attach {
    /// Its name, project/name, or id.
    #[arg(value_name = "VM")]
    vm: Reference,
    /// A disk: path=FILE,format=raw|qcow2[,id=NAME][,readonly]; can be given many times.
    #[arg(long = "disk", value_name = "DISK", value_parser = disk, required_unless_present = "nics")]
    disks: Vec<AskedDisk>,
    /// A network card: user or tap=DEVICE, then [,id=NAME][,mac=52:54:00:12:34:56]; can be given many times.
    #[arg(long = "nic", value_name = "NIC", value_parser = nic)]
    nics: Vec<AskedNic>,
    #[command(flatten)]
    expect: Expect,
    #[command(flatten)]
    waiting: Waiting,
}

/// Take a disk or a network card from a VM. What is on a disk stays where it is.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chv vm detach web --disk data
  chv vm detach web --nic lan")]
pub(crate) struct Detach {
    /// Its name, project/name, or id.
    #[arg(value_name = "VM")]
    vm: Reference,
    /// The id of a disk; can be given many times.
    #[arg(long = "disk", value_name = "ID", value_parser = device_id, required_unless_present = "nics")]
    disks: Vec<DeviceId>,
    /// The id of a network card; can be given many times.
    #[arg(long = "nic", value_name = "ID", value_parser = device_id)]
    nics: Vec<DeviceId>,
    #[command(flatten)]
    expect: Expect,
    #[command(flatten)]
    waiting: Waiting,
}

impl Attach {
    pub(super) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        let change = respec::of(session, &self.vm, self.expect, |mut spec| {
            for disk in self.disks {
                let place = free(|place| {
                    spec.disks
                        .iter()
                        .all(|there| there.id != disk.clone().at(place).id)
                });
                spec.disks.push(disk.at(place));
            }
            for nic in self.nics {
                let place = free(|place| spec.nics.iter().all(|there| there.id != nic.clone().at(place).id));
                spec.nics.push(nic.at(place));
            }
            Ok(spec)
        });
        change.await?.make(session, self.waiting, to).await
    }
}

impl Detach {
    pub(super) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        let change = respec::of(session, &self.vm, self.expect, |spec| {
            without(spec, &self.disks, &self.nics)
        });
        change.await?.make(session, self.waiting, to).await
    }
}

/// The first place whose name no device has; the first of all where it was given a name.
fn free(is_free: impl Fn(usize) -> bool) -> usize {
    /// A spec has fewer devices.
    const MOST: usize = 1024;
    (0..MOST).find(|place| is_free(*place)).unwrap_or_default()
}

/// `spec` without these devices, each of which must be there.
fn without(mut spec: VmSpec, disks: &[DeviceId], nics: &[DeviceId]) -> Result<VmSpec, Failure> {
    let missing = |kind: &str, id: &DeviceId, there: Vec<&str>| {
        let there = if there.is_empty() {
            "none".to_owned()
        } else {
            there.join(", ")
        };
        let what = format!("it has no {kind} {id}; those that it has: {there}");
        Failure::new(Exit::NotFound, what)
    };
    for id in disks {
        let Some(place) = spec.disks.iter().position(|disk| disk.id == *id) else {
            return Err(missing(
                "disk",
                id,
                spec.disks.iter().map(|disk| disk.id.as_str()).collect(),
            ));
        };
        spec.disks.remove(place);
    }
    for id in nics {
        let Some(place) = spec.nics.iter().position(|nic| nic.id == *id) else {
            return Err(missing(
                "network card",
                id,
                spec.nics.iter().map(|nic| nic.id.as_str()).collect(),
            ));
        };
        spec.nics.remove(place);
    }
    Ok(spec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_device_that_is_not_there_when_it_is_detached_then_those_that_are_there_are_named() {
        let spec: VmSpec = serde_json::from_value(serde_json::json!({
            "cpu": 1, "memory": "1GiB", "boot": {"kernel": "k"},
            "disks": [{"id": "root", "path": "p", "format": "raw"}, {"id": "data", "path": "q", "format": "raw"}],
        }))
        .unwrap();
        let id = |id: &str| id.parse::<DeviceId>().unwrap();
        let left = without(spec.clone(), &[id("root")], &[]).unwrap();
        assert_eq!(left.disks.len(), 1);
        let error = without(spec.clone(), &[id("swap")], &[]).unwrap_err().to_string();
        assert!(
            error.contains("no disk swap") && error.contains("root, data"),
            "{error}"
        );
        let error = without(spec, &[], &[id("lan")]).unwrap_err().to_string();
        assert!(
            error.contains("no network card lan") && error.contains("none"),
            "{error}"
        );
    }
}
