//! Cleans up after a rig, in whatever way its owner ended: a shell that waits for the end of a pipe from the owner,
//! then kills all that belongs to the rig, and removes its directory.
//!
//! What belongs to a rig has its id in the environment, or works in its directory: hypervisors have sessions and
//! environments of their own. Its hosts' cgroups are named after the hosts.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

/// The variable that marks a rig's processes.
pub(crate) const MARK: &str = "CHV_RIG";

/// Reads nothing, so its standard input ends with the owner. Each of the two searches is one process, however many there
/// are on the machine. Ends after 10 s at the latest.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
cat >/dev/null
found() {
    grep -lszxF "$1=$2" /proc/[0-9]*/environ
    find /proc/[0-9]*/cwd -maxdepth 0 -lname "$3/*" 2>/dev/null
}
tries=0
while pids=$(found "$@" | cut -d/ -f3 | sort -u) && [ -n "$pids" ] && [ $tries -lt 200 ]; do
    kill -KILL $pids 2>/dev/null
    tries=$((tries + 1))
    sleep 0.05
done
# A rig in a mount namespace of its own: its disks are in the way of what is below them.
while read -r _ place _; do
    case $place in "$3"/*)
        fsfreeze --unfreeze "$place"
        umount --lazy "$place" ;;
    esac
done </proc/self/mounts
# The cgroups of its hosts, which are named after them, in the one that this shell is in.
groups=$(awk '/ - cgroup2 / { print $5; exit }' /proc/self/mountinfo)
own=$(sed -n 's/^0:://p' /proc/self/cgroup)
for identity in "$3"/*/identity; do
    read -r _ host <"$identity"
    [ -n "$groups" ] && [ -n "$host" ] && [ -d "$groups$own/chv-$host" ] &&
        find "$groups$own/chv-$host" -depth -type d -exec rmdir {} \;
done
[ -n "$4" ] || rm -rf "$3"
"#;

/// The running shell. Dropped, it does its work and is waited for.
#[derive(Debug)]
pub(crate) struct Watchdog(Child);

impl Watchdog {
    /// Watches over the rig `id` with its directory from now on. `CHV_RIG_KEEP` leaves the directory there.
    pub(crate) fn start(id: &str, directory: &Path) -> Result<Self> {
        let keep = std::env::var("CHV_RIG_KEEP").unwrap_or_default();
        let mut command = Command::new("sh");
        command
            .args(["-c", SCRIPT, "chv-rig-watchdog", MARK, id])
            .arg(directory)
            .arg(keep)
            .env_remove(MARK)
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
            .spawn()
            .map(Self)
            .context("can't start a shell that cleans up")
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // The script bounds its own time.
        if let Err(error) = self.0.wait() {
            eprintln!("can't wait for the clean-up: {error}");
        }
    }
}
