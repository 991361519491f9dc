//! What QEMU's words mean, and what a launch costs over starting the same QEMU by hand.

use super::status;
use crate::hypervisor::Status;

#[test]
fn given_a_write_that_the_hosts_disk_refused_then_the_guest_is_held_and_not_given_up() {
    assert!(matches!(status("io-error"), Status::Stalled(why) if why.contains("make room")));
    for lost in ["internal-error", "guest-panicked", "watchdog"] {
        assert_eq!(status(lost), Status::Broken(lost.to_owned()));
    }
}

mod needs_guest {
    use std::path::Path;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use tokio::net::UnixStream;

    use crate::hypervisor::qemu::args::{self, Accelerator};
    use crate::hypervisor::qemu::qmp::Qmp;
    use crate::hypervisor::qemu::{Qemu, query_status};
    use crate::hypervisor::tests::machine;
    use crate::hypervisor::{Hypervisor, Machine, Status};

    const ROUNDS: usize = 9;
    const ALLOWED: Duration = Duration::from_millis(50);

    /// Starts the same command line with nothing of ours around it, and asks until its vCPUs run.
    async fn by_hand(qemu: &Qemu, machine: &Machine) -> Duration {
        let dir = machine.run_dir.path();
        std::fs::create_dir_all(dir).unwrap();
        let args = args::args(machine, Accelerator::Tcg, qemu.sandbox, 0).unwrap();
        let args = args.into_iter().map(|word| match word.to_str() {
            Some("socket,id=qmp,fd=0,server=on,wait=off") => {
                "socket,id=qmp,path=by-hand.sock,server=on,wait=off".into()
            }
            _ => word,
        });
        let began = Instant::now();
        let mut child = Command::new(&qemu.binary.path)
            .args(args)
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut qmp = Qmp::negotiate(connect(&dir.join("by-hand.sock")).await)
            .await
            .unwrap();
        while query_status(&mut qmp).await.unwrap() != Status::Running {}
        let took = began.elapsed();
        child.kill().unwrap();
        child.wait().unwrap();
        took
    }

    async fn connect(path: &Path) -> UnixStream {
        loop {
            match UnixStream::connect(path).await {
                Ok(stream) => return stream,
                Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    }

    fn median(mut times: Vec<Duration>) -> Duration {
        times.sort();
        times[times.len() / 2]
    }

    #[tokio::test]
    async fn given_a_machine_when_launched_then_it_costs_little_more_than_by_hand() {
        let qemu = Qemu::tcg().await.unwrap();
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let dir = tempfile::tempdir().unwrap();
            let machine = machine(dir.path());
            theirs.push(by_hand(&qemu, &machine).await);
            let began = Instant::now();
            let instance = qemu.launch(&machine).await.unwrap();
            ours.push(began.elapsed());
            qemu.kill(&instance).await.unwrap();
        }
        let (ours, theirs) = (median(ours), median(theirs));
        println!("from launch to running: {ours:?}; by hand: {theirs:?} (medians of {ROUNDS})");
        assert!(ours < theirs + ALLOWED, "launch {ours:?}, by hand {theirs:?}");
    }
}
