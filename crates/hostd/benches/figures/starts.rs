//! From what should be to a hypervisor that runs: by the daemon, and by hand.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use chv_domain::{Command, Phase, VmId};

use crate::by_hand::Words;
use crate::program::fake_hypervisor;
use crate::started::Started;
use crate::{Bench, create, figure, ms, named, quantile};

/// How many are started one at a time, and how often a hundred.
const ONES: usize = 200;
const HUNDREDS: usize = 6;
const AT_ONCE: usize = 100;

/// The most that may be added, in milliseconds.
const MOST: (f64, f64) = (20.0, 60.0);

/// One VM after another.
pub(crate) async fn one_at_a_time() -> bool {
    let (mut daemon, mut hand) = (Vec::new(), Vec::new());
    let bench = Bench::start().await;
    // The first is not counted.
    for round in 0..=ONES {
        let by_daemon = start(&bench, round, 1).await;
        let by_hand = start_by_hand(&bench, round, 1);
        if round > 0 {
            daemon.extend(by_daemon);
            hand.extend(by_hand);
        }
        bench.delete_all().await;
    }
    report("one VM at a time", &daemon, &hand, MOST.0)
}

/// A hundred at once.
pub(crate) async fn a_hundred_at_once() -> bool {
    let (mut daemon, mut hand) = (Vec::new(), Vec::new());
    let bench = Bench::start().await;
    for round in 0..=HUNDREDS {
        let by_daemon = start(&bench, round, AT_ONCE).await;
        let by_hand = start_by_hand(&bench, round, AT_ONCE);
        if round > 0 {
            daemon.extend(by_daemon);
            hand.extend(by_hand);
        }
        bench.delete_all().await;
    }
    report("100 VMs at once", &daemon, &hand, MOST.1)
}

/// How long it takes from the moment when each should run until the log hears that it does.
async fn start(bench: &Bench, round: usize, count: usize) -> Vec<Duration> {
    let names: Vec<String> = (0..count).map(|number| format!("vm-{round}-{number}")).collect();
    for name in &names {
        bench.cluster.command(create(name)).await.unwrap();
    }
    let ids: BTreeMap<String, VmId> = bench
        .cluster
        .vms()
        .iter()
        .map(|vm| (vm.name.to_string(), vm.id))
        .collect();
    // What it costs to create them is over when the daemon has heard of them.
    tokio::time::sleep(Duration::from_millis(if count > 1 { 300 } else { 10 })).await;
    let started = Started::listen(&bench.cluster);
    let mut ordered = BTreeMap::new();
    for name in &names {
        ordered.insert(ids[name], Instant::now());
        bench
            .cluster
            .command(Command::StartVm { vm: named(name) })
            .await
            .unwrap();
    }
    let heard = started.all(count).await;
    heard
        .iter()
        .map(|(vm, at)| at.duration_since(ordered[vm]))
        .collect()
}

/// The same as the VMs that run now, by hand, one thread for each.
fn start_by_hand(bench: &Bench, round: usize, count: usize) -> Vec<Duration> {
    let vms = bench.cluster.vms();
    let pids = vms.iter().filter_map(|vm| match vm.phase {
        Phase::Running { pid, .. } => Some(pid),
        _ => None,
    });
    let words: Vec<Words> = pids.map(Words::of).collect();
    assert_eq!(words.len(), count);
    let program = fake_hypervisor();
    let dir: PathBuf = bench.host.path(&format!("by-hand-{round}"));
    std::fs::create_dir(&dir).unwrap();
    let ends: Vec<_> = std::thread::scope(|scope| {
        let starts: Vec<_> = words
            .iter()
            .enumerate()
            .map(|(number, words)| {
                let (program, dir, began) = (&program, dir.join(number.to_string()), Instant::now());
                scope.spawn(move || words.start(program, &dir, began))
            })
            .collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    ends.into_iter().map(|(took, _process)| took).collect()
}

fn report(what: &str, daemon: &[Duration], hand: &[Duration], most: f64) -> bool {
    println!("{what}, {} starts", daemon.len());
    for (who, times) in [("by the daemon", daemon), ("by hand", hand)] {
        let [half, most, worst] = [0.5, 0.99, 1.0].map(|part| ms(quantile(times, part)));
        println!("  {who:<58} {half:8.1} ms p50, {most:.1} ms p99, {worst:.1} ms at most");
    }
    let added = ms(quantile(daemon, 0.99)) - ms(quantile(hand, 0.99));
    figure("added by the daemon, p99", added, most, "ms")
}
