//! What is made of a cloud-hypervisor that runs. It answers when it has done its own part; it does not say when the guest
//! has done its.

use cloud_hypervisor_sdk::SocketBasedApiClient;
use cloud_hypervisor_sdk::apis::DefaultApi;
use cloud_hypervisor_sdk::models::{VmConfig, VmRemoveDevice, VmResize};

use super::config::{disk, disk_name, nic, nic_name};
use super::{ANSWER_LIMIT, call, client};
use crate::hypervisor::changing::Changing;
use crate::hypervisor::error::{HypervisorError, Operation};
use crate::hypervisor::instance::Instance;
use crate::hypervisor::machine::mac_of;
use crate::plan::Change;

/// Makes one change; what is so already is left as it is.
pub(super) async fn change(instance: &Instance, changing: &Changing<'_>) -> Result<(), HypervisorError> {
    let client = client(instance);
    let is = call(instance, Operation::Change, ANSWER_LIMIT, client.vm_info_get())
        .await?
        .config;
    let has_disk = |name: &String| {
        is.disks
            .iter()
            .flatten()
            .any(|disk| disk.id.as_ref() == Some(name))
    };
    let has_nic = |name: &String| is.net.iter().flatten().any(|nic| nic.id.as_ref() == Some(name));
    match changing.change {
        Change::Vcpus(vcpus) => {
            let desired_vcpus = Some(i32::try_from(vcpus.get()).unwrap_or(i32::MAX));
            let wanted = VmResize {
                desired_vcpus,
                ..VmResize::new()
            };
            resize(instance, &client, wanted).await
        }
        // It refuses what is so already.
        Change::Memory(size) if has_memory(&is) == Some(bytes(size.bytes())) => Ok(()),
        Change::Memory(size) => {
            let desired_ram = Some(bytes(size.bytes()));
            let wanted = VmResize {
                desired_ram,
                ..VmResize::new()
            };
            resize(instance, &client, wanted).await
        }
        Change::Balloon(back) => {
            let desired_balloon = Some(bytes(back.map_or(0, |back| back.bytes())));
            let wanted = VmResize {
                desired_balloon,
                ..VmResize::new()
            };
            resize(instance, &client, wanted).await
        }
        Change::AttachDisk(wanted) if has_disk(&disk_name(&wanted.id)) => Ok(()),
        Change::AttachDisk(wanted) => {
            let path = changing.disk.ok_or_else(|| HypervisorError::Api {
                operation: Operation::Change,
                vm: instance.vm,
                why: "the disk has no image file".to_owned(),
            })?;
            let added = client.vm_add_disk_put(disk(wanted, path)?);
            call(instance, Operation::Change, ANSWER_LIMIT, added)
                .await
                .map(drop)
        }
        Change::AttachNic(wanted) if has_nic(&nic_name(&wanted.id)) => Ok(()),
        Change::AttachNic(wanted) => {
            let added = client.vm_add_net_put(nic(wanted, mac_of(instance.vm, wanted), None)?);
            call(instance, Operation::Change, ANSWER_LIMIT, added)
                .await
                .map(drop)
        }
        Change::DetachDisk(id) => remove(instance, &client, &is, disk_name(id)).await,
        Change::DetachNic(id) => remove(instance, &client, &is, nic_name(id)).await,
    }
}

/// What it was started with, and what was added since.
fn has_memory(is: &VmConfig) -> Option<i64> {
    let memory = is.memory.as_ref()?;
    Some(memory.size + memory.hotplugged_size.unwrap_or(0))
}

async fn resize(
    instance: &Instance,
    client: &SocketBasedApiClient,
    wanted: VmResize,
) -> Result<(), HypervisorError> {
    call(
        instance,
        Operation::Change,
        ANSWER_LIMIT,
        client.vm_resize_put(wanted),
    )
    .await
}

async fn remove(
    instance: &Instance,
    client: &SocketBasedApiClient,
    is: &VmConfig,
    name: String,
) -> Result<(), HypervisorError> {
    let named = |id: &Option<String>| id.as_ref() == Some(&name);
    let disk = is.disks.iter().flatten().any(|disk| named(&disk.id));
    let nic = is.net.iter().flatten().any(|nic| named(&nic.id));
    if !disk && !nic {
        return Ok(());
    }
    let removed = client.vm_remove_device_put(VmRemoveDevice { id: Some(name) });
    call(instance, Operation::Change, ANSWER_LIMIT, removed).await
}

fn bytes(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
