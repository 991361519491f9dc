//! What a rig's host daemons are told.

use std::ffi::OsString;

use chv_domain::HypervisorKind;

/// One host.
#[derive(Debug, Clone)]
pub struct HostOptions {
    /// Its name.
    pub name: String,
    /// The vCPUs that it offers, over-commit included.
    pub vcpus: u32,
    /// The memory that it offers, as people write it.
    pub memory: String,
    /// The only hypervisors that it may use; all that its check passes when empty.
    pub hypervisors: Vec<String>,
    /// Whether it is a machine of its own, [in a box](crate::HostBox).
    pub boxed: bool,
}

impl HostOptions {
    /// A host that offers enough for any test and uses QEMU's own emulation, which runs everywhere.
    pub fn emulated(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            vcpus: 400,
            memory: "64GiB".to_owned(),
            hypervisors: vec!["qemu-tcg".to_owned()],
            boxed: false,
        }
    }

    /// A host in a box, which uses one hypervisor over KVM.
    pub fn boxed(name: &str, hypervisor: HypervisorKind) -> Self {
        Self {
            hypervisors: vec![hypervisor.to_string()],
            boxed: true,
            ..Self::emulated(name)
        }
    }

    pub(crate) fn args(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = [
            "--name",
            &self.name,
            "--offer-vcpus",
            &self.vcpus.to_string(),
            "--offer-memory",
            &self.memory,
        ]
        .map(OsString::from)
        .into();
        if !self.hypervisors.is_empty() {
            args.extend(["--hypervisor".into(), self.hypervisors.join(",").into()]);
        }
        args
    }
}
