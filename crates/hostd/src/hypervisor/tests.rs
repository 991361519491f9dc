//! What every driver must do, done with real guests. Where the guest or the hypervisor is missing these tests
//! fail; the Makefile leaves them out by their names, and says so.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chv_domain::spec::CloudInit;
use chv_domain::{VmId, VmSpec};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::*;
use crate::wall::{UidRange, Uids, Wall, Walls};

/// More than a guest needs to boot on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// The guest that `make guest` builds.
pub(crate) fn guest_file(name: &str) -> PathBuf {
    let dir = std::env::var_os("CHV_TEST_GUEST").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/guest"),
        PathBuf::from,
    );
    let path = dir.join(name);
    path.canonicalize()
        .unwrap_or_else(|error| panic!("{}: {error}; run `make guest`", path.display()))
}

/// A wall where this test may build one; nothing else behaves otherwise behind it.
fn wall() -> Wall {
    static WALLS: OnceLock<Walls> = OnceLock::new();
    let walls = WALLS.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let walls = Walls::users_only(Uids::new(UidRange::default(), []), &dir.path().join("trial"));
        eprintln!("without: {:?}", walls.missing());
        walls
    });
    walls
        .of(VmId::from_bytes(u128::from(std::process::id()).to_be_bytes()))
        .unwrap()
}

pub(crate) fn machine(run_dir: &Path) -> Machine {
    static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let id = (u128::from(std::process::id()) << 64) | u128::from(count);
    Machine {
        vm: VmId::from_bytes(id.to_be_bytes()),
        run_dir: RunDir::new(run_dir.join("vm")).unwrap(),
        spec: spec(serde_json::json!({})),
        files: MachineFiles {
            kernel: guest_file("vmlinuz"),
            initramfs: Some(guest_file("initramfs.cpio")),
            disks: Vec::new(),
            seed: None,
        },
        wall: wall(),
    }
}

/// A small machine's spec, with these fields beside. Its files are named in the machine.
fn spec(more: serde_json::Value) -> Arc<VmSpec> {
    let mut spec =
        serde_json::json!({"cpu": 1, "memory": "256MiB", "boot": {"kernel": "k", "cmdline": "quiet"}});
    let fields = spec.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    Arc::new(serde_json::from_value(spec).unwrap())
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
}

async fn ready(channel: &mut AgentChannel) {
    soon("ready", async {
        while !matches!(channel.next().await.unwrap(), FromGuest::Ready(_)) {}
    })
    .await;
}

/// Kills the machine when a test fails before it has.
struct Leash(Instance);

impl Drop for Leash {
    fn drop(&mut self) {
        self.0.process.kill().unwrap();
    }
}

/// Launch, running, ready, power button, gone.
async fn lives_and_stops(hypervisor: &dyn Hypervisor) {
    let dir = tempfile::tempdir().unwrap();
    let machine = machine(dir.path());

    let instance = hypervisor.launch(&machine).await.unwrap();
    let _leash = Leash(instance.clone());
    assert_eq!(hypervisor.status(&instance).await, Status::Running);
    let mut channel = AgentChannel::open(&instance).await.unwrap();
    let (pump, input) = ConsolePump::open(&instance).await.unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let pump = tokio::spawn(pump.run(stop.clone()));
    ready(&mut channel).await;

    input
        .send(bytes::Bytes::from_static(b"echo typed by a person\n"))
        .await
        .unwrap();
    soon("an answer on the console", async {
        let log = || std::fs::read_to_string(instance.run_dir.console_log()).unwrap_or_default();
        while !log().contains("chv-uos: typed by a person") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;

    soon("gone after the power button", async {
        hypervisor.press_power_button(&instance).await.unwrap();
        assert_eq!(hypervisor.exited(&instance).await.unwrap(), Exit::Code(0));
    })
    .await;
    assert!(matches!(hypervisor.status(&instance).await, Status::Gone(_)));
    soon("no more words", async { while channel.next().await.is_ok() {} }).await;
    soon("the console's end", pump).await.unwrap().ok();
    let console = std::fs::read_to_string(instance.run_dir.console_log()).unwrap();
    assert!(console.contains("chv-uos: ready"), "{console}");
    assert_eq!(Instance::find(instance.run_dir).await.unwrap(), None);
}

/// What a restarted daemon finds, and how it goes on with it.
async fn is_adopted_and_killed(hypervisor: &dyn Hypervisor) {
    let dir = tempfile::tempdir().unwrap();
    let machine = machine(dir.path());
    let instance = hypervisor.launch(&machine).await.unwrap();
    let _leash = Leash(instance.clone());
    let mut channel = AgentChannel::open(&instance).await.unwrap();
    ready(&mut channel).await;
    drop(channel);

    let found = Instance::find(machine.run_dir.clone()).await.unwrap().unwrap();
    assert_eq!(found, instance);
    assert_eq!(hypervisor.status(&found).await, Status::Running);
    let mut channel = AgentChannel::open(&found).await.unwrap();
    ready(&mut channel).await;

    let again = hypervisor.launch(&machine).await.unwrap_err();
    assert!(
        matches!(again, HypervisorError::AlreadyRunning { pid, .. } if pid == instance.process.pid),
        "{again}"
    );
    assert_eq!(
        hypervisor.status(&found).await,
        Status::Running,
        "the refused launch harmed it"
    );

    assert_eq!(hypervisor.kill(&found).await.unwrap(), Exit::Signal(9));
    assert_eq!(hypervisor.kill(&found).await.unwrap(), Exit::Signal(9));
    assert_eq!(Instance::find(machine.run_dir.clone()).await.unwrap(), None);
    soon("the channel's end", async {
        while channel.next().await.is_ok() {}
    })
    .await;
    assert!(matches!(
        hypervisor.press_power_button(&found).await.unwrap_err(),
        HypervisorError::Exited {
            operation: Operation::PowerButton,
            ..
        }
    ));

    // What the killed one left behind is in nobody's way.
    let second = hypervisor.launch(&machine).await.unwrap();
    hypervisor.kill(&second).await.unwrap();
}

/// The agent's way to power off, after the daemon that heard `ready` has ended.
async fn powers_off_when_the_agent_is_asked(hypervisor: &dyn Hypervisor) {
    let dir = tempfile::tempdir().unwrap();
    let instance = hypervisor.launch(&machine(dir.path())).await.unwrap();
    let _leash = Leash(instance.clone());
    let mut channel = AgentChannel::open(&instance).await.unwrap();
    ready(&mut channel).await;
    drop(channel);
    let mut channel = AgentChannel::open(&instance).await.unwrap();
    channel.send(ToGuest::PowerOff).await.unwrap();
    soon("bye", async {
        while channel.next().await.unwrap() != FromGuest::Bye {}
    })
    .await;
    assert_eq!(
        soon("gone", hypervisor.exited(&instance)).await.unwrap(),
        Exit::Code(0)
    );
}

/// Every device and setting that needs no rights and nothing of the host: network cards only where they need none.
async fn boots_with_devices(hypervisor: &dyn Hypervisor) {
    let dir = tempfile::tempdir().unwrap();
    let mut machine = machine(dir.path());
    // A comma and a quote, which would end a value in QEMU's and cloud-hypervisor's own syntax.
    let path = dir.path().join("a,\"disk\".raw");
    std::fs::File::create(&path).unwrap().set_len(1 << 20).unwrap();
    let second = dir.path().join("second.raw");
    std::fs::File::create(&second).unwrap().set_len(1 << 20).unwrap();
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
async fn seen_from_inside(instance: &Instance) -> serde_json::Value {
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

/// Files that the host can't read, and files that are no kernel.
async fn refuses_what_can_not_boot(hypervisor: &dyn Hypervisor) {
    let dir = tempfile::tempdir().unwrap();
    let mut machine = machine(dir.path());
    machine.files.kernel = dir.path().join("absent");
    let error = hypervisor.launch(&machine).await.unwrap_err();
    assert!(
        matches!(&error, HypervisorError::Unreadable { part: Part::Kernel, path, .. } if *path == machine.files.kernel)
    );
    assert_eq!(error.remedy(), Remedy::WaitForHost);
    assert!(
        !machine.run_dir.path().exists(),
        "something was made for a machine that can't boot"
    );

    std::fs::write(&machine.files.kernel, "no kernel").unwrap();
    let error = hypervisor.launch(&machine).await.unwrap_err();
    assert!(
        matches!(
            &error,
            HypervisorError::Exited { .. } | HypervisorError::Api { .. }
        ),
        "{error}: a file that is no kernel was booted"
    );
    assert_eq!(error.remedy(), Remedy::Retry);
    assert_eq!(Instance::find(machine.run_dir.clone()).await.unwrap(), None);
}

/// A launch that is given up leaves nothing running.
async fn a_dropped_launch_leaves_no_process(hypervisor: &dyn Hypervisor) {
    let dir = tempfile::tempdir().unwrap();
    let machine = machine(dir.path());
    let find = || async { Instance::find(machine.run_dir.clone()).await.unwrap() };
    let started = async {
        loop {
            if let Some(instance) = find().await {
                return instance;
            }
        }
    };
    let instance = tokio::select! {
        biased;
        instance = started => instance,
        launched = hypervisor.launch(&machine) => panic!("launched before it could be dropped: {launched:?}"),
    };
    soon("gone", instance.process.ended()).await.unwrap();
    assert_eq!(find().await, None);
}

/// The process is cut loose from its daemon.
async fn is_independent_of_the_daemon(hypervisor: &dyn Hypervisor) {
    let dir = tempfile::tempdir().unwrap();
    let leaked = dir.path().join("leaked");
    // A file that this process inherited open, as from a shell or from make.
    let file = std::fs::File::create(&leaked).unwrap();
    rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).unwrap();
    let instance = hypervisor.launch(&machine(dir.path())).await.unwrap();
    let _leash = Leash(instance.clone());
    let pid = instance.process.pid;

    let session = rustix::process::getsid(rustix::process::Pid::from_raw(pid.cast_signed())).unwrap();
    assert_eq!(session.as_raw_nonzero().get().unsigned_abs(), pid);
    let open: Vec<PathBuf> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .collect();
    assert!(open.contains(&instance.run_dir.hypervisor_log()), "{open:?}");
    assert!(!open.contains(&leaked), "{open:?}");
    assert!(std::fs::read(format!("/proc/{pid}/environ")).unwrap().is_empty());
    let words = instance.process.command_line().unwrap().join(" ");
    assert!(words.contains(&instance.vm.to_string()), "{words}");
    hypervisor.kill(&instance).await.unwrap();
}

macro_rules! every_driver_must {
    ($module:ident, $find:expr) => {
        mod $module {
            use super::*;

            every_driver_must!(@ $find;
                lives_and_stops, boots_with_devices, is_adopted_and_killed, powers_off_when_the_agent_is_asked,
                refuses_what_can_not_boot, a_dropped_launch_leaves_no_process, is_independent_of_the_daemon,
            );
        }
    };
    (@ $find:expr; $($name:ident),* $(,)?) => {
        $(#[tokio::test]
        async fn $name() {
            super::$name(&$find.await.unwrap_or_else(|error| panic!("{error}"))).await;
        })*
    };
}

every_driver_must!(needs_guest, qemu::Qemu::tcg());
every_driver_must!(needs_cloud_hypervisor, cloud_hypervisor::CloudHypervisor::find());
every_driver_must!(
    needs_firecracker,
    firecracker::Firecracker::find(&std::env::temp_dir().join("chv-test-kernels"))
);
