//! Replicas, hosts and NATS in network namespaces of their own, each on a bridge by a link that can be cut in one direction.
//!
//! The namespaces have no names: they last for as long as this value and the programs in them. The addresses are
//! loopback's, made routable on these links: replicas without certificates take no others.

use std::fmt::Write as _;
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use anyhow::{Context, Result};

use super::system;

/// What is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The replica of this number, from 1.
    Replica(usize),
    /// The host of this number, from 1: its daemon and its guests.
    Host(usize),
    /// NATS.
    Broker,
}

impl End {
    /// Its place on the bridge: the interface's number and the address's last byte.
    fn place(self) -> u8 {
        let few = |number| u8::try_from(number).expect("a handful");
        match self {
            Self::Replica(number) => few(number),
            Self::Host(number) => 50 + few(number),
            Self::Broker => 100,
        }
    }

    /// Its link's end at the bridge.
    fn interface(self) -> String {
        format!("link{}", self.place())
    }
}

/// The bridge, in the namespace of the thread that makes it, and what is connected to it.
#[derive(Debug)]
pub struct Links {
    ends: Vec<(End, Arc<File>)>,
}

impl Links {
    /// Connects NATS, `replicas` replicas and `hosts` hosts. To be called [in own namespaces](super::in_own_namespaces), where clients
    /// are connected too.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn connect(replicas: usize, hosts: usize) -> Result<Self> {
        route_loopback_addresses()?;
        ip("link add hub type bridge")?;
        ip("address add 127.77.0.254/24 dev hub")?;
        ip("link set hub up")?;
        let (replicas, hosts) = ((1..=replicas).map(End::Replica), (1..=hosts).map(End::Host));
        let ends = replicas.chain(hosts).chain([End::Broker]);
        let ends = ends.map(|end| Ok((end, attach(end)?)));
        let links = Self {
            ends: ends.collect::<Result<_>>()?,
        };
        links.heal()?;
        Ok(links)
    }

    /// Where it is reached.
    pub fn address(&self, end: End) -> Ipv4Addr {
        Ipv4Addr::new(127, 77, 0, end.place())
    }

    /// Where it runs.
    pub(crate) fn namespace(&self, end: End) -> Arc<File> {
        let found = self.ends.iter().find(|(other, _)| *other == end);
        Arc::clone(&found.expect("every end is connected").1)
    }

    /// Lets nothing through from the first to the second of each pair, and everything else.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn cut(&self, cuts: &[(End, End)]) -> Result<()> {
        let mut rules = String::from("add table bridge faults; delete table bridge faults; ");
        rules.push_str("add table bridge faults; ");
        rules.push_str("add chain bridge faults forward { type filter hook forward priority 0; }; ");
        for (from, to) in cuts {
            let (from, to) = (from.interface(), to.interface());
            write!(
                rules,
                "add rule bridge faults forward iifname {from} oifname {to} drop; "
            )?;
        }
        system::run("nft", [rules])
    }

    /// Lets everything through.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn heal(&self) -> Result<()> {
        self.cut(&[])
    }
}

fn attach(end: End) -> Result<Arc<File>> {
    let namespace = Arc::new(new_namespace()?);
    let own = format!("/proc/{}/fd/{}", std::process::id(), namespace.as_raw_fd());
    let interface = end.interface();
    ip(&format!(
        "link add {interface} type veth peer name eth0 netns {own}"
    ))?;
    ip(&format!("link set {interface} master hub up"))?;
    let inside = Arc::clone(&namespace);
    let address = format!("address add 127.77.0.{}/24 dev eth0", end.place());
    let setting_up = std::thread::spawn(move || {
        // SAFETY: takes no pointers; changes this thread alone, which ends below.
        if unsafe { libc::setns(inside.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
            return Err(std::io::Error::last_os_error()).context("can't enter a namespace");
        }
        route_loopback_addresses()?;
        ip(&address)?;
        ip("link set eth0 up")
    });
    setting_up.join().expect("it does not panic")?;
    Ok(namespace)
}

fn new_namespace() -> Result<File> {
    let making = std::thread::spawn(|| {
        // SAFETY: takes no pointers; changes this thread alone, which ends below.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            return Err(std::io::Error::last_os_error()).context("can't make a namespace");
        }
        File::open("/proc/thread-self/ns/net").context("can't keep a namespace")
    });
    making.join().expect("it does not panic")
}

/// Leaves 127.0.0.1 alone to the loopback interface of this thread's namespace, and lets the rest be routed.
fn route_loopback_addresses() -> Result<()> {
    ip("link set lo up")?;
    ip("address flush dev lo")?;
    ip("address add 127.0.0.1/32 dev lo")?;
    std::fs::write("/proc/sys/net/ipv4/conf/all/route_localnet", "1")
        .context("can't route loopback addresses")
}

fn ip(words: &str) -> Result<()> {
    system::run("ip", words.split(' '))
}
