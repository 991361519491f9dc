//! The file systems that every guest has. Disks are not mounted here.

use std::fs;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

struct Mount {
    target: &'static str,
    kind: &'static str,
    flags: MsFlags,
    options: Option<&'static str>,
}

const SAFE: MsFlags = MsFlags::MS_NOSUID
    .union(MsFlags::MS_NODEV)
    .union(MsFlags::MS_NOEXEC);

const MOUNTS: [Mount; 5] = [
    Mount {
        target: "/dev",
        kind: "devtmpfs",
        flags: MsFlags::MS_NOSUID,
        options: Some("mode=0755"),
    },
    Mount {
        target: "/proc",
        kind: "proc",
        flags: SAFE,
        options: None,
    },
    Mount {
        target: "/sys",
        kind: "sysfs",
        flags: SAFE,
        options: None,
    },
    Mount {
        target: "/run",
        kind: "tmpfs",
        flags: SAFE,
        options: Some("mode=0755"),
    },
    Mount {
        target: "/tmp",
        kind: "tmpfs",
        flags: MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV),
        options: Some("mode=1777"),
    },
];

/// Mounts them all. One that is mounted already is left as it is.
pub(crate) fn all() {
    for Mount {
        target,
        kind,
        flags,
        options,
    } in MOUNTS
    {
        // A missing directory shows in the mount's own error.
        let _ = fs::create_dir_all(target);
        match mount(Some(kind), target, Some(kind), flags, options) {
            Ok(()) | Err(Errno::EBUSY) => {}
            Err(error) => say!("can't mount {kind} on {target}: {error}"),
        }
    }
}

/// Unmounts what can be, the last mounted first. What is in use stays, read-only where that can be.
pub(crate) fn undo() {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for target in targets(&mounts) {
        if umount2(target, MntFlags::UMOUNT_NOFOLLOW).is_err() {
            // Best effort: the data was synced before.
            let _ = mount(
                None::<&str>,
                target,
                None::<&str>,
                MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY,
                None::<&str>,
            );
        }
    }
}

/// Where something is mounted, the last mounted first, without the root that the kernel unpacked init into.
fn targets(mounts: &str) -> Vec<&str> {
    let mut targets: Vec<&str> = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .filter(|&target| target != "/")
        .collect();
    targets.reverse();
    targets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_mount_table_when_read_then_the_last_mounted_comes_first_and_the_root_not_at_all() {
        let table = "rootfs / rootfs rw 0 0\nproc /proc proc rw 0 0\n/dev/vda /mnt ext4 rw 0 0\n";
        assert_eq!(targets(table), ["/mnt", "/proc"]);
    }
}
