//! What is made of a machine while it runs, as its guest finds it.

use std::path::Path;
use std::sync::Arc;

use chv_domain::VmSpec;
use serde_json::{Value, json};

use super::devices::seen_from_inside;
use super::{Leash, On, ready, soon, spec};
use crate::hypervisor::{AgentChannel, Changing, HypervisorKind, Instance, Operation};
use crate::plan::{Next, Runs};

/// A machine with room to grow: by modules of memory or by a device.
fn started(method: &str, disks: &[&str]) -> Value {
    let disks: Vec<_> = disks.iter().map(|id| disk(id)).collect();
    json!({
        "cpu": {"vcpus": 1, "max": 3},
        "memory": {"size": "256MiB", "hotplug": {"size": "256MiB", "method": method}, "balloon": {}},
        "disks": disks,
    })
}

fn disk(id: &str) -> Value {
    json!({"id": id, "path": id, "format": "raw", "serial": id})
}

/// A machine that is changed as its daemon does it.
struct Changed<'a> {
    on: &'a On,
    instance: Instance,
    runs: Runs,
    dir: &'a Path,
}

impl Changed<'_> {
    /// Makes the machine what is wanted; each change is made twice, as after a daemon's end at the worst moment.
    async fn to(&mut self, wanted: Value) {
        let wanted: Arc<VmSpec> = spec(wanted);
        loop {
            let (change, is) = match self.runs.next(&wanted) {
                Next::Make(change, is) => (change, is),
                Next::Nothing(fields) => return assert_eq!(fields, [], "needs a new start"),
            };
            let path = match &change {
                crate::plan::Change::AttachDisk(disk) => Some(self.dir.join(disk.path.as_str())),
                _ => None,
            };
            let changing = Changing {
                change: &change,
                started: &self.runs.started,
                is: &is,
                disk: path.as_deref(),
            };
            for _ in 0..2 {
                self.on
                    .hypervisor()
                    .change(&self.instance, &changing)
                    .await
                    .unwrap();
            }
            self.runs.is = is;
        }
    }

    /// Waits until the guest finds its machine so.
    async fn seen(&self, what: &str, is_so: impl Fn(&Value) -> bool) {
        soon(what, async {
            loop {
                let seen = seen_from_inside(&self.instance).await;
                if is_so(&seen) {
                    return;
                }
                let said = std::fs::read(self.instance.run_dir.console_log()).unwrap_or_default();
                let said = String::from_utf8_lossy(&said).into_owned();
                let last: Vec<_> = said.lines().filter(|line| !line.contains("machine")).collect();
                eprintln!(
                    "not yet {what}: {seen}; {:?}",
                    &last[last.len().saturating_sub(12)..]
                );
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            }
        })
        .await;
    }
}

fn mib(seen: &Value) -> u64 {
    seen["memory_kib"].as_u64().unwrap() / 1024
}

fn serials(seen: &Value) -> Vec<&str> {
    let disks = seen["disks"].as_array().unwrap();
    disks
        .iter()
        .map(|disk| disk["serial"].as_str().unwrap())
        .collect()
}

async fn launched<'a>(on: &'a On, dir: &'a Path, what: Value) -> (Changed<'a>, Leash) {
    let mut machine = on.machine(dir);
    for disk in ["old", "new", "last"] {
        std::fs::File::create(dir.join(disk))
            .unwrap()
            .set_len(1 << 20)
            .unwrap();
    }
    machine.spec = spec(what);
    machine.files.disks = machine
        .spec
        .disks
        .iter()
        .map(|disk| dir.join(disk.path.as_str()))
        .collect();
    machine.wall = crate::wall::Wall::default();
    let instance = on.hypervisor().launch(&machine).await.unwrap();
    let leash = Leash(instance.clone());
    let runs = Runs::started(instance.kind, false, Arc::clone(&machine.spec));
    ready(&mut AgentChannel::open(&instance).await.unwrap()).await;
    let changed = Changed {
        on,
        instance,
        runs,
        dir,
    };
    (changed, leash)
}

pub(super) async fn grows_and_shrinks_while_it_runs(on: &On) {
    let dir = tempfile::tempdir().unwrap();
    let (mut vm, _leash) = launched(on, dir.path(), started("virtio-mem", &[])).await;
    let first = seen_from_inside(&vm.instance).await;
    let with = |vcpus: u32, size: &str, balloon: Value| {
        json!({
            "cpu": {"vcpus": vcpus, "max": 3},
            "memory": {"size": size, "hotplug": {"size": "256MiB", "method": "virtio-mem"}, "balloon": balloon},
        })
    };
    vm.to(with(3, "384MiB", json!({}))).await;
    vm.seen("three processors and more memory", |seen| {
        seen["cpus"] == "0-2" && mib(seen) > mib(&first) + 100
    })
    .await;
    vm.to(with(2, "256MiB", json!({"size": "64MiB"}))).await;
    vm.seen("two processors and less memory than at first", |seen| {
        seen["cpus"] == "0-1" && mib(seen) < mib(&first) - 40
    })
    .await;
    vm.to(started("virtio-mem", &[])).await;
    vm.seen("as at first", |seen| {
        seen["cpus"] == "0" && mib(seen) == mib(&first)
    })
    .await;
}

pub(super) async fn gets_and_loses_devices_while_it_runs(on: &On) {
    let dir = tempfile::tempdir().unwrap();
    let (mut vm, _leash) = launched(on, dir.path(), started("acpi", &["old"])).await;
    let first = seen_from_inside(&vm.instance).await;
    assert_eq!(serials(&first), ["old"]);
    let with = |size: &str, disks: &[&str], nics: Value| {
        let mut with = started("acpi", disks);
        with["memory"]["size"] = size.into();
        with["nics"] = nics;
        with
    };
    let nics = match on.hypervisor().kind() {
        HypervisorKind::CloudHypervisor => json!([]),
        _ => json!([{"id": "lan", "backend": "user", "mac": "52:54:00:00:00:07"}]),
    };
    let cards = nics.as_array().unwrap().len();
    vm.to(with("384MiB", &["old", "new", "last"], nics.clone())).await;
    vm.seen("two more disks, a card and a module of memory", |seen| {
        let mut serials = serials(seen);
        serials.sort_unstable();
        serials == ["last", "new", "old"]
            && seen["nics"].as_array().unwrap().len() == cards
            && mib(seen) > mib(&first) + 100
    })
    .await;
    // Also one that it was started with.
    vm.to(with("384MiB", &["last"], json!([]))).await;
    vm.seen("one disk and no card", |seen| {
        serials(seen) == ["last"] && seen["nics"].as_array().unwrap().is_empty()
    })
    .await;
}

pub(super) async fn says_what_of_a_change_fails(on: &On) {
    let dir = tempfile::tempdir().unwrap();
    let (vm, _leash) = launched(on, dir.path(), started("acpi", &[])).await;
    let wanted = spec(started("acpi", &["gone"]));
    let Next::Make(change, is) = vm.runs.next(&wanted) else {
        panic!("a disk comes")
    };
    let gone = dir.path().join("gone");
    let changing = Changing {
        change: &change,
        started: &vm.runs.started,
        is: &is,
        disk: Some(&gone),
    };
    let error = on.hypervisor().change(&vm.instance, &changing).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains(&Operation::Change.to_string()) && text.contains("gone"),
        "{text}"
    );
    // And with the file there it is made.
    std::fs::File::create(&gone).unwrap().set_len(1 << 20).unwrap();
    on.hypervisor().change(&vm.instance, &changing).await.unwrap();
    vm.seen("the disk", |seen| serials(seen) == ["gone"]).await;
}
