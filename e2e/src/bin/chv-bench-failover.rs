//! `make bench-failover`: kills the leader under load again and again, and prints how long it took each time until a
//! command was acknowledged again. Fails when the goals are missed.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use chv_e2e::failover::{Failover, Loss, percentile};
use clap::{Parser, ValueEnum};

/// Measures how long nobody's commands are acknowledged when the leader is lost.
#[derive(Debug, Parser)]
struct Args {
    /// How often.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Only this way of losing the leader.
    #[arg(long)]
    only: Option<Only>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Only {
    Kill,
    StepDown,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-failover: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<()> {
    let mut met = Ok(());
    if args.only != Some(Only::StepDown) {
        let goals = (Duration::from_millis(1_500), Duration::from_secs(3));
        let took = Failover::measure(Loss::Kill, args.rounds, |round, took| {
            println!("kill {round:3}: {:7.1} ms", millis(took));
        });
        met = met.and(report("the leader is killed", &took.await?, goals));
    }
    if args.only != Some(Only::Kill) {
        let goal = Duration::from_millis(300);
        let took = Failover::measure(Loss::StepDown, args.rounds, |round, took| {
            println!("step down {round:3}: {:7.1} ms", millis(took));
        });
        met = met.and(report("the leader steps down", &took.await?, (goal, goal)));
    }
    met
}

fn report(what: &str, took: &[Duration], (half, nearly_all): (Duration, Duration)) -> Result<()> {
    let (p50, p99) = (percentile(took, 50)?, percentile(took, 99)?);
    println!(
        "{what}, {} times: p50 {:.1} ms (goal: below {:.0}), p99 {:.1} ms (goal: below {:.0})",
        took.len(),
        millis(p50),
        millis(half),
        millis(p99),
        millis(nearly_all),
    );
    ensure!(p50 < half && p99 < nearly_all, "that misses the goals");
    Ok(())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
