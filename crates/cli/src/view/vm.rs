//! A VM, as it is shown.

use std::collections::BTreeMap;
use std::io::{self, Write};

use chv_domain::{Power, Timestamp, VmSpec};
use chv_proto::{convert, v1};
use serde::Serialize;

use super::garbled;
use crate::failure::Failure;
use crate::output::{Table, age, printable, since};

/// A VM for programs. The first fields are those of a manifest.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct VmView {
    kind: &'static str,
    name: String,
    project: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    protected: bool,
    spec: VmSpec,
    id: String,
    power: &'static str,
    status: String,
    trouble: Option<String>,
    /// Whether the spec was changed and its host has not said how much of that the guest has.
    changing: bool,
    /// What of the spec the guest has only after a new start.
    restart_needed: Vec<String>,
    /// Why it is not started again after an end that nobody asked for.
    stays: Option<String>,
    /// Until when it can be undeleted, when it is deleted.
    deleted_until: Option<String>,
    host: Option<String>,
    host_id: Option<String>,
    epoch: Option<u64>,
    hypervisor: Option<String>,
    pid: Option<u32>,
    running_since: Option<String>,
    ready_since: Option<String>,
    exit: Option<String>,
    created: Option<String>,
    revision: u64,
    #[serde(skip)]
    created_us: u64,
    #[serde(skip)]
    running_us: u64,
}

/// The fields of a spec that have lines of their own.
const SHOWN: &[&str] = &[
    "cpu.vcpus",
    "memory.size",
    "boot",
    "disks.id",
    "disks.path",
    "disks.format",
    "disks.readOnly",
    "nics.id",
    "nics.backend",
    "nics.mac",
    "hypervisor",
    "stopTimeout",
    "onHostLoss",
];

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

impl VmView {
    /// From the wire.
    pub(crate) fn new(vm: v1::Vm) -> Result<Self, Failure> {
        let spec = vm.spec.unwrap_or_default();
        let power = vm.power.unwrap_or_default();
        Ok(Self {
            kind: "Vm",
            name: vm.name,
            project: vm.project,
            labels: vm.labels.into_iter().collect(),
            annotations: vm.annotations.into_iter().collect(),
            protected: vm.protected,
            spec: convert::spec_from_wire(spec).map_err(|error| garbled(&error))?,
            id: vm.id,
            power: match convert::power_from_wire(power).map_err(|error| garbled(&error))? {
                Power::Running => "running",
                Power::Rebooting(_) => "rebooting",
                Power::Paused => "paused",
                Power::Stopped(_) => "stopped",
                Power::Deleted => "deleted",
            },
            status: vm.status,
            trouble: some(vm.trouble),
            changing: vm.changing,
            restart_needed: vm.restart_needed,
            stays: some(vm.stays),
            deleted_until: since(vm.deleted_until_us),
            host: some(vm.host),
            host_id: some(vm.host_id),
            epoch: (vm.epoch != 0).then_some(vm.epoch),
            hypervisor: some(vm.hypervisor),
            pid: (vm.pid != 0).then_some(vm.pid),
            running_since: since(vm.running_since_us),
            ready_since: since(vm.ready_since_us),
            exit: some(vm.exit),
            created: since(vm.created_us),
            revision: vm.revision,
            created_us: vm.created_us,
            running_us: vm.running_since_us,
        })
    }

    /// Its state in one word.
    pub(crate) fn status(&self) -> &str {
        &self.status
    }

    /// What it should do.
    pub(crate) const fn power(&self) -> &'static str {
        self.power
    }

    /// What stands in its way, if anything.
    pub(crate) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Its labels.
    pub(crate) fn labels(&self) -> &BTreeMap<String, String> {
        &self.labels
    }

    /// The event that last changed what it should be.
    pub(crate) const fn revision(&self) -> u64 {
        self.revision
    }

    /// Its annotations.
    pub(crate) fn annotations(&self) -> &BTreeMap<String, String> {
        &self.annotations
    }

    /// Whether it can't be deleted.
    pub(crate) const fn is_protected(&self) -> bool {
        self.protected
    }

    /// What it is.
    pub(crate) fn spec(&self) -> &VmSpec {
        &self.spec
    }

    /// What stands in its way, or had it end without having been asked to.
    fn obstacle(&self) -> String {
        if let Some(until) = &self.deleted_until {
            return format!("can be undeleted until {until}");
        }
        match (&self.trouble, &self.stays, &self.exit) {
            (Some(trouble), _, _) => trouble.clone(),
            (None, Some(stays), Some(exit)) => format!("{exit}; not started again: {stays}"),
            (None, _, _) if !self.restart_needed.is_empty() => "restart needed".to_owned(),
            (None, _, _) => String::new(),
        }
    }

    /// Its whole description, for people.
    pub(crate) fn describe(&self, now: Timestamp, to: &mut impl Write) -> io::Result<()> {
        let spec = &self.spec;
        let mut line = |field: &str, value: &str| match value {
            "" => Ok(()),
            value => writeln!(to, "{:<12}{}", format!("{field}:"), printable(value)),
        };
        let moment = |time: &Option<String>, micros: u64| match time {
            Some(time) => format!("{time} ({} ago)", age(Timestamp(micros), now)),
            None => String::new(),
        };
        let pairs = |labels: &BTreeMap<String, String>| {
            let pairs: Vec<_> = labels
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            pairs.join(", ")
        };
        line("name", &self.name)?;
        line("project", &self.project)?;
        line("id", &self.id)?;
        line("labels", &pairs(&self.labels))?;
        line("annotations", &pairs(&self.annotations))?;
        line(
            "protected",
            if self.protected { "from being deleted" } else { "" },
        )?;
        line("status", &self.status)?;
        line("trouble", self.trouble.as_deref().unwrap_or_default())?;
        line("changing", if self.changing { "as its host is told" } else { "" })?;
        line("restart", &needed(&self.restart_needed))?;
        if let Some(until) = &self.deleted_until {
            line("deleted", &format!("can be undeleted until {until}"))?;
        }
        line("power", self.power)?;
        line("host", self.host.as_deref().unwrap_or_default())?;
        match (&self.hypervisor, self.pid) {
            (Some(kind), Some(pid)) => line("runs in", &format!("{kind}, process {pid}"))?,
            (Some(kind), None) => line("runs in", kind)?,
            _ => {}
        }
        line("running", &moment(&self.running_since, self.running_us))?;
        line("ready", self.ready_since.as_deref().unwrap_or_default())?;
        line("last exit", self.exit.as_deref().unwrap_or_default())?;
        if let Some(why) = &self.stays {
            line("stays", &format!("stopped: {why}"))?;
        }
        line("vCPUs", &spec.cpu.vcpus.to_string())?;
        line("memory", &spec.memory.size.to_string())?;
        let path = |path: &Option<chv_domain::spec::HostPath>| {
            path.as_ref().map(ToString::to_string).unwrap_or_default()
        };
        line("kernel", &path(&spec.boot.kernel))?;
        line("initramfs", &path(&spec.boot.initramfs))?;
        line("cmdline", spec.boot.cmdline.as_str())?;
        line("firmware", &path(&spec.boot.firmware))?;
        for disk in &spec.disks {
            let access = if disk.read_only { ", read only" } else { "" };
            line(
                "disk",
                &format!("{}: {} ({}{access})", disk.id, disk.path, disk.format),
            )?;
        }
        for nic in &spec.nics {
            let backend = match &nic.backend {
                chv_domain::spec::NicBackend::User => "user network".to_owned(),
                chv_domain::spec::NicBackend::Tap(device) => format!("tap {}", device.as_str()),
                chv_domain::spec::NicBackend::VhostUser(socket) => format!("vhost-user, {socket}"),
                chv_domain::spec::NicBackend::VhostUserServer => "vhost-user, as the server".to_owned(),
            };
            let mac = nic.mac.map_or_else(String::new, |mac| format!(", {mac}"));
            line("nic", &format!("{}: {backend}{mac}", nic.id))?;
        }
        for setting in super::setting::beside(spec, SHOWN) {
            line("set", &setting)?;
        }
        line(
            "hypervisor",
            &spec.hypervisor.map_or_else(String::new, |kind| kind.to_string()),
        )?;
        line("stop after", &format!("{}s", spec.stop_timeout.seconds()))?;
        line("on host loss", spec.on_host_loss.as_str())?;
        line("created", &moment(&self.created, self.created_us))?;
        line("revision", &self.revision.to_string())
    }
}

fn needed(fields: &[String]) -> String {
    match fields {
        [] => String::new(),
        fields => format!("needed for {}", fields.join(", ")),
    }
}

/// VMs in a table; with their projects when they can be of several.
pub(crate) fn table(vms: &[VmView], projects: bool, now: Timestamp, to: &mut impl Write) -> io::Result<()> {
    const COLUMNS: &[&str] = &[
        "NAME", "STATUS", "HOST", "VCPUS", "MEMORY", "UP", "AGE", "TROUBLE",
    ];
    const WITH_PROJECT: &[&str] = &[
        "PROJECT", "NAME", "STATUS", "HOST", "VCPUS", "MEMORY", "UP", "AGE", "TROUBLE",
    ];
    let mut table = Table::new(if projects { WITH_PROJECT } else { COLUMNS });
    for vm in vms {
        let project = projects.then(|| vm.project.clone());
        table.row(project.into_iter().chain([
            vm.name.clone(),
            vm.status.clone(),
            vm.host.clone().unwrap_or_default(),
            vm.spec.cpu.vcpus.to_string(),
            vm.spec.memory.size.to_string(),
            age(Timestamp(vm.running_us), now),
            age(Timestamp(vm.created_us), now),
            vm.obstacle(),
        ]));
    }
    table.write(to)
}
