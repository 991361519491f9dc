//! Changes of guests that run.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn spec(more: Value) -> Arc<VmSpec> {
    let mut spec = json!({"cpu": {"vcpus": 2, "max": 4}, "memory": "512MiB", "boot": {"kernel": "k"}});
    spec.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    Arc::new(serde_json::from_value(spec).unwrap())
}

fn disk(id: &str) -> Value {
    json!({"id": id, "path": id, "format": "raw"})
}

fn nic(id: &str) -> Value {
    json!({"id": id, "backend": {"tap": id}})
}

/// All that is made on the way to `wanted`, and what then needs a new start.
fn made(mut runs: Runs, wanted: &VmSpec) -> (Vec<Change>, Vec<String>) {
    let mut made = Vec::new();
    loop {
        match runs.next(wanted) {
            Next::Make(change, is) => {
                assert_ne!(runs.is, is, "{change:?} changes nothing");
                made.push(change);
                runs.is = is;
            }
            Next::Nothing(fields) => return (made, fields.iter().map(ToString::to_string).collect()),
        }
    }
}

fn from(started: &Arc<VmSpec>, kind: HypervisorKind) -> Runs {
    Runs::started(kind, false, Arc::clone(started))
}

const QEMU: HypervisorKind = HypervisorKind::QemuTcg;

#[test]
fn given_processors_within_the_most_when_they_are_changed_then_at_once_and_else_at_the_next_start() {
    let started = spec(json!({}));
    for (vcpus, live) in [(3, true), (4, true), (1, false), (5, false)] {
        let wanted = spec(json!({"cpu": {"vcpus": vcpus, "max": vcpus.max(4)}}));
        let (changes, restart) = made(from(&started, QEMU), &wanted);
        assert_eq!(!changes.is_empty(), live, "{vcpus}");
        assert_eq!(
            restart.contains(&"cpu.vcpus".to_owned()),
            !live,
            "{vcpus}: {restart:?}"
        );
    }
    let wanted = spec(json!({"cpu": {"vcpus": 4, "max": 4}}));
    assert_eq!(
        made(from(&started, HypervisorKind::Firecracker), &wanted).1,
        ["cpu.vcpus"]
    );
}

#[test]
fn given_room_for_memory_when_its_size_is_changed_then_in_the_steps_of_its_method() {
    let memory = |size: &str, method: &str| {
        spec(json!({"memory": {"size": size, "hotplug": {"size": "256MiB", "method": method}}}))
    };
    for (size, acpi, device) in [
        ("640MiB", true, true),
        ("768MiB", true, true),
        ("514MiB", false, true),
        ("513MiB", false, false),
        ("896MiB", false, false),
        ("384MiB", false, false),
    ] {
        for (method, live) in [("acpi", acpi), ("virtio-mem", device)] {
            let (changes, restart) = made(from(&memory("512MiB", method), QEMU), &memory(size, method));
            assert_eq!(!changes.is_empty(), live, "{size} by {method}");
            assert_eq!(restart.is_empty(), live, "{size} by {method}: {restart:?}");
        }
    }
    // What was added by modules stays; the device takes it back.
    for (method, live) in [("acpi", false), ("virtio-mem", true)] {
        let mut runs = from(&memory("512MiB", method), QEMU);
        runs.is = memory("768MiB", method);
        let (changes, _) = made(runs, &memory("640MiB", method));
        assert_eq!(!changes.is_empty(), live, "{method}");
    }
}

#[test]
fn given_devices_when_they_come_and_go_then_each_by_itself_and_what_is_changed_in_one_at_the_next_start() {
    let started = spec(json!({"disks": [disk("root"), disk("old")], "nics": [nic("lan")]}));
    let mut other = disk("root");
    other["readOnly"] = true.into();
    let wanted = spec(json!({"disks": [disk("new"), other], "nics": [nic("wan"), nic("lan")]}));
    let (changes, restart) = made(from(&started, HypervisorKind::CloudHypervisor), &wanted);
    let id = |id: &str| -> DeviceId { id.parse().unwrap() };
    assert_eq!(
        changes,
        [
            Change::DetachDisk(id("old")),
            Change::AttachDisk(Box::new(wanted.disks[0].clone())),
            Change::AttachNic(Box::new(wanted.nics[0].clone())),
        ]
    );
    assert_eq!(restart, ["disks[root].readOnly"]);
}

#[test]
fn given_no_port_that_is_free_or_a_network_of_its_own_when_devices_come_then_at_the_next_start() {
    let started = spec(json!({}));
    let many: Vec<_> = (0..=QEMU_FREE_PORTS)
        .map(|place| disk(&format!("d{place}")))
        .collect();
    let wanted = spec(json!({"disks": many}));
    let (changes, restart) = made(from(&started, QEMU), &wanted);
    assert_eq!(
        (changes.len(), restart),
        (QEMU_FREE_PORTS, vec![format!("disks[d{QEMU_FREE_PORTS}]")])
    );

    let wanted = spec(json!({"nics": [nic("lan")]}));
    let walled = Runs::started(QEMU, true, Arc::clone(&started));
    assert_eq!(made(walled, &wanted), (vec![], vec!["nics[lan]".to_owned()]));
}

#[test]
fn given_what_the_guest_does_not_see_when_it_is_changed_then_it_is_so_at_once() {
    let wanted = spec(json!({"stopTimeout": 5}));
    assert_eq!(made(from(&spec(json!({})), QEMU), &wanted), (vec![], vec![]));
    let wanted = spec(json!({"watchdog": true, "boot": {"kernel": "other"}}));
    assert_eq!(
        made(from(&spec(json!({})), QEMU), &wanted).1,
        ["boot.kernel", "watchdog"]
    );
}

fn any_spec() -> impl Strategy<Value = Arc<VmSpec>> {
    let devices = || proptest::sample::subsequence(vec!["a", "b", "c", "d"], 0..=4).prop_shuffle();
    let balloon = proptest::option::of(proptest::option::of(1u32..100));
    (
        1u32..6,
        0u32..4,
        1u32..12,
        any::<bool>(),
        balloon,
        devices(),
        devices(),
        1u32..4,
    )
        .prop_map(|(vcpus, more, blocks, device, balloon, disks, nics, stop)| {
            let method = if device { "virtio-mem" } else { "acpi" };
            let balloon = balloon.map(|size| match size {
                None => json!({}),
                Some(mib) => json!({"size": format!("{mib}MiB")}),
            });
            spec(json!({
                "cpu": {"vcpus": vcpus, "max": vcpus + more},
                "memory": {
                    "size": format!("{}MiB", blocks * 64),
                    "hotplug": {"size": "512MiB", "method": method},
                    "balloon": balloon,
                },
                "disks": disks.into_iter().map(disk).collect::<Vec<_>>(),
                "nics": nics.into_iter().map(nic).collect::<Vec<_>>(),
                "stopTimeout": stop,
            }))
        })
}

proptest! {
    #[test]
    fn any_change_ends_and_what_is_left_is_told_and_nothing_else_differs(
        started in any_spec(), wanted in any_spec(), kind in proptest::sample::select(&HypervisorKind::ALL[..]), walled: bool
    ) {
        let mut runs = Runs::started(kind, walled, started);
        let mut steps = 0;
        let restart = loop {
            match runs.next(&wanted) {
                Next::Make(_, is) => runs.is = is,
                Next::Nothing(fields) => break fields,
            }
            steps += 1;
            prop_assert!(steps < 32, "never ends");
        };
        // What it ends as differs in what is told, and in what needs nothing of the guest.
        let mut is = VmSpec::clone(&runs.is);
        settle(&mut is, &wanted);
        prop_assert_eq!(is.differs_in(&wanted), restart);
        // It is the same again, and back there is nothing to do.
        prop_assert!(matches!(runs.next(&wanted), Next::Nothing(_)));
        prop_assert_eq!(runs.next(&runs.is), Next::Nothing(Vec::new()));
    }
}
