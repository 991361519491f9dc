//! `chv-hostd run` in directories of a test's own; whatever it started is ended with it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use chv_domain::VmId;
use rustix::process::{Pid, Signal, kill_process};

use crate::leader::{Nats, within};

/// The guest that `make guest` builds.
fn guest_dir() -> PathBuf {
    let dir = std::env::var_os("CHV_TEST_GUEST").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/guest"),
        PathBuf::from,
    );
    dir.canonicalize()
        .unwrap_or_else(|error| panic!("{}: {error}; run `make guest`", dir.display()))
}

/// A host and the daemon on it.
pub(crate) struct Host {
    dir: tempfile::TempDir,
    daemon: Option<Child>,
    args: Vec<String>,
    /// What stands in QEMU's place.
    hypervisor: Option<PathBuf>,
}

/// The hypervisor that runs nothing; cargo puts it beside the daemon.
pub(crate) fn fake_hypervisor() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_chv-hostd")).with_file_name("examples/chv-fake-hypervisor");
    assert!(
        path.is_file(),
        "there is no {}: `cargo build -p chv-hostd --examples` builds it",
        path.display()
    );
    path
}

/// A kernel that is a script of the fake hypervisor.
pub(crate) fn script(lines: &str) -> Vec<u8> {
    [&[0; 0x202], b"HdrSchv-fake\n".as_slice(), lines.as_bytes()].concat()
}

impl Host {
    /// With QEMU, and the guest that `make guest` builds.
    pub(crate) fn start(nats: &Nats) -> Self {
        Self::start_with(nats, None, &[])
    }

    /// With the fake hypervisor in QEMU's place, whose guests are scripts.
    pub(crate) fn fake(nats: &Nats, more: &[&str]) -> Self {
        Self::start_with(nats, Some(fake_hypervisor()), more)
    }

    fn start_with(nats: &Nats, hypervisor: Option<PathBuf>, more: &[&str]) -> Self {
        let dir = tempfile::Builder::new().prefix("chv-").tempdir().unwrap();
        let images = dir.path().join("images");
        std::fs::create_dir_all(images.join("uos")).unwrap();
        // Links would lead out of the image directory, which is not allowed.
        for name in ["vmlinuz", "initramfs.cpio"] {
            let file = images.join("uos").join(name);
            match hypervisor {
                None => std::fs::copy(guest_dir().join(name), file).map(drop).unwrap(),
                Some(_) => std::fs::write(file, script("")).unwrap(),
            }
        }
        let words = [
            "run",
            "--name",
            "h1",
            "--hypervisor",
            "qemu-tcg",
            "--password",
            "secret",
            "--nats",
        ];
        let mut args: Vec<String> = words.map(str::to_owned).to_vec();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        args.extend([
            nats.url(),
            "--data".to_owned(),
            path("h1"),
            "--images".to_owned(),
            path("images"),
        ]);
        args.extend(more.iter().map(|word| (*word).to_owned()));
        let mut host = Self {
            dir,
            daemon: None,
            args,
            hypervisor,
        };
        host.start_again();
        host
    }

    pub(crate) fn start_again(&mut self) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("log"))
            .unwrap();
        let mut daemon = Command::new(env!("CARGO_BIN_EXE_chv-hostd"));
        if let Some(hypervisor) = &self.hypervisor {
            daemon.env("CHV_QEMU", hypervisor);
        }
        let daemon = daemon
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.daemon = Some(daemon);
    }

    /// The daemon's process.
    pub(crate) fn pid(&self) -> u32 {
        self.daemon.as_ref().unwrap().id()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What the VM wrote on its console.
    pub(crate) fn console(&self, vm: VmId) -> String {
        let log = self.path("h1/vms").join(vm.to_string()).join("own/console.log");
        String::from_utf8_lossy(&std::fs::read(log).unwrap_or_default()).into_owned()
    }

    /// As kill -9.
    pub(crate) fn kill(&mut self) {
        let mut daemon = self.daemon.take().unwrap();
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    }

    /// As `systemctl stop`.
    pub(crate) async fn terminate(&mut self) {
        let status = self.end().await;
        assert!(status.success(), "{status}");
    }

    /// The same, however it ends: the signal may come before it is ready for that.
    pub(crate) async fn end(&mut self) -> ExitStatus {
        let mut daemon = self.daemon.take().unwrap();
        kill_process(Pid::from_child(&daemon), Signal::TERM).unwrap();
        within("the daemon ends", async {
            loop {
                if let Some(status) = daemon.try_wait().unwrap() {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        for (pid, _) in processes_in(self.dir.path()) {
            let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
        }
        remove_cgroups(&self.path("h1"));
        if std::thread::panicking() {
            eprintln!(
                "{}",
                std::fs::read_to_string(self.path("log")).unwrap_or_default()
            );
        }
    }
}

/// The cgroup that a daemon of this test's makes for its VMs; `None` where there is none of version 2.
pub(crate) fn cgroups_of(data: &Path) -> Option<PathBuf> {
    let identity = std::fs::read_to_string(data.join("identity")).ok()?;
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "))?;
    let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let host = identity.split_ascii_whitespace().nth(1)?;
    Some(
        Path::new(mount.split(' ').nth(4)?)
            .join(own)
            .join(format!("chv-{host}")),
    )
}

/// Removes the cgroups of a daemon that was killed. Those that it ended take a moment to be out of them.
fn remove_cgroups(data: &Path) {
    let Some(dir) = cgroups_of(data).filter(|dir| dir.exists()) else {
        return;
    };
    let until = std::time::Instant::now() + Duration::from_secs(5);
    loop {
        let below = std::fs::read_dir(&dir).into_iter().flatten().flatten();
        for child in below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            let _ = std::fs::remove_dir(child.path());
        }
        match std::fs::remove_dir(&dir) {
            Err(error) if std::time::Instant::now() > until => {
                eprintln!("{} stays: {error}", dir.display());
                return;
            }
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
            Ok(()) => return,
        }
    }
}

/// The processes that were started somewhere in `dir`, and their command lines.
pub(crate) fn processes_in(dir: &Path) -> Vec<(i32, String)> {
    let numbers = std::fs::read_dir("/proc").unwrap().flatten();
    let mut found = Vec::new();
    for entry in numbers {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        let Ok(cwd) = std::fs::read_link(entry.path().join("cwd")) else {
            continue;
        };
        if cwd.starts_with(dir) {
            let words = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            found.push((pid, String::from_utf8_lossy(&words).replace('\0', " ")));
        }
    }
    found
}
