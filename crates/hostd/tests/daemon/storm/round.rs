//! One round: a host on which everything happens that was drawn, and what must be true of it afterwards.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chv_domain::{Command, Event, Phase, Power, Vm, VmId, VmRef};
use tokio::time::Instant;

use super::actions::{Action, Order, VMS, name};
use super::processes::{Watch, of_vms};
use crate::leader::{Cluster, Nats};
use crate::needs_guest::registered;
use crate::program::{Host, processes_in, script};

/// The most that a host may need until all is as it should be. A guest that ended unasked time and again is not started
/// again at once.
const CONVERGES: Duration = Duration::from_secs(75);

/// How long all has to be as it should be, before that counts.
const SETTLES: Duration = Duration::from_millis(200);

/// How long nothing may happen when all is as it should be.
const QUIET: Duration = Duration::from_millis(300);

/// How one ends that is asked to before it is ready for that.
const SIGTERM: i32 = 15;

/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A round's host.
pub(super) struct Round<'a> {
    host: Host,
    cluster: Cluster,
    watch: &'a Watch,
    _nats: Nats,
}

/// Lets `actions` happen; what is wrong afterwards.
pub(super) async fn run(actions: &[Action], watch: &Watch) -> Result<(), String> {
    let nats = Nats::start().await;
    let cluster = Cluster::start(&nats).await;
    let host = Host::fake(&nats, &[]);
    let mut round = Round {
        host,
        cluster,
        watch,
        _nats: nats,
    };
    (0..VMS).for_each(|vm| round.write_script(vm, &[]));
    registered(&round.cluster).await;
    let open_at_first = round.open_files();
    // Most of what can be ordered is ordered of a VM that runs.
    for vm in 0..VMS / 2 {
        round
            .happens(&Action::Order(vm, Order::Create { start: true }))
            .await;
    }
    while round
        .cluster
        .count(|event| matches!(event, Event::VmReady { .. }))
        < VMS / 2
    {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    for action in actions {
        round.happens(action).await;
    }
    round.cluster.mute(false);
    (0..VMS).for_each(|vm| round.write_script(vm, &[]));
    let checked = round.is_right(open_at_first).await;
    checked.map_err(|why| format!("{why}\n{}", round.told()))
}

impl Round<'_> {
    /// Written in place: the hypervisor that has it open behind its wall reads it there.
    fn write_script(&self, vm: usize, lines: &[&str]) {
        let dir = self.host.path("images").join(name(vm));
        std::fs::create_dir_all(&dir).unwrap();
        let lines: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
        std::fs::write(dir.join("kernel"), script(&lines)).unwrap();
    }

    async fn happens(&mut self, action: &Action) {
        match action {
            Action::Order(vm, order) => {
                // What is not to be had in the VM's state is refused, which is fine.
                let _ = self.cluster.command(order.command(*vm)).await;
            }
            Action::Script(vm, lines) => self.write_script(*vm, lines),
            Action::KillGuest(vm) => {
                let known = self.cluster.vms();
                let ids: Vec<VmId> = known
                    .iter()
                    .filter(|known| known.name.as_str() == name(*vm))
                    .map(|vm| vm.id)
                    .collect();
                for (id, (running, _)) in of_vms() {
                    if ids.contains(&id) {
                        running.iter().for_each(|pid| kill(*pid));
                    }
                }
            }
            Action::KillDaemon => {
                self.host.kill();
                self.host.start_again();
            }
            Action::EndDaemon => {
                let status = self.host.end().await;
                assert!(status.success() || status.signal() == Some(SIGTERM), "{status}");
                self.host.start_again();
            }
            Action::LoseFeed(lost) => self.cluster.mute(*lost),
            Action::Pass(ms) => tokio::time::sleep(Duration::from_millis(*ms)).await,
        }
    }

    /// What must be true in the end.
    async fn is_right(&mut self, open_at_first: usize) -> Result<(), String> {
        // A daemon that was just started says so before it looks after anything.
        self.cluster.heard_heartbeats(2).await;
        self.converges("all is as it should be", |round| {
            round
                .cluster
                .vms()
                .iter()
                .try_for_each(|vm| round.is_as_it_should(vm))
        })
        .await?;
        self.nothing_more_happens().await?;
        for vm in self.created() {
            if self.watch.saw_twice(vm) {
                return Err(format!("{vm} had two processes at once"));
            }
        }
        for vm in self.cluster.vms() {
            let delete = Command::DeleteVm {
                vm: VmRef::Id(vm.id),
                force: true,
                keep: None,
            };
            self.cluster
                .command(delete)
                .await
                .map_err(|refused| refused.to_string())?;
        }
        self.converges("all VMs are deleted", |round| {
            match round.cluster.vms().as_slice() {
                [] => Ok(()),
                left => Err(format!("{left:#?}")),
            }
        })
        .await?;
        self.converges("nothing is left", |round| round.is_left(open_at_first))
            .await?;
        self.host.terminate().await;
        Ok(())
    }

    /// Waits until `right` has nothing to say against it, for a while in which nothing is reported.
    async fn converges(&self, what: &str, right: impl Fn(&Self) -> Result<(), String>) -> Result<(), String> {
        let until = Instant::now() + CONVERGES;
        let mut since: Option<(Instant, usize)> = None;
        loop {
            let events = self.cluster.count(|_| true);
            match (right(self), since) {
                (Ok(()), Some((at, then))) if then == events && at.elapsed() >= SETTLES => return Ok(()),
                (Ok(()), Some((_, then))) if then == events => {}
                (Ok(()), _) => since = Some((Instant::now(), events)),
                (Err(why), _) if Instant::now() > until => {
                    return Err(format!("not within {CONVERGES:?}: {what}: {why}"));
                }
                (Err(_), _) => since = None,
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Whether the log and the machine agree on `vm`, and it is what it should be.
    fn is_as_it_should(&self, vm: &Vm) -> Result<(), String> {
        let wrong = |why: &str| {
            Err(format!(
                "{}: {why}: should be {:?}, is {:?}",
                vm.name, vm.power, vm.phase
            ))
        };
        if let Some(trouble) = &vm.trouble {
            return wrong(&trouble.reason);
        }
        let processes = of_vms().remove(&vm.id).unwrap_or_default();
        let state = match (vm.power, &vm.phase) {
            (
                Power::Running,
                Phase::Running {
                    paused: false,
                    ready: Some(_),
                    ..
                },
            ) => "running",
            (Power::Paused, Phase::Running { paused: true, .. }) => "paused",
            (Power::Stopped(_) | Power::Paused, Phase::Stopped { .. } | Phase::Created) => {
                return match processes {
                    (running, keepers) if running.is_empty() && keepers.is_empty() => Ok(()),
                    processes => wrong(&format!("there are {processes:?}")),
                };
            }
            _ => return wrong("not there yet"),
        };
        let Phase::Running { pid, .. } = vm.phase else {
            return wrong("no process");
        };
        if processes.0 != [pid] || processes.1.len() != 1 {
            return wrong(&format!("there are {processes:?}"));
        }
        match self.state_of(vm.id) {
            Ok(found) if found == state => Ok(()),
            found => wrong(&format!("the hypervisor says {found:?}")),
        }
    }

    /// What the hypervisor of a VM says its state is.
    fn state_of(&self, vm: VmId) -> std::io::Result<String> {
        let socket = self.dir_of(vm).join("api.sock");
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        let mut lines = BufReader::new(&stream).lines();
        (&stream).write_all(b"{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"query-status\"}\n")?;
        // The greeting, and the end of the negotiation.
        lines.nth(1).transpose()?;
        let line = lines.next().transpose()?.unwrap_or_default();
        let answer: serde_json::Value = serde_json::from_str(&line)?;
        Ok(answer["return"]["status"].as_str().unwrap_or_default().to_owned())
    }

    fn dir_of(&self, vm: VmId) -> PathBuf {
        self.host.path("h1/vms").join(vm.to_string())
    }

    /// Nothing is reported and no process comes or goes while all is as it should be.
    async fn nothing_more_happens(&self) -> Result<(), String> {
        let before = (self.cluster.count(|_| true), self.processes());
        tokio::time::sleep(QUIET).await;
        let after = (self.cluster.count(|_| true), self.processes());
        match before == after {
            true => Ok(()),
            false => Err(format!(
                "all was as it should be, and then {before:?} became {after:?}"
            )),
        }
    }

    fn processes(&self) -> Vec<(i32, String)> {
        processes_in(&self.host.path("h1/vms"))
    }

    /// The VMs that were ever created.
    fn created(&self) -> BTreeSet<VmId> {
        let ids = std::sync::Mutex::new(BTreeSet::new());
        self.cluster.count(|event| {
            if let Event::VmCreated { vm, .. } = event {
                ids.lock().unwrap().insert(*vm);
            }
            false
        });
        ids.into_inner().unwrap()
    }

    /// Whether something is left of VMs that are all deleted.
    fn is_left(&self, open_at_first: usize) -> Result<(), String> {
        let created = self.created();
        let left: Vec<_> = of_vms()
            .into_iter()
            .filter(|(vm, _)| created.contains(vm))
            .collect();
        if !left.is_empty() || !self.processes().is_empty() {
            return Err(format!("processes: {left:?} {:?}", self.processes()));
        }
        for dir in ["h1/vms", "h1/probes"] {
            let files: Vec<_> = std::fs::read_dir(self.host.path(dir))
                .into_iter()
                .flatten()
                .flatten()
                .collect();
            if !files.is_empty() {
                return Err(format!("files: {files:?}"));
            }
        }
        let cgroups = cgroups_of(&created);
        if !cgroups.is_empty() {
            return Err(format!("cgroups: {cgroups:?}"));
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        if mounts.contains(self.host.path("h1").to_str().unwrap()) {
            return Err("mounts".to_owned());
        }
        let open = self.open_files();
        match open <= open_at_first {
            true => Ok(()),
            false => Err(format!(
                "open files of the daemon: {open}, {open_at_first} at first: {:?}",
                self.open()
            )),
        }
    }

    fn open(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.host.pid()))
            .into_iter()
            .flatten();
        files
            .flatten()
            .filter_map(|file| std::fs::read_link(file.path()).ok())
            .collect()
    }

    fn open_files(&self) -> usize {
        self.open().len()
    }

    /// What helps to find out why.
    fn told(&self) -> String {
        let events = std::sync::Mutex::new(Vec::new());
        self.cluster.count(|event| {
            events.lock().unwrap().push(format!("{event:?}"));
            false
        });
        let log = std::fs::read_to_string(self.host.path("log")).unwrap_or_default();
        format!("{}\n{log}", events.into_inner().unwrap().join("\n"))
    }
}

/// The cgroups of these VMs, wherever they are.
fn cgroups_of(vms: &BTreeSet<VmId>) -> Vec<PathBuf> {
    fn visit(dir: &Path, names: &BTreeSet<String>, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if entry
                .file_name()
                .to_str()
                .is_some_and(|name| names.contains(name))
            {
                found.push(entry.path());
            }
            visit(&entry.path(), names, found);
        }
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let names = vms.iter().map(VmId::to_string).collect();
    let mut found = Vec::new();
    for mount in mounts.lines().filter(|line| line.contains(" - cgroup2 ")) {
        visit(Path::new(mount.split(' ').nth(4).unwrap()), &names, &mut found);
    }
    found
}

fn kill(pid: u32) {
    use rustix::process::{Pid, Signal, kill_process};
    // It may have ended by itself.
    let _ = kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL);
}
