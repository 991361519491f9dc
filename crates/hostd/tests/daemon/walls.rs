//! Guests behind their walls: what their hypervisors find of the host, and that nothing is left of them.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chv_domain::{Command, Event, Seq, VmId, VmRef};

use crate::leader::{Cluster, Nats, within};
use crate::needs_guest::{create, ready, registered, started};
use crate::program::{Host, cgroups_of, processes_in};

/// A field of a process's status.
fn status(pid: u32, field: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap()
        .split_ascii_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

fn namespace(pid: &str, kind: &str) -> PathBuf {
    std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap()
}

/// The VM's cgroup, wherever cgroups are mounted.
fn cgroup(pid: u32) -> PathBuf {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mount = mounts.lines().find(|line| line.contains(" - cgroup2 ")).unwrap();
    let own = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let own = own
        .lines()
        .find_map(|line| line.strip_prefix("0::/"))
        .unwrap()
        .to_owned();
    Path::new(mount.split(' ').nth(4).unwrap()).join(own)
}

/// Everything that a process finds outside of the directories of libraries and firmware.
fn found_by(pid: u32) -> Vec<PathBuf> {
    fn visit(root: &Path, dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let inside = Path::new("/").join(path.strip_prefix(root).unwrap());
            if ["/usr", "/lib", "/lib64"]
                .iter()
                .any(|dir| inside == Path::new(dir))
            {
                continue;
            }
            if path.symlink_metadata().unwrap().is_dir() {
                visit(root, &path, found);
            } else {
                found.push(inside);
            }
        }
    }
    let root = PathBuf::from(format!("/proc/{pid}/root"));
    let mut found = Vec::new();
    visit(&root, &root.join(""), &mut found);
    found.sort();
    found
}

fn delete(name: &str) -> Command {
    Command::DeleteVm {
        vm: VmRef::Name("default".parse().unwrap(), name.parse().unwrap()),
        force: true,
        keep: None,
    }
}

async fn all_deleted(cluster: &Cluster, count: usize) {
    within("all are deleted", async {
        while cluster.count(|event| matches!(event, Event::VmDeleted { .. })) < count {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn needs_guest_needs_root_each_vm_is_behind_a_wall_of_which_nothing_is_left() {
    let nats = Nats::start().await;
    let cluster = Cluster::start(&nats).await;
    let mut host = Host::start(&nats);
    registered(&cluster).await;
    let mut seq = Seq(1);
    let mut vms: Vec<(VmId, u32)> = Vec::new();
    for name in ["one", "two"] {
        cluster.command(create(name, "uos/vmlinuz")).await.unwrap();
        let (at, vm, pid, _) = started(&cluster, seq).await;
        vms.push((vm, pid));
        seq = at.next();
    }
    ready(&cluster, Seq(1)).await;

    // Each is a user of its own, without capabilities or a way to them, and no child of the daemon.
    let daemon = host.pid();
    let mut users = Vec::new();
    for &(vm, pid) in &vms {
        let user = status(pid, "Uid");
        let first: u32 = user.split(' ').next().unwrap().parse().unwrap();
        assert!(
            first >= 1000 && user == [first.to_string().as_str(); 4].join(" "),
            "{user}"
        );
        assert_eq!(status(pid, "Gid"), user);
        assert_eq!(status(pid, "Groups"), "");
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(u64::from_str_radix(&status(pid, set), 16), Ok(0), "{set}");
        }
        assert_eq!(status(pid, "NoNewPrivs"), "1");
        assert_eq!(status(pid, "Seccomp"), "2");
        assert_ne!(status(pid, "PPid"), daemon.to_string());
        for kind in ["mnt", "net", "ipc", "uts"] {
            assert_ne!(
                namespace(&pid.to_string(), kind),
                namespace("self", kind),
                "{kind}"
            );
        }
        let own = host.path("h1/vms").join(vm.to_string()).join("own");
        let metadata = std::fs::metadata(&own).unwrap();
        assert_eq!((metadata.uid(), metadata.mode() & 0o777), (first, 0o700));
        users.push(first);

        // It finds its own directory, its guest's files, and nothing else of the host.
        let found = found_by(pid);
        let images = host.path("images/uos");
        let may = |path: &PathBuf| {
            path.starts_with(&own)
                || *path == images.join("vmlinuz")
                || *path == images.join("initramfs.cpio")
                || [
                    "/dev/null",
                    "/dev/zero",
                    "/dev/random",
                    "/dev/urandom",
                    "/etc/ld.so.cache",
                ]
                .iter()
                .any(|known| path == Path::new(known))
        };
        let others: Vec<_> = found.iter().filter(|path| !may(path)).collect();
        assert!(others.is_empty(), "{others:?}");
        assert!(found.contains(&own.join("console.sock")), "{found:?}");

        let cgroup = cgroup(pid);
        let of_host = cgroup.parent().and_then(|of| of.file_name()?.to_str());
        assert!(cgroup.ends_with(vm.to_string()), "{}", cgroup.display());
        assert!(
            of_host.is_some_and(|name| name.starts_with("chv-")),
            "{}",
            cgroup.display()
        );
        assert_eq!(
            std::fs::read_to_string(cgroup.join("cgroup.procs")).unwrap(),
            format!("{pid}\n")
        );
        // Where the host has the controllers, they hold it.
        if let Ok(memory) = std::fs::read_to_string(cgroup.join("memory.max")) {
            let memory: u64 = memory.trim().parse().unwrap();
            assert!((256 << 20..2 << 30).contains(&memory), "{memory}");
            assert_eq!(
                std::fs::read_to_string(cgroup.join("memory.oom.group")).unwrap(),
                "1\n"
            );
        }
    }
    assert_ne!(users[0], users[1]);
    assert_ne!(
        namespace(&vms[0].1.to_string(), "net"),
        namespace(&vms[1].1.to_string(), "net")
    );
    let cgroups: Vec<PathBuf> = vms.iter().map(|&(_, pid)| cgroup(pid)).collect();

    // The next daemon gives none of it to anybody else.
    host.kill();
    host.start_again();
    cluster.command(create("three", "uos/vmlinuz")).await.unwrap();
    let (_, third, pid, _) = started(&cluster, seq).await;
    assert!(!users.contains(&status(pid, "Uid").split(' ').next().unwrap().parse().unwrap()));
    vms.push((third, pid));

    // When they are deleted, nothing of them is left.
    for name in ["one", "two", "three"] {
        cluster.command(delete(name)).await.unwrap();
    }
    all_deleted(&cluster, 3).await;
    for (vm, pid) in vms {
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
        assert!(!host.path("h1/vms").join(vm.to_string()).exists());
        nothing_waits_for(vm).await;
    }
    assert!(cgroups.iter().all(|cgroup| !cgroup.exists()));
    let all = cgroups_of(&host.path("h1")).unwrap();
    assert!(all.exists());
    host.terminate().await;
    assert!(!all.exists());
}

/// Whoever waited for the VM's end is gone too, a moment after it.
async fn nothing_waits_for(vm: VmId) {
    within("nobody waits for its end", async {
        while processes_named(&vm.to_string()) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

fn processes_named(word: &str) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines
        .filter(|line| String::from_utf8_lossy(line).contains(word))
        .count()
}

/// The daemon is killed at any moment of a launch, time and again; then all that it began is found by the next one.
#[tokio::test(flavor = "multi_thread")]
async fn needs_guest_needs_root_a_daemon_killed_at_any_moment_of_a_launch_leaks_nothing() {
    const ROUNDS: u64 = 8;
    let nats = Nats::start().await;
    let cluster = Cluster::start(&nats).await;
    let mut host = Host::start(&nats);
    registered(&cluster).await;
    let (mut vms, mut seq) = (Vec::new(), Seq(1));
    for round in 0..ROUNDS {
        let placed = |event: &Event| match event {
            Event::VmPlaced { vm, .. } => Some(*vm),
            _ => None,
        };
        cluster
            .command(create(&format!("vm{round}"), "uos/vmlinuz"))
            .await
            .unwrap();
        let (at, vm) = cluster.event(seq, placed).await;
        seq = at.next();
        vms.push(vm);
        // From before the launcher is started to after the hypervisor runs.
        tokio::time::sleep(Duration::from_millis(round * 8)).await;
        host.kill();
        host.start_again();
    }
    within("each VM has one process", async {
        while cluster.running().len() < vms.len() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let running = processes_in(&host.path("h1/vms"));
    assert_eq!(running.len(), vms.len(), "{running:#?}");
    let cgroups: Vec<PathBuf> = running.iter().map(|(pid, _)| cgroup(*pid as u32)).collect();
    for round in 0..ROUNDS {
        cluster.command(delete(&format!("vm{round}"))).await.unwrap();
    }
    all_deleted(&cluster, vms.len()).await;
    assert_eq!(processes_in(&host.path("h1")), []);
    assert_eq!(std::fs::read_dir(host.path("h1/vms")).unwrap().count(), 0);
    assert!(cgroups.iter().all(|cgroup| !cgroup.exists()));
    for vm in vms {
        nothing_waits_for(vm).await;
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(host.path("h1").to_str().unwrap()));
    host.terminate().await;
}
