//! The systems that are compared, each three servers on loopback with their data in one directory; and the broker alone.

pub(crate) mod broker;
mod chronovisor;
mod etcd;
pub(crate) mod jetstream;

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use chv_e2e::{Peering, Program, RigDirectory};
use chv_proto::v1::ReplicaStatus;
use clap::ValueEnum;
use serde::Serialize;

use crate::plan::{Kind, Target};
use chronovisor::Chronovisor;

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum System {
    /// A broker and three replicas of Chronovisor.
    Chronovisor,
    /// JetStream that flushes before it acknowledges.
    JetstreamAlways,
    /// JetStream as it comes.
    JetstreamDefault,
    /// etcd.
    Etcd,
    /// What commands, answers and events cost at the broker, without a log.
    Broker,
}

impl System {
    pub(crate) const ALL: [Self; 5] = [
        Self::Chronovisor,
        Self::JetstreamAlways,
        Self::JetstreamDefault,
        Self::Etcd,
        Self::Broker,
    ];

    /// Whether a message is flushed to a majority's disks before it is acknowledged.
    pub(crate) const fn durability(self) -> &'static str {
        match self {
            Self::Chronovisor | Self::JetstreamAlways | Self::Etcd => "yes",
            Self::JetstreamDefault => "no: up to 2 minutes are lost",
            Self::Broker => "nothing is kept",
        }
    }

    /// Whether messages can be sent to it so.
    pub(crate) const fn takes(self, kind: Kind) -> bool {
        matches!(
            (self, kind),
            (_, Kind::Single { .. }) | (Self::Chronovisor | Self::Broker, _)
        )
    }

    /// Starts it with nothing in it, its data below `parent`, and waits until it takes messages.
    pub(crate) async fn start(self, parent: &Path, nats_server: &Path, peering: Peering) -> Result<Running> {
        let started = match self {
            Self::Chronovisor => chronovisor::start(parent, nats_server, peering).await,
            Self::JetstreamAlways => jetstream::start(parent, nats_server, jetstream::Flush::Always).await,
            Self::JetstreamDefault => jetstream::start(parent, nats_server, jetstream::Flush::Default).await,
            Self::Etcd => etcd::start(parent).await,
            Self::Broker => broker::start(parent, nats_server).await,
        };
        started.with_context(|| format!("can't start {self}"))
    }
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Chronovisor => "Chronovisor",
            Self::JetstreamAlways => "JetStream R3, sync always",
            Self::JetstreamDefault => "JetStream R3, defaults",
            Self::Etcd => "etcd",
            Self::Broker => "the broker alone, no log",
        })
    }
}

/// A system that takes messages. Dropped, its servers end and their data goes.
pub(crate) struct Running {
    /// Where clients send.
    pub(crate) target: Target,
    /// Its server processes.
    pub(crate) servers: Vec<Server>,
    owner: Owner,
}

/// One server process.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) pid: u32,
    /// Where its data is; none for a broker that keeps none.
    pub(crate) data: Option<PathBuf>,
}

/// What ends the servers when it is dropped.
enum Owner {
    Chronovisor(Box<Chronovisor>),
    // Programs end before their directory goes: fields are dropped in this order.
    Programs {
        programs: Vec<Program>,
        _directory: RigDirectory,
    },
}

impl Running {
    /// Three programs that keep their data in these directories, and where their leader is.
    fn programs(
        programs: Vec<Program>,
        data: &[PathBuf],
        directory: RigDirectory,
        target: Result<Target>,
    ) -> Result<Self> {
        let servers = programs.iter().zip(data).map(|(program, data)| {
            Ok(Server {
                name: program.name().to_owned(),
                pid: program.pid().context("it was started")?,
                data: Some(data.clone()),
            })
        });
        let servers = servers.collect::<Result<_>>()?;
        let owner = Owner::Programs {
            programs,
            _directory: directory,
        };
        Ok(Self {
            target: target.map_err(|error| owner.with_logs(&error))?,
            servers,
            owner,
        })
    }

    /// What each replica of Chronovisor says of itself; nothing for the others.
    pub(crate) async fn status(&self) -> Result<Vec<ReplicaStatus>> {
        match &self.owner {
            Owner::Chronovisor(chronovisor) => chronovisor.status().await,
            Owner::Programs { .. } => Ok(Vec::new()),
        }
    }

    /// The error, with what the servers said last.
    pub(crate) fn with_logs(&self, error: &anyhow::Error) -> anyhow::Error {
        self.owner.with_logs(error)
    }
}

impl Owner {
    fn with_logs(&self, error: &anyhow::Error) -> anyhow::Error {
        match self {
            Self::Chronovisor(chronovisor) => chronovisor.with_logs(error),
            Self::Programs { programs, .. } => {
                let logs = programs
                    .iter()
                    .map(|it| format!("--- {}\n{}\n", it.name(), it.tail()));
                anyhow::anyhow!("{error:#}\n\n{}", logs.collect::<String>())
            }
        }
    }
}
