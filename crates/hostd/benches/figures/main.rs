//! `make bench-hostd`: what the daemon adds to the start of a hypervisor, one at a time and a hundred at once, beside the same
//! hypervisor started by hand in the same run; and what a daemon with a thousand VMs needs. The daemon is the real program,
//! the hypervisor is the fake one, and the leader is in this process.
//!
//! Prints each figure with its goal, and fails when one is missed. A word on its command line names the one part to do.

#![allow(clippy::unwrap_used, reason = "a benchmark that can't go on has failed")]
#![allow(clippy::print_stdout, reason = "what it measured is what it is for")]

mod by_hand;
mod started;
mod starts;
mod thousand;

#[allow(
    dead_code,
    unreachable_pub,
    reason = "shared with the tests, which use all of it"
)]
#[path = "../../src/follow/tests/leader.rs"]
mod leader;
#[allow(dead_code, reason = "shared with the tests, which use all of it")]
#[path = "../../tests/daemon/program.rs"]
mod program;

use std::process::ExitCode;
use std::time::Duration;

use chv_domain::{Command, Event, VmRef, VmSpec};

use crate::leader::{Cluster, Nats, within};
use crate::program::Host;

/// A host and its leader.
struct Bench {
    host: Host,
    cluster: Cluster,
    _nats: Nats,
}

impl Bench {
    /// One that has told what it can run.
    async fn start() -> Self {
        let nats = Nats::start().await;
        let cluster = Cluster::start(&nats).await;
        let host = Host::fake(&nats, &["--offer-vcpus", "4000", "--offer-memory", "1TiB"]);
        within("the host can run VMs", async {
            let registered = |event: &Event| match event {
                Event::HostRegistered { facts, .. } | Event::HostFactsChanged { facts, .. } => {
                    !facts.hypervisors.is_empty()
                }
                _ => false,
            };
            while cluster.count(registered) == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        Self {
            host,
            cluster,
            _nats: nats,
        }
    }

    /// Deletes every VM, and waits until nothing is left of them.
    async fn delete_all(&self) {
        for vm in self.cluster.vms() {
            let vm = VmRef::Id(vm.id);
            let delete = Command::DeleteVm {
                vm,
                force: true,
                keep: None,
            };
            self.cluster.command(delete).await.unwrap();
        }
        within("all are deleted", async {
            while !self.cluster.vms().is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }
}

/// The name of a VM.
fn named(name: &str) -> VmRef {
    VmRef::Name("default".parse().unwrap(), name.parse().unwrap())
}

/// The command that creates a VM, which is not started yet.
fn create(name: &str) -> Command {
    let spec: VmSpec = serde_json::from_value(serde_json::json!({
        "cpu": 1,
        "memory": "32MiB",
        "boot": {"kernel": "uos/vmlinuz", "initramfs": "uos/initramfs.cpio"},
    }))
    .unwrap();
    Command::CreateVm {
        project: "default".parse().unwrap(),
        name: name.parse().unwrap(),
        labels: Default::default(),
        annotations: Default::default(),
        protected: false,
        spec: spec.into(),
        start: false,
    }
}

/// A figure, and whether it is below what it may be.
fn figure(what: &str, found: f64, most: f64, unit: &str) -> bool {
    let met = found < most;
    let word = if met { "met" } else { "MISSED" };
    println!("  {what:<58} {found:8.1} {unit}  (below {most} {unit}: {word})");
    met
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// The time that this part of `times` is not longer than.
fn quantile(times: &[Duration], part: f64) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    let at = (times.len() as f64 * part).ceil() as usize;
    times[at.clamp(1, times.len()) - 1]
}

fn main() -> ExitCode {
    let only = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let wanted = |part: &str| only.as_deref().is_none_or(|only| only == part);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut met = true;
    runtime.block_on(async {
        if wanted("one") {
            met &= starts::one_at_a_time().await;
        }
        if wanted("hundred") {
            met &= starts::a_hundred_at_once().await;
        }
        if wanted("thousand") {
            met &= thousand::thousand().await;
        }
    });
    match met {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
