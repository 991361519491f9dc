//! `make demo`: a small cluster on loopback, shown at work step by step, with the real programs and their real output.
//!
//! This file is the supervisor: whatever ends the demo ends the cluster, guests included. What is shown is in `steps`.

mod screen;
mod steps;

use std::process::ExitCode;

use anyhow::{Context, Result};
use chv_e2e::{Cluster, HostOptions, Options};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use screen::Screen;

/// Starts a Chronovisor on this machine, shows what it does, and ends it.
#[derive(Debug, Parser)]
struct Args {
    /// End when everything was shown; exits non-zero when a step did not happen.
    #[arg(long)]
    once: bool,
}

/// How the demo ended.
enum End {
    /// All steps happened.
    Shown,
    /// Somebody did not want to wait for that.
    Interrupted,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let screen = Screen::new();
    match demo(&args, &screen).await {
        Ok(End::Shown) => ExitCode::SUCCESS,
        Ok(End::Interrupted) => ExitCode::from(130),
        Err(error) => {
            eprintln!("\ndemo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn demo(args: &Args, screen: &Screen) -> Result<End> {
    let interrupted = interruption()?;
    let mut cluster = Cluster::prepare(Options {
        hosts: ["h1", "h2"].map(host).into(),
        ..Options::default()
    })?;
    tokio::pin!(interrupted);
    let end = tokio::select! {
        result = steps::all(&mut cluster, screen) => result
            .map(|()| End::Shown)
            .map_err(|error| cluster.with_logs(&error)),
        () = &mut interrupted => Ok(End::Interrupted),
    };
    if matches!(end, Ok(End::Shown)) && !args.once {
        steps::what_next(&cluster, screen)?;
        interrupted.await;
    }
    let directory = cluster.directory().to_owned();
    // Waits for the clean-up, so it is true what is said next.
    tokio::task::spawn_blocking(move || drop(cluster))
        .await
        .context("the clean-up failed")?;
    anyhow::ensure!(
        !directory.exists(),
        "the clean-up left {} behind",
        directory.display()
    );
    screen.say("The cluster has ended, its guests too, and left nothing behind.");
    end
}

fn host(name: &str) -> HostOptions {
    HostOptions {
        name: name.to_owned(),
        vcpus: 8,
        memory: "4GiB".to_owned(),
        hypervisors: Vec::new(),
        boxed: false,
    }
}

/// Ends when somebody wants the demo to.
fn interruption() -> Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
    })
}
