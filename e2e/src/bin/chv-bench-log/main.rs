//! `make bench`: Chronovisor's log beside what people would use instead, a JetStream stream with three replicas and three
//! etcd servers, in turn in one run: real processes on one disk, the same payload, clients and duration.
//!
//! This program starts the servers and measures them; the clients are a process of its own, this program run again as
//! `load`. It decides nothing about any of the systems, and all of them run with their default configuration, but for
//! JetStream's `sync_interval` where that is said.

mod args;
mod goals;
mod load;
mod payload;
mod plan;
mod process;
mod results;
mod rounds;
mod stages;
mod statistics;
mod steps;
mod systems;
mod table;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use args::{Args, Task};

/// As replicas have it, whose steps this program takes.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let run = async {
        match &args.task {
            Some(Task::Load) => load::run().await,
            Some(Task::Steps) => tokio::task::block_in_place(|| steps::run(&args.directory)),
            Some(Task::Answer { url }) => systems::broker::answer(url).await,
            None => bench(&args).await,
        }
    };
    let ended = tokio::select! {
        ended = run => ended,
        // Dropping the run ends its servers and removes what they wrote.
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-log: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn bench(args: &Args) -> Result<()> {
    if let Some(load) = process::busy() {
        eprintln!(
            "warning: the load average is {load:.1} before anything was started; the figures will be too bad"
        );
    }
    let results = rounds::run(args).await?;
    print!("{}", table::render(&results));
    let json = serde_json::to_string_pretty(&results).context("figures are JSON")?;
    let file = &args.json;
    std::fs::write(file, json + "\n").with_context(|| format!("can't write {}", file.display()))?;
    println!("the same figures: {}", file.display());
    Ok(())
}
