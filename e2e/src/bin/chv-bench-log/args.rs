//! What a run is told.

use std::path::PathBuf;
use std::time::Duration;

use chv_e2e::Peering;
use clap::{Parser, Subcommand};

use crate::plan::Kind;
use crate::systems::System;

/// Compares Chronovisor's log with JetStream and etcd.
#[derive(Debug, Parser)]
#[command(name = "chv-bench-log", version)]
pub(crate) struct Args {
    /// One shorter round instead of three.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only these systems.
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Vec<System>,
    /// Only this many outstanding messages, and nothing else; prints the servers' process ids for a profiler.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=16_384))]
    pub(crate) point: Option<u32>,
    /// With --point: 16 commands to a message.
    #[arg(long, requires = "point")]
    pub(crate) batched: bool,
    /// How long each point is measured, in seconds.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=120))]
    pub(crate) seconds: Option<u64>,
    /// How many rounds there are; medians are taken over them.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=9))]
    pub(crate) rounds: Option<u32>,
    /// Lets Chronovisor's replicas know each other by a secret, unencrypted as the other systems here are, instead of by
    /// certificates over TLS as they do by default.
    #[arg(long)]
    pub(crate) no_tls: bool,
    /// A recent nats-server, which all systems here that need one use.
    #[arg(
        long,
        env = "CHV_BENCH_NATS_SERVER",
        default_value = "target/tools/nats/bin/nats-server"
    )]
    pub(crate) nats_server: PathBuf,
    /// Where the servers keep their data while they run, all on one disk.
    #[arg(long, default_value = "target/bench")]
    pub(crate) directory: PathBuf,
    /// Where the figures are written.
    #[arg(long, default_value = "target/bench/log.json")]
    pub(crate) json: PathBuf,
    #[command(subcommand)]
    pub(crate) task: Option<Task>,
}

/// What this program is run again for.
#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// The clients: reads a plan from the standard input, and writes what was measured to the standard output.
    #[command(hide = true)]
    Load,
    /// What each step of a command costs by itself, one after the other on one thread.
    Steps,
    /// The server of the broker alone: answers commands and keeps nothing.
    #[command(hide = true)]
    Answer {
        /// The broker.
        url: String,
    },
}

impl Args {
    pub(crate) fn systems(&self) -> Vec<System> {
        match self.only.is_empty() {
            true => System::ALL.to_vec(),
            false => self.only.clone(),
        }
    }

    pub(crate) const fn peering(&self) -> Peering {
        if self.no_tls {
            Peering::LoopbackSecret
        } else {
            Peering::Tls
        }
    }

    /// The points of one round.
    pub(crate) fn kinds(&self) -> Vec<Kind> {
        match self.point {
            Some(outstanding) if self.batched => vec![Kind::Sixteen { outstanding }],
            Some(outstanding) => vec![Kind::Single { outstanding }],
            None => Kind::ALL.to_vec(),
        }
    }

    pub(crate) fn rounds(&self) -> u32 {
        let alone = self.quick || self.point.is_some();
        self.rounds.unwrap_or(if alone { 1 } else { 3 })
    }

    pub(crate) fn measured(&self) -> Duration {
        Duration::from_secs(self.seconds.unwrap_or(if self.quick { 3 } else { 4 }))
    }
}
