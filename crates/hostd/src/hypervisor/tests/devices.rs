//! What a guest finds of its machine's devices and settings.

use std::time::Duration;

use chv_domain::HypervisorKind;
use chv_domain::spec::CloudInit;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::{Leash, On, soon, spec};
use crate::hypervisor::{AgentChannel, ConsolePump, FromGuest, Instance};

/// Every device and setting that needs no rights and nothing of the host: network cards only where they need none.
pub(super) async fn boots_with_devices(on: &On) {
    let hypervisor = on.hypervisor();
    let dir = tempfile::tempdir().unwrap();
    let mut machine = on.machine(dir.path());
    // A comma and a quote, which would end a value in QEMU's and cloud-hypervisor's own syntax.
    let path = dir.path().join("a,\"disk\".raw");
    std::fs::File::create(&path).unwrap().set_len(1 << 20).unwrap();
    let second = dir.path().join("second.raw");
    std::fs::File::create(&second).unwrap().set_len(1 << 20).unwrap();
    // A host in a box has them in memory, where a file of root's can't be shown as another user's.
    std::fs::set_permissions(&second, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    machine.files.disks = vec![path, second];
    let seed = dir.path().join("cidata.img");
    let cloud_init: CloudInit =
        serde_json::from_value(serde_json::json!({"userData": "#cloud-config\nhostname: web\n"})).unwrap();
    let told = crate::seed::image(machine.vm, &"web".parse().unwrap(), &cloud_init).unwrap();
    std::fs::write(&seed, &told).unwrap();
    machine.files.seed = Some(seed);
    let user_network = hypervisor.kind().is_qemu();
    let nics = match user_network {
        true => serde_json::json!([
            {"id": "lan", "backend": "user", "mtu": 1400, "queueSize": 512, "offloads": {"tso": false}},
            {"id": "wan", "backend": "user"},
        ]),
        false => serde_json::json!([]),
    };
    let everything = serde_json::json!({
        "cpu": {
            "vcpus": 2, "max": 4, "nested": false,
            "topology": {"threadsPerCore": 1, "coresPerDie": 2, "diesPerPackage": 1, "packages": 2},
        },
        "memory": {
            "size": "256MiB", "hotplug": {"size": "256MiB", "method": "virtio-mem"}, "shared": true, "prefault": true,
            "balloon": {"deflateOnOom": true, "freePageReporting": true},
        },
        "disks": [
            {"id": "data", "path": "d", "format": "raw", "readOnly": true},
            {"id": "more", "path": "m", "format": "raw", "queues": 2, "queueSize": 64, "serial": "S-1", "rateLimit": {
                "bandwidth": {"size": 1_000_000, "refillMs": 100}, "ops": {"size": 1000, "refillMs": 10_000},
            }},
        ],
        "watchdog": true,
        "nics": nics,
    });
    let least = serde_json::json!({
        "cpu": 2,
        "disks": [
            {"id": "data", "path": "d", "format": "raw", "readOnly": true},
            {"id": "more", "path": "m", "format": "raw", "rateLimit": {
                "bandwidth": {"size": 1_000_000, "refillMs": 100}, "ops": {"size": 1000, "refillMs": 10_000},
            }},
        ],
    });
    machine.spec = spec(match hypervisor.kind() {
        HypervisorKind::Firecracker => least,
        _ => everything,
    });
    let instance = hypervisor.launch(&machine).await.unwrap();
    let _leash = Leash(instance.clone());
    let mut channel = AgentChannel::open(&instance).await.unwrap();
    soon("ready, with an address if it has a card", async {
        loop {
            match channel.next().await.unwrap() {
                FromGuest::Ready(json) if !user_network || json.contains("10.0.2.15") => return,
                _ => {}
            }
        }
    })
    .await;
    let seen = soon("the guest says what it finds", seen_from_inside(&instance)).await;
    assert_eq!(seen["cpus"], "0-1", "{seen}");
    if hypervisor.kind() == HypervisorKind::Firecracker {
        assert_eq!(seen["cpus_possible"], "0-1", "{seen}");
        let read_only: Vec<_> = seen["disks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|disk| &disk["read_only"])
            .collect();
        assert_eq!(
            read_only,
            [&serde_json::json!(true), &serde_json::json!(false)],
            "{seen}"
        );
        hypervisor.kill(&instance).await.unwrap();
        return;
    }
    assert_eq!(seen["cpus_possible"], "0-3", "{seen}");
    assert_eq!(seen["topology"], serde_json::json!([1, 2, 1]), "{seen}");
    let mib = seen["memory_kib"].as_u64().unwrap() / 1024;
    assert!((140..256).contains(&mib), "{seen}");
    let disks = &seen["disks"];
    assert_eq!(disks.as_array().unwrap().len(), 3, "{seen}");
    assert_eq!(disks[2]["serial"], "cidata", "{seen}");
    assert_eq!(disks[2]["crc32"], crc32fast::hash(&told), "{seen}");
    for (place, serial, read_only, queues) in [(0, "data", true, 1), (1, "S-1", false, 2)] {
        let disk = &disks[place];
        assert_eq!(
            (
                &disk["serial"],
                &disk["read_only"],
                &disk["queues"],
                &disk["bytes"]
            ),
            (
                &serial.into(),
                &read_only.into(),
                &queues.into(),
                &(1 << 20).into()
            ),
            "{seen}"
        );
    }
    let virtio = seen["virtio"].as_array().unwrap();
    for (device, number) in [("balloon", 5), ("memory", 24)] {
        assert!(virtio.contains(&number.into()), "no {device} in {seen}");
    }
    if user_network {
        let [lan, wan] = ["lan", "wan"].map(|id| {
            let mac = chv_domain::spec::MacAddress::of(machine.vm, &id.parse().unwrap()).to_string();
            let nics = seen["nics"].as_array().unwrap();
            nics.iter()
                .find(|nic| nic["mac"] == mac.as_str())
                .unwrap_or_else(|| panic!("no {id} in {seen}"))
        });
        assert_eq!((&lan["mtu"], &wan["mtu"]), (&1400.into(), &1500.into()), "{seen}");
    }
    hypervisor.kill(&instance).await.unwrap();
}

/// What the guest says of its machine, on its console.
pub(super) async fn seen_from_inside(instance: &Instance) -> serde_json::Value {
    if instance.kind == HypervisorKind::Firecracker {
        return seen_in_its_log(instance).await;
    }
    let console = UnixStream::connect(instance.run_dir.console_socket())
        .await
        .unwrap();
    let (from, mut to) = console.into_split();
    to.write_all(b"machine\n").await.unwrap();
    let mut lines = BufReader::new(from).lines();
    loop {
        let line = lines.next_line().await.unwrap().expect("the console goes on");
        if let Some((_, json)) = line.split_once("chv-uos: machine ") {
            return serde_json::from_str(json).unwrap();
        }
    }
}

/// The same of one whose console is no socket.
async fn seen_in_its_log(instance: &Instance) -> serde_json::Value {
    let (pump, input) = ConsolePump::open(instance).await.unwrap();
    let pump = tokio::spawn(pump.run(tokio_util::sync::CancellationToken::new()));
    input.send(bytes::Bytes::from_static(b"machine\n")).await.unwrap();
    loop {
        let log = std::fs::read_to_string(instance.run_dir.console_log()).unwrap_or_default();
        let said = log
            .split_once("chv-uos: machine ")
            .and_then(|(_, said)| said.split_once('\n'));
        if let Some((json, _)) = said {
            pump.abort();
            return serde_json::from_str(json).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
