//! A host, as it is shown.

use std::io::{self, Write};

use chv_domain::Timestamp;
use chv_domain::units::format_mib;
use chv_proto::v1;
use serde::Serialize;

use crate::output::{Table, age, duration, printable, since};

/// A host for programs.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HostView {
    kind: &'static str,
    pub(crate) name: String,
    id: String,
    alive: bool,
    last_heard_ms: Option<u64>,
    cordoned: bool,
    capacity: Amount,
    reserved: Amount,
    vms: u32,
    hypervisors: Vec<Hypervisor>,
    daemon: String,
    missing: Vec<String>,
    registered: Option<String>,
    revision: u64,
    #[serde(skip)]
    registered_us: u64,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
struct Amount {
    vcpus: u32,
    memory_mib: u64,
}

#[derive(Debug, Clone, Serialize)]
struct Hypervisor {
    kind: String,
    version: String,
}

impl From<v1::Capacity> for Amount {
    fn from(capacity: v1::Capacity) -> Self {
        Self {
            vcpus: capacity.vcpus,
            memory_mib: capacity.memory_mib,
        }
    }
}

impl From<v1::Host> for HostView {
    fn from(host: v1::Host) -> Self {
        let facts = host.facts.unwrap_or_default();
        let hypervisor = |one: v1::Hypervisor| Hypervisor {
            kind: one.kind,
            version: one.version,
        };
        Self {
            kind: "Host",
            name: host.name,
            id: host.id,
            alive: host.alive,
            last_heard_ms: (host.alive || host.last_heard_ms != 0).then_some(host.last_heard_ms),
            cordoned: host.cordoned,
            capacity: facts.capacity.unwrap_or_default().into(),
            reserved: host.reserved.unwrap_or_default().into(),
            vms: host.vms,
            hypervisors: facts.hypervisors.into_iter().map(hypervisor).collect(),
            daemon: facts.daemon,
            missing: facts.missing,
            registered: since(host.registered_us),
            revision: host.revision,
            registered_us: host.registered_us,
        }
    }
}

impl HostView {
    fn status(&self) -> &'static str {
        match (self.alive, self.cordoned) {
            (true, false) => "alive",
            (true, true) => "alive, cordoned",
            (false, false) => "not heard of",
            (false, true) => "not heard of, cordoned",
        }
    }

    fn heard(&self) -> String {
        self.last_heard_ms.map_or_else(
            || "never".to_owned(),
            |ms| duration(std::time::Duration::from_millis(ms)),
        )
    }

    fn vcpus(&self) -> String {
        format!("{}/{}", self.reserved.vcpus, self.capacity.vcpus)
    }

    fn memory(&self) -> String {
        let (reserved, offered) = (self.reserved.memory_mib, self.capacity.memory_mib);
        format!("{}/{}", format_mib(reserved), format_mib(offered))
    }

    fn kinds(&self) -> String {
        let kinds: Vec<&str> = self.hypervisors.iter().map(|one| one.kind.as_str()).collect();
        kinds.join(",")
    }

    /// Its whole description, for people.
    pub(crate) fn describe(&self, now: Timestamp, to: &mut impl Write) -> io::Result<()> {
        let mut line =
            |field: &str, value: &str| writeln!(to, "{:<13}{}", format!("{field}:"), printable(value));
        line("name", &self.name)?;
        line("id", &self.id)?;
        line("status", self.status())?;
        line("last heard", &self.heard())?;
        line("VMs", &self.vms.to_string())?;
        line("vCPUs", &format!("{} reserved", self.vcpus()))?;
        line("memory", &format!("{} reserved", self.memory()))?;
        for one in &self.hypervisors {
            line("hypervisor", &format!("{} ({})", one.kind, one.version))?;
        }
        line("daemon", &self.daemon)?;
        for missing in &self.missing {
            line("lacks", missing)?;
        }
        line(
            "registered",
            &format!("{} ago", age(Timestamp(self.registered_us), now)),
        )?;
        line("revision", &self.revision.to_string())
    }
}

/// Hosts in a table.
pub(crate) fn table(hosts: &[HostView], now: Timestamp, to: &mut impl Write) -> io::Result<()> {
    let mut table = Table::new(&[
        "NAME",
        "STATUS",
        "HEARD",
        "VMS",
        "VCPUS",
        "MEMORY",
        "HYPERVISORS",
        "AGE",
    ]);
    for host in hosts {
        table.row([
            host.name.clone(),
            host.status().to_owned(),
            host.heard(),
            host.vms.to_string(),
            host.vcpus(),
            host.memory(),
            host.kinds(),
            age(Timestamp(host.registered_us), now),
        ]);
    }
    table.write(to)
}
