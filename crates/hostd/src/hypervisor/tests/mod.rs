//! What every driver must do, done with real guests, and the same cases with the fake hypervisor: so a test that uses the
//! fake relies on nothing that a real one doesn't do. Where the guest or the hypervisor is missing these tests
//! fail; the Makefile leaves them out by their names, and says so.

mod boots;
mod changes;
mod devices;
mod fake;
mod held;
mod life;
mod words;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chv_domain::{VmId, VmSpec};

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

/// A small machine with the guest that `make guest` builds.
pub(crate) fn machine(run_dir: &Path) -> Machine {
    machine_of(run_dir, guest_file("vmlinuz"), Some(guest_file("initramfs.cpio")))
}

fn machine_of(run_dir: &Path, kernel: PathBuf, initramfs: Option<PathBuf>) -> Machine {
    static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let id = (u128::from(std::process::id()) << 64) | u128::from(count);
    Machine {
        vm: VmId::from_bytes(id.to_be_bytes()),
        run_dir: RunDir::new(run_dir.join("vm")).unwrap(),
        spec: spec(serde_json::json!({})),
        files: MachineFiles {
            payload: Payload::Kernel { kernel, initramfs },
            disks: Vec::new(),
            seed: None,
            attached: Attached::default(),
        },
        wall: wall(),
        making: Making::default(),
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

/// What a case is tried on: a hypervisor and the guest that it is given.
struct On {
    hypervisor: Box<dyn Hypervisor>,
    /// Whether it is the fake one, whose guest is a script.
    fake: bool,
}

impl On {
    fn real(hypervisor: Result<impl Hypervisor + 'static, HypervisorError>) -> Self {
        let hypervisor = hypervisor.unwrap_or_else(|error| panic!("{error}"));
        Self {
            hypervisor: Box::new(hypervisor),
            fake: false,
        }
    }

    async fn fake() -> Self {
        Self {
            fake: true,
            ..Self::real(qemu::Qemu::tcg_at(fake::program()).await)
        }
    }

    fn hypervisor(&self) -> &dyn Hypervisor {
        self.hypervisor.as_ref()
    }

    /// A small machine whose guest says that it is ready.
    fn machine(&self, dir: &Path) -> Machine {
        match self.fake {
            true => machine_of(dir, fake::script(dir, ""), None),
            false => machine(dir),
        }
    }

    /// One that is not soon said to run.
    fn never_running(&self, dir: &Path) -> Machine {
        match self.fake {
            true => machine_of(dir, fake::script(dir, "hang greeting"), None),
            false => machine(dir),
        }
    }
}

macro_rules! cases {
    ($module:ident, $on:expr; $($group:ident::$name:ident),* $(,)?) => {
        mod $module {
            use super::*;

            $(#[tokio::test]
            async fn $name() {
                super::$group::$name(&$on).await;
            })*
        }
    };
}

macro_rules! every_driver_must {
    ($module:ident, $on:expr) => {
        cases!($module, $on;
            life::lives_and_stops, devices::boots_with_devices, life::is_adopted_and_killed,
            life::powers_off_when_the_agent_is_asked, life::refuses_what_can_not_boot,
            life::a_dropped_launch_leaves_no_process, life::is_independent_of_the_daemon,
        );
    };
}

every_driver_must!(needs_guest, On::real(qemu::Qemu::tcg().await));
every_driver_must!(
    needs_cloud_hypervisor,
    On::real(cloud_hypervisor::CloudHypervisor::find().await)
);
every_driver_must!(
    needs_firecracker,
    On::real(firecracker::Firecracker::find(&std::env::temp_dir().join("chv-test-kernels")).await)
);

cases!(needs_guest_changes, On::real(qemu::Qemu::tcg().await);
    changes::grows_and_shrinks_while_it_runs, changes::gets_and_loses_devices_while_it_runs,
    changes::says_what_of_a_change_fails,
);
cases!(needs_cloud_hypervisor_changes, On::real(cloud_hypervisor::CloudHypervisor::find().await);
    changes::grows_and_shrinks_while_it_runs, changes::gets_and_loses_devices_while_it_runs,
    changes::says_what_of_a_change_fails,
);

cases!(needs_guest_qemu, On::real(qemu::Qemu::tcg().await);
    held::is_held_and_let_go, held::a_button_is_heard_when_it_is_let_go, held::is_reset_in_place,
    words::says_what_qemu_says, words::speaks_to_one_client_at_a_time,
);

// The fake does whatever is tried on the real ones, but for devices: there is no guest that could find them.
cases!(fake_qemu, On::fake().await;
    life::lives_and_stops, life::is_adopted_and_killed, life::powers_off_when_the_agent_is_asked,
    life::refuses_what_can_not_boot, life::a_dropped_launch_leaves_no_process, life::is_independent_of_the_daemon,
    held::is_held_and_let_go, held::a_button_is_heard_when_it_is_let_go, held::is_reset_in_place,
    words::says_what_qemu_says, words::speaks_to_one_client_at_a_time,
);
