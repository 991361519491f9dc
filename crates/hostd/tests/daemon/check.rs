//! `chv-hostd check`, ended while it probes.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::leader::within;
use crate::program::processes_in;

/// A program that says that it is QEMU, and otherwise does nothing for long.
const SILENT: &str = "#!/bin/sh
case \"$*\" in *--version*) echo QEMU emulator version 7; exit;; esac
exec sleep 600
";

#[tokio::test]
async fn given_a_check_that_is_terminated_while_it_probes_then_it_leaves_no_guest_and_no_directory() {
    for signal in [Signal::TERM, Signal::INT] {
        let dir = tempfile::Builder::new().prefix("chv-").tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(path("images/uos")).unwrap();
        for name in ["images/uos/vmlinuz", "images/uos/initramfs.cpio", "qemu"] {
            std::fs::write(path(name), SILENT).unwrap();
        }
        std::fs::set_permissions(path("qemu"), PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::create_dir(path("tmp")).unwrap();
        let mut check = Command::new(env!("CARGO_BIN_EXE_chv-hostd"))
            .args(["check", "--images"])
            .arg(path("images"))
            .env("TMPDIR", path("tmp"))
            .env("CHV_QEMU", path("qemu"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let guests = || processes_in(&path("tmp")).len();
        // One for each way to run it.
        let probing = async || guests() == 2;
        until("it probes", probing, &path("tmp")).await;

        kill_process(Pid::from_child(&check), signal).unwrap();
        let status = within("the check ends", async {
            loop {
                if let Some(status) = check.try_wait().unwrap() {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        assert_eq!(status.code(), Some(1));
        until("its guests are gone", async || guests() == 0, &path("tmp")).await;
        assert_eq!(std::fs::read_dir(path("tmp")).unwrap().count(), 0);
    }
}

/// Waits until `holds`; when it never does, ends what runs in `dir` and fails.
async fn until(what: &str, holds: impl AsyncFn() -> bool, dir: &Path) {
    let waited = tokio::time::timeout(Duration::from_secs(30), async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    if waited.await.is_err() {
        for (pid, _) in processes_in(dir) {
            let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
        }
        panic!("never: {what}");
    }
}
