//! A thousand VMs on one daemon: its memory, what it does while nothing is to be done, and how soon the next one has them all.

use std::time::{Duration, Instant};

use chv_domain::{Command, Event};

use crate::leader::within;
use crate::started::Started;
use crate::{Bench, create, figure, named};

const VMS: usize = 1_000;

/// How long an idle daemon is looked at.
const IDLE: Duration = Duration::from_secs(30);

/// The most of each: MiB of memory, percent of a core, seconds of a restart.
const MOST: (f64, f64, f64) = (150.0, 2.0, 2.0);

pub(crate) async fn thousand() -> bool {
    let mut bench = Bench::start().await;
    let started = Started::listen(&bench.cluster);
    let began = Instant::now();
    for number in 0..VMS {
        let name = format!("vm-{number}");
        bench.cluster.command(create(&name)).await.unwrap();
        bench
            .cluster
            .command(Command::StartVm { vm: named(&name) })
            .await
            .unwrap();
    }
    started.all(VMS).await;
    println!("{VMS} VMs, started in {:.1} s", began.elapsed().as_secs_f64());
    within("all are ready", async {
        while bench
            .cluster
            .count(|event| matches!(event, Event::VmReady { .. }))
            < VMS
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;

    // What a new VM is looked at for is over then.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = processor_time(bench.host.pid());
    tokio::time::sleep(IDLE).await;
    let used = processor_time(bench.host.pid()) - before;
    let percent = used.as_secs_f64() / IDLE.as_secs_f64() * 100.0;
    let mut met = figure(
        "resident memory of the daemon",
        resident(bench.host.pid()),
        MOST.0,
        "MiB",
    );
    met &= figure(
        "processor time of the idle daemon",
        percent,
        MOST.1,
        "% of a core",
    );

    bench.host.terminate().await;
    let adopted = Started::listen(&bench.cluster);
    let began = Instant::now();
    bench.host.start_again();
    let heard = adopted.all(VMS).await;
    let last = heard.values().max().unwrap().duration_since(began);
    met &= figure(
        "from the start of the next daemon to the last adopted",
        last.as_secs_f64(),
        MOST.2,
        "s",
    );
    met &= figure("its resident memory", resident(bench.host.pid()), MOST.0, "MiB");
    bench.delete_all().await;
    met
}

/// In MiB.
fn resident(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kib / 1024.0
}

/// Of all its threads.
fn processor_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    let ticks: u64 = after_name
        .split_ascii_whitespace()
        .skip(14 - 3)
        .take(2)
        .map(|ticks| ticks.parse::<u64>().unwrap())
        .sum();
    Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}
