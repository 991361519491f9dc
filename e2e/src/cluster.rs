//! A whole cluster: nats-server with the configuration of deploy/nats, scheduler replicas, and host daemons, each
//! with a directory of its own. It starts, kills and asks; what a test makes of the answers is the test's.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use chv_proto::client::{Client, ConnectOptions};

use crate::directory::RigDirectory;
use crate::faults::{End, Links, Loses};
use crate::guests::{self, Guest, Watch};
use crate::hosts::HostOptions;
use crate::layout::{Layout, images, password, render};
use crate::machines::{HostBox, Machine};
use crate::peering::Peering;
use crate::program::Program;
use crate::wait::wait_until;
use crate::{Output, chv, ports, stand_in};

/// Debian's broker.
const NATS_SERVER: &str = "/usr/sbin/nats-server";

/// How long anything that is expected to happen may take on a machine that is busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// How many scheduler replicas there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Replicas {
    /// One, which can lose nothing that it acknowledged.
    One,
    /// Three, as in production.
    #[default]
    Three,
}

impl Replicas {
    /// As a number.
    pub const fn count(self) -> usize {
        match self {
            Self::One => 1,
            Self::Three => 3,
        }
    }
}

/// What a cluster is to be.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The hosts.
    pub hosts: Vec<HostOptions>,
    /// Further environment variables of every program.
    pub environment: Vec<(String, String)>,
    /// Whether there is a NATS user for a [stand-in](Cluster::stand_in) of a host.
    pub stand_in: bool,
    /// How many replicas of the scheduler there are.
    pub replicas: Replicas,
    /// How the replicas know each other.
    pub peering: Peering,
    /// The broker; Debian's when there is none.
    pub nats_server: Option<PathBuf>,
    /// Where the cluster's directory is made; where this machine keeps temporary files when there is none.
    pub parent: Option<PathBuf>,
    /// What connects the replicas, the hosts and NATS; loopback when there is none.
    pub links: Option<Arc<Links>>,
    /// Whether each replica runs in a machine of its own, which takes the guest's kernel, QEMU and [`Peering::Tls`].
    pub machines: bool,
    /// How the disks of those machines lose writes once that is asked for; not at all when there is nothing.
    pub loses: Option<Loses>,
}

impl Options {
    /// No hosts but a stand-in: for what needs a log and no guest.
    pub fn log_only() -> Self {
        Self {
            stand_in: true,
            ..Self::default()
        }
    }

    /// `count` hosts, h1 and on, that emulate their guests.
    pub fn emulated(count: usize) -> Self {
        Self {
            hosts: (1..=count)
                .map(|number| HostOptions::emulated(&format!("h{number}")))
                .collect(),
            ..Self::default()
        }
    }
}

/// A cluster on loopback. Dropped, it ends with all that belongs to it, guests included.
#[derive(Debug)]
pub struct Cluster {
    // Programs end before the rig's directory goes: fields are dropped in this order.
    pub(crate) nats: Program,
    pub(crate) schedulers: Vec<Program>,
    pub(crate) hosts: Vec<(HostOptions, Program)>,
    pub(crate) directory: PathBuf,
    pub(crate) machines: bool,
    pub(crate) boxes: BTreeMap<String, HostBox>,
    nats_url: String,
    environment: Vec<(String, String)>,
    _rig: RigDirectory,
}

impl Cluster {
    /// Runs `work` on a cluster whose hosts are all registered, and ends the cluster, whatever comes of it.
    ///
    /// # Errors
    /// Those of starting and of `work`, with the ends of all logs.
    pub async fn run<T>(options: Options, work: impl AsyncFnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let mut cluster = Self::prepare(options)?;
        let result = async {
            cluster.start().await?;
            work(&mut cluster).await
        };
        let result = result.await;
        result.map_err(|error| cluster.with_logs(&error))
    }

    /// A cluster's directory and configuration; nothing runs yet.
    ///
    /// # Errors
    /// When a program or the guest is not built, or the directory can't be made.
    pub fn prepare(options: Options) -> Result<Self> {
        let rig = RigDirectory::new(&options.parent.unwrap_or_else(std::env::temp_dir))?;
        let directory = rig.path().to_owned();
        let mut environment = options.environment;
        environment.push(rig.mark());
        let boxed = options.hosts.iter().filter(|host| host.boxed);
        let ports = ports::free(1 + options.replicas.count() + boxed.clone().count())?;
        let (nats_port, ports) = ports.split_first().context("a port for NATS")?;
        let (raft_ports, box_ports) = ports.split_at(options.replicas.count());
        let boxes: BTreeMap<String, HostBox> = boxed
            .zip(box_ports)
            .map(|(host, port)| (host.name.clone(), HostBox::new(&directory, &host.name, *port)))
            .collect();
        let links = options.links.as_deref();
        let address = links.map_or(Ipv4Addr::LOCALHOST, |links| links.address(End::Broker));
        let listen = format!("{address}:{nats_port}");
        let names = options.hosts.iter().map(|host| host.name.as_str());
        let names: Vec<&str> = names.chain(options.stand_in.then_some(stand_in::NAME)).collect();
        render(&directory.join("nats"), &listen, &names)?;
        if !options.hosts.is_empty() {
            images(&directory.join("images"))?;
        }
        let nats_url = format!("nats://{listen}");
        let layout = Layout {
            directory: &directory,
            nats_url: &nats_url,
            environment: &environment,
            peering: options.peering,
            links,
            machines: options.machines,
            loses: options.loses,
        };
        let nats_server = options.nats_server.unwrap_or_else(|| NATS_SERVER.into());
        let nats = layout.nats(nats_server);
        let schedulers = (0..options.replicas.count())
            .map(|index| layout.scheduler(index, raft_ports))
            .collect::<Result<_>>()?;
        let hosts = (1..).zip(options.hosts);
        let hosts = hosts
            .map(|(number, host)| {
                let program = match boxes.get(&host.name) {
                    Some(boxed) => layout.boxed_host(&host, boxed)?,
                    None => layout.host(&host, number)?,
                };
                Ok((host, program))
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            nats,
            schedulers,
            hosts,
            directory,
            nats_url,
            machines: options.machines,
            boxes,
            environment,
            _rig: rig,
        })
    }

    /// As [`wait_until`], but sees at once when a program that was not killed has ended.
    ///
    /// # Errors
    /// As [`wait_until`], and when a program has ended.
    pub async fn wait<T>(
        &mut self,
        what: &str,
        patience: Duration,
        mut check: impl AsyncFnMut() -> Result<T>,
    ) -> Result<T> {
        let waiting = wait_until(what, patience, async || match self.ended_program() {
            Some(words) => Ok(Err(words)),
            None => check().await.map(Ok),
        });
        waiting
            .await?
            .map_err(|words| anyhow!("while waiting until {what}: {words}"))
    }

    /// Checks that every program runs that was not killed.
    ///
    /// # Errors
    /// Names one that does not.
    pub fn all_run(&mut self) -> Result<()> {
        self.ended_program()
            .map_or(Ok(()), |words| Err(anyhow!("{words}")))
    }

    fn ended_program(&mut self) -> Option<String> {
        let hosts = self.hosts.iter_mut().map(|(_, host)| host);
        std::iter::once(&mut self.nats)
            .chain(&mut self.schedulers)
            .chain(hosts)
            .find_map(|program| {
                let status = program.ended().ok()??;
                Some(format!("{} has ended, {status}", program.name()))
            })
    }

    /// nats-server.
    pub fn nats(&mut self) -> &mut Program {
        &mut self.nats
    }

    /// The replica of this number, from 1.
    pub fn scheduler(&mut self, number: usize) -> &mut Program {
        &mut self.schedulers[number - 1]
    }

    /// Cuts the power of the machine of the replica of this number, from 1: its disk loses what was not flushed.
    ///
    /// # Errors
    /// When its QEMU can't be killed, or its disk not be kept.
    pub fn cut_power(&mut self, number: usize) -> Result<()> {
        self.scheduler(number).kill()?;
        Machine::new(&self.directory, number).after_cut()
    }

    /// Cuts the power of a host in a box: its guests are gone, and its disk loses what was not flushed. Starting it as
    /// a [host](Self::host) is the power's return.
    ///
    /// # Errors
    /// When it is not in a box, its QEMU can't be killed, or its disk not be kept.
    pub fn cut_power_of_host(&mut self, name: &str) -> Result<()> {
        self.host(name)?.kill()?;
        self.boxed(name)?.after_cut()
    }

    /// The box of a host.
    ///
    /// # Errors
    /// When it is not in one.
    pub fn boxed(&self, name: &str) -> Result<&HostBox> {
        let found = self.boxes.get(name);
        found.with_context(|| format!("there is no host {name} in a box"))
    }

    /// The daemon of the host of this name; its machine, when it is in a box.
    ///
    /// # Errors
    /// When there is no such host.
    pub fn host(&mut self, name: &str) -> Result<&mut Program> {
        let found = self.hosts.iter_mut().find(|(host, _)| host.name == name);
        found
            .map(|(_, program)| program)
            .with_context(|| format!("there is no host {name}"))
    }

    /// Where NATS listens.
    pub fn nats_url(&self) -> &str {
        &self.nats_url
    }

    /// The cluster's directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The hosts' image directory.
    pub fn images(&self) -> PathBuf {
        self.directory.join("images")
    }

    /// The password of a NATS user.
    ///
    /// # Errors
    /// When there is no such user.
    pub fn password(&self, user: &str) -> Result<String> {
        password(&self.directory, user)
    }

    /// Connects as `user`.
    ///
    /// # Errors
    /// When NATS can't be reached or refuses.
    pub async fn client(&self, user: &str) -> Result<Client> {
        let options = ConnectOptions {
            url: self.nats_url.clone(),
            user: user.to_owned(),
            password: self.password(user)?,
            name: format!("chv-e2e as {user}"),
            connect_timeout: Duration::from_secs(5),
        };
        Ok(Client::connect(options).await?)
    }

    /// What a shell needs for `chv` to speak to this cluster as `user`.
    ///
    /// # Errors
    /// When there is no such user.
    pub fn environment_of(&self, user: &str) -> Result<Vec<(String, String)>> {
        let own = [
            ("CHV_SERVER", self.nats_url.clone()),
            ("CHV_USER", user.to_owned()),
            ("CHV_PASSWORD", self.password(user)?),
        ];
        let own = own.map(|(name, value)| (name.to_owned(), value));
        Ok(own.into_iter().chain(self.environment.iter().cloned()).collect())
    }

    /// Runs `chv` as alice, and waits for its end.
    ///
    /// # Errors
    /// When it can't be run, or does not end within two minutes.
    pub async fn chv<A: AsRef<str>>(&self, args: &[A]) -> Result<Output> {
        self.chv_as("alice", args).await
    }

    /// Runs `chv` as `user`, and waits for its end.
    ///
    /// # Errors
    /// When it can't be run, or does not end within two minutes.
    pub async fn chv_as<A: AsRef<str>>(&self, user: &str, args: &[A]) -> Result<Output> {
        chv::run(&self.environment_of(user)?, args).await
    }

    /// The hypervisor processes of this cluster.
    pub fn guests(&self) -> Vec<Guest> {
        guests::below(&self.directory)
    }

    /// Watches from now on whether a VM has two hypervisors.
    pub fn watch_guests(&self) -> Watch {
        Watch::start(self.directory.clone())
    }

    /// The error, with the ends of all logs below it.
    pub fn with_logs(&self, error: &anyhow::Error) -> anyhow::Error {
        anyhow!("{error:#}\n\n{}", self.logs())
    }

    /// The ends of all logs.
    fn logs(&self) -> String {
        let hosts = self.hosts.iter().map(|(_, host)| host);
        std::iter::once(&self.nats)
            .chain(&self.schedulers)
            .chain(hosts)
            .map(|program| format!("--- {}\n{}\n", program.name(), program.tail()))
            .collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
    }
}
