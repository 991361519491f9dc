//! Where the programs of a cluster lie, what they are told, and what is in its directory before any of them runs.

use std::ffi::{OsStr, OsString};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};

use crate::faults::{End, Links, Loses};
use crate::hosts::HostOptions;
use crate::machines::{HostBox, Machine, OUTSIDE, QEMU};
use crate::peering::{CLUSTER, Peering};
use crate::program::Program;
use crate::programs::{find, guest_dir, workspace};

/// The people who have a NATS user in a rig.
const PEOPLE: [&str; 2] = ["alice", "bob"];

pub(crate) fn init_scheduler(directory: &Path, index: usize) -> Result<()> {
    let data = directory.join(format!("s{}", index + 1));
    let mut init = Command::new(find("chv-scheduler")?);
    init.arg("init").arg("--data").arg(&data);
    init.args(["--cluster", CLUSTER]);
    init.args(["--replica", &(index + 1).to_string()]);
    let output = init.output().context("can't run chv-scheduler")?;
    if !output.status.success() {
        bail!(
            "chv-scheduler init fails: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

pub(crate) fn password(directory: &Path, user: &str) -> Result<String> {
    let file = directory.join("nats/passwords").join(user);
    let text = std::fs::read_to_string(&file).with_context(|| format!("there is no user {user}"))?;
    Ok(text.trim().to_owned())
}

pub(crate) fn render(directory: &Path, listen: &str, hosts: &[&str]) -> Result<()> {
    let mut render = Command::new(workspace().join("deploy/nats/render"));
    render.arg(directory).arg(listen).args(["scheduler", "audit"]);
    render.args(PEOPLE.map(|person| format!("person:{person}")));
    render.args(hosts.iter().map(|host| format!("host:{host}")));
    let output = render.output().context("can't run deploy/nats/render")?;
    if !output.status.success() {
        bail!(
            "deploy/nats/render fails: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

/// What manifests name is below the hosts' image directory: the uOS guest, and a guest that only says it is there.
pub(crate) fn images(directory: &Path) -> Result<()> {
    let uos = directory.join("uos");
    std::fs::create_dir_all(&uos)?;
    let built = guest_dir()?;
    for file in ["vmlinuz", "initramfs.cpio"] {
        let copied = std::fs::copy(built.join(file), uos.join(file));
        copied.with_context(|| format!("can't copy the guest's {file}"))?;
    }
    std::fs::write(directory.join("tiny"), crate::tiny_kernel::image())?;
    Ok(())
}

/// Where each replica listens, from the first.
fn peers(ports: &[u16], address: impl Fn(usize) -> String) -> String {
    let peers = (1..)
        .zip(ports)
        .map(|(id, port)| format!("{id}={}:{port}", address(id)));
    peers.collect::<Vec<_>>().join(",")
}

/// What a replica is told.
fn run(data: &Path, listen: &str, peers: &str, number: usize) -> Vec<OsString> {
    let words = [
        "run".as_ref(),
        "--data".as_ref(),
        data.as_os_str(),
        "--listen".as_ref(),
        listen.as_ref(),
    ];
    let bootstrap = (number == 1).then_some("--bootstrap".as_ref());
    let more = ["--peers".as_ref(), peers.as_ref()].into_iter().chain(bootstrap);
    words.into_iter().chain(more).map(OsStr::to_owned).collect()
}

/// Where the programs of a cluster to be find each other.
pub(crate) struct Layout<'a> {
    pub(crate) directory: &'a Path,
    pub(crate) nats_url: &'a str,
    pub(crate) environment: &'a [(String, String)],
    pub(crate) peering: Peering,
    pub(crate) links: Option<&'a Links>,
    pub(crate) machines: bool,
    pub(crate) loses: Option<Loses>,
}

impl Layout<'_> {
    fn address(&self, end: End) -> Ipv4Addr {
        self.links.map_or(Ipv4Addr::LOCALHOST, |links| links.address(end))
    }

    fn placed(&self, end: End, program: Program) -> Program {
        match self.links {
            Some(links) => program.inside(links.namespace(end)),
            None => program,
        }
    }

    pub(crate) fn nats(&self, binary: PathBuf) -> Program {
        let program = self
            .program("nats-server", binary)
            .arg("--config")
            .arg(self.directory.join("nats/nats.conf"));
        self.placed(End::Broker, program)
    }

    pub(crate) fn program(&self, name: &str, binary: PathBuf) -> Program {
        self.environment.iter().fold(
            Program::new(name, binary, self.directory),
            |program, (name, value)| program.env(name, value),
        )
    }

    pub(crate) fn scheduler(&self, index: usize, ports: &[u16]) -> Result<Program> {
        if self.machines {
            return self.machine(index, ports);
        }
        let number = index + 1;
        let listen = format!("{}:{}", self.address(End::Replica(number)), ports[index]);
        let peers = peers(ports, |id| self.address(End::Replica(id)).to_string());
        let data = self.directory.join(format!("s{number}"));
        let program = self
            .program(&format!("scheduler-{number}"), find("chv-scheduler")?)
            .args(run(&data, &listen, &peers, number))
            .env("CHV_NATS_URL", self.nats_url)
            .env("CHV_NATS_USER", "scheduler")
            .env("CHV_NATS_PASSWORD", &password(self.directory, "scheduler")?);
        let peering = self.peering.environment(self.directory, number)?;
        let program = peering
            .iter()
            .fold(program, |program, (name, value)| program.env(name, value));
        Ok(self.placed(End::Replica(number), program))
    }

    /// The same in a machine of its own, where the broker and the other replicas are outside.
    fn machine(&self, index: usize, ports: &[u16]) -> Result<Program> {
        let (number, port) = (index + 1, ports[index]);
        self.peering.environment(self.directory, number)?;
        let peers = peers(ports, |_| OUTSIDE.to_owned());
        let words = run(Path::new("/data"), &format!("0.0.0.0:{port}"), &peers, number);
        let words = std::iter::once("/programs/chv-scheduler".into()).chain(words);
        let program = words.map(text).collect::<Result<Vec<_>>>()?;
        let certificate = |name: &str| format!("/programs/certs-{number}/{name}");
        let environment = [
            ("CHV_NATS_URL", self.nats_from_inside()?),
            ("CHV_NATS_USER", "scheduler".to_owned()),
            ("CHV_NATS_PASSWORD", password(self.directory, "scheduler")?),
            ("CHV_RAFT_CERT", certificate("replica.pem")),
            ("CHV_RAFT_KEY", certificate("replica.key")),
            ("CHV_RAFT_CA", certificate("ca.pem")),
        ];
        let mut environment = environment.map(|(name, value)| (name.to_owned(), value)).to_vec();
        environment.extend(self.loses.map(Loses::environment));
        let args = Machine::new(self.directory, number).args(&program, &environment, port)?;
        let qemu = self.program(&format!("scheduler-{number}"), QEMU.into());
        Ok(qemu.args(args))
    }

    /// Where a machine's programs find the broker.
    fn nats_from_inside(&self) -> Result<String> {
        let port = self.nats_url.rsplit(':').next();
        Ok(format!(
            "nats://{OUTSIDE}:{}",
            port.context("the broker has a port")?
        ))
    }

    /// The machine of a host in a box.
    pub(crate) fn boxed_host(&self, host: &HostOptions, boxed: &HostBox) -> Result<Program> {
        let user = format!("host-{}", host.name);
        let words = "/programs/chv-hostd run --data /data/host --images /programs/images".split(' ');
        let words = words.map(OsString::from).chain(host.args());
        let daemon = words.map(text).collect::<Result<Vec<_>>>()?;
        let environment = [
            ("CHV_NATS_URL", self.nats_from_inside()?),
            ("CHV_NATS_PASSWORD", password(self.directory, &user)?),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value));
        let args = boxed.args(&daemon, &environment)?;
        let qemu = self.program(&format!("box-{}", host.name), QEMU.into());
        Ok(qemu.args(args))
    }

    pub(crate) fn host(&self, host: &HostOptions, number: usize) -> Result<Program> {
        let user = format!("host-{}", host.name);
        let program = self
            .program(&format!("hostd-{}", host.name), find("chv-hostd")?)
            .arg("run")
            .arg("--data")
            .arg(self.directory.join(&host.name))
            .arg("--images")
            .arg(self.directory.join("images"))
            .args(host.args())
            .env("CHV_NATS_URL", self.nats_url)
            .env("CHV_NATS_USER", &user)
            .env("CHV_NATS_PASSWORD", &password(self.directory, &user)?);
        Ok(self.placed(End::Host(number), program))
    }
}

/// A word of a machine's kernel command line.
fn text(word: OsString) -> Result<String> {
    word.into_string()
        .map_err(|word| anyhow!("{word:?} is not UTF-8"))
}
