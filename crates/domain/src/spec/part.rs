//! What every part of a spec says of itself: its fields, for `chv explain`; what a hypervisor lacks for it; and which rule
//! between its fields is broken. `fields` makes this for structs; what is a single value does it here or where it lives.

use std::fmt;

use super::device_id::DeviceId;
use crate::host::HypervisorKind;

/// Those that have more devices and settings than the least.
pub(super) const FULL: &[HypervisorKind] = &[
    HypervisorKind::CloudHypervisor,
    HypervisorKind::QemuKvm,
    HypervisorKind::QemuTcg,
];

/// QEMU alone.
pub(super) const QEMU: &[HypervisorKind] = &[HypervisorKind::QemuKvm, HypervisorKind::QemuTcg];

/// cloud-hypervisor alone.
pub(super) const CLOUD_HYPERVISOR: &[HypervisorKind] = &[HypervisorKind::CloudHypervisor];

/// Those that limit bursts and network cards by themselves.
pub(super) const LIMITING: &[HypervisorKind] =
    &[HypervisorKind::CloudHypervisor, HypervisorKind::Firecracker];

/// Those of FULL that run on the host's own processor.
pub(super) const KVM: &[HypervisorKind] = &[HypervisorKind::CloudHypervisor, HypervisorKind::QemuKvm];

/// A field of a spec, as it is explained to people.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Its name in Rust; see [`Field::name`].
    pub(super) ident: &'static str,
    /// What it is, a line each.
    pub about: &'static [&'static str],
    /// What holds when it is not given; `None` when it must be.
    pub default: Option<&'static str>,
    /// The hypervisors that can do it.
    pub on: &'static [HypervisorKind],
    /// What may be written there.
    pub values: fn() -> String,
    /// The fields within it.
    pub fields: &'static [Field],
}

impl Field {
    /// Its name in manifests: `stop_timeout` is written `stopTimeout`.
    pub fn name(&self) -> String {
        camel(self.ident)
    }
}

/// A part of a spec.
pub trait Part: PartialEq + Sized {
    /// Its fields; none for a single value.
    const FIELDS: &'static [Field] = &[];

    /// What may be written for it, with the unit and the range.
    fn values() -> String;

    /// What in it `kind` can't do; the first that is found.
    fn lacks(&self, _: HypervisorKind) -> Option<Lack> {
        None
    }

    /// The first rule between its fields that is broken.
    fn fault(&self) -> Option<Fault> {
        None
    }

    /// The fields in which `other` differs, as paths from here; an empty one is the whole.
    fn differences(&self, other: &Self) -> Vec<String> {
        whole_differs(self, other)
    }

    /// What it is called in a list of its like; what has no name is compared with the whole list.
    fn id(&self) -> Option<&DeviceId> {
        None
    }
}

fn whole_differs<T: PartialEq>(one: &T, other: &T) -> Vec<String> {
    match one == other {
        true => Vec::new(),
        false => vec![String::new()],
    }
}

/// A part of a spec that a hypervisor can't do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// The field, as a path from the spec's root.
    pub field: String,
    /// What it needs.
    pub needs: String,
}

impl Lack {
    pub(crate) fn new(field: impl Into<String>, needs: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            needs: needs.into(),
        }
    }

    pub(super) fn of(ident: &str, on: &[HypervisorKind]) -> Self {
        Self::new(camel(ident), format!("needs {}", either(on)))
    }

    pub(super) fn within(mut self, ident: &str) -> Self {
        self.field = join(&camel(ident), &self.field);
        self
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.field, self.needs)
    }
}

/// Fields that don't go together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct Fault {
    /// The field, as a path from the spec's root.
    pub field: String,
    /// What is wrong, and what to do.
    pub why: String,
}

impl Fault {
    pub(super) fn new(field: &str, why: impl Into<String>) -> Self {
        Self {
            field: field.to_owned(),
            why: why.into(),
        }
    }

    pub(super) fn within(mut self, ident: &str) -> Self {
        self.field = join(&camel(ident), &self.field);
        self
    }
}

/// Names as a choice: `a`, `a or b`, `a, b or c`.
pub(super) fn either(kinds: &[HypervisorKind]) -> String {
    match kinds {
        [] => "a hypervisor that none is".to_owned(),
        [one] => one.to_string(),
        [rest @ .., last] => {
            let rest: Vec<_> = rest.iter().map(ToString::to_string).collect();
            format!("{} or {last}", rest.join(", "))
        }
    }
}

pub(super) fn join(outer: &str, inner: &str) -> String {
    match inner {
        "" => outer.to_owned(),
        indexed if indexed.starts_with('[') => format!("{outer}{indexed}"),
        field => format!("{outer}.{field}"),
    }
}

pub(super) fn camel(ident: &str) -> String {
    let mut words = ident.split('_');
    let mut name = words.next().unwrap_or_default().to_owned();
    for word in words {
        name.push_str(&word[..1].to_ascii_uppercase());
        name.push_str(&word[1..]);
    }
    name
}

impl<T: Part> Part for Option<T> {
    const FIELDS: &'static [Field] = T::FIELDS;

    fn values() -> String {
        T::values()
    }

    fn lacks(&self, kind: HypervisorKind) -> Option<Lack> {
        self.as_ref()?.lacks(kind)
    }

    fn fault(&self) -> Option<Fault> {
        self.as_ref()?.fault()
    }

    fn differences(&self, other: &Self) -> Vec<String> {
        match (self, other) {
            (Some(one), Some(other)) => one.differences(other),
            _ => whole_differs(self, other),
        }
    }
}

impl<T: Part> Part for Vec<T> {
    const FIELDS: &'static [Field] = T::FIELDS;

    fn values() -> String {
        format!("a list, each {}", T::values())
    }

    fn lacks(&self, kind: HypervisorKind) -> Option<Lack> {
        let found = |(index, part): (usize, &T)| {
            let mut lack = part.lacks(kind)?;
            lack.field = join(&format!("[{index}]"), &lack.field);
            Some(lack)
        };
        self.iter().enumerate().find_map(found)
    }

    fn fault(&self) -> Option<Fault> {
        let found = |(index, part): (usize, &T)| {
            let mut fault = part.fault()?;
            fault.field = join(&format!("[{index}]"), &fault.field);
            Some(fault)
        };
        self.iter().enumerate().find_map(found)
    }

    /// By what each is called, so that one that is added or taken out leaves the others as they are.
    fn differences(&self, other: &Self) -> Vec<String> {
        if self == other {
            return Vec::new();
        }
        if self.iter().chain(other).any(|part| part.id().is_none()) {
            return vec![String::new()];
        }
        let mut found = Vec::new();
        for part in self {
            let place = part.id().map(|id| format!("[{id}]")).unwrap_or_default();
            match other.iter().find(|other| other.id() == part.id()) {
                Some(other) => found.extend(part.differences(other).iter().map(|inner| join(&place, inner))),
                None => found.push(place),
            }
        }
        let added = other
            .iter()
            .filter(|other| self.iter().all(|part| part.id() != other.id()));
        found.extend(added.filter_map(|part| part.id()).map(|id| format!("[{id}]")));
        match found.is_empty() {
            // The same ones in another order.
            true => vec![String::new()],
            false => found,
        }
    }
}

/// Single values, and what may be written for them.
macro_rules! values {
    ($($type:ty: $values:expr,)+) => {
        $(impl Part for $type {
            fn values() -> String {
                $values.into()
            }
        })+
    };
}

values! {
    bool: "true or false",
    crate::units::Vcpus: "a whole number from 1",
    crate::units::Memory: "an amount such as 512MiB or 2GiB: whole MiB, from 1MiB",
    HypervisorKind: either(&HypervisorKind::ALL),
    super::OnHostLoss: "stay or failover",
    super::StopTimeout: "seconds, 1 to 3600",
    super::HostPath: "a file on the host: absolute, or relative to its image directory; no `..`",
    super::Cmdline: "printable ASCII, at most 2047 bytes",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths_are_those_of_manifests() {
        assert_eq!(camel("on_host_loss"), "onHostLoss");
        assert_eq!(join("disks", &join("[1]", "path")), "disks[1].path");
        assert_eq!(either(&HypervisorKind::ALL[..1]), "cloud-hypervisor");
    }
}
