//! Which host a VM goes to: first the hosts that can take it, then the best of them, with what was found
//! about each kept for whoever asks why.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::host::{Capacity, Host};
use crate::ids::HostId;
use crate::name::HostName;
use crate::projection::Projection;
use crate::rejection::{Rejection, RejectionCode};
use crate::spec::VmSpec;
use crate::units::format_mib;

/// How many hosts a placement tells about; a large cluster's event would be too large otherwise.
pub const VERDICTS_KEPT: usize = 16;

/// Why a host can't take a VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// Its daemon has not been heard of lately.
    NotAlive,
    /// An operator keeps new VMs away.
    Cordoned,
    /// Too few vCPUs are left.
    Vcpus {
        /// What the VM asks for.
        asked: u32,
        /// What is left.
        free: u32,
    },
    /// Too little memory is left.
    Memory {
        /// What the VM asks for, in MiB.
        asked_mib: u64,
        /// What is left, in MiB.
        free_mib: u64,
    },
    /// No hypervisor there can run it.
    Hypervisor(String),
}

impl Refusal {
    /// What keeps the VM off, without the figures.
    pub(crate) const fn in_general(&self) -> &'static str {
        match self {
            Self::NotAlive => "not heard of",
            Self::Cordoned => "cordoned",
            Self::Vcpus { .. } | Self::Memory { .. } => "too full",
            Self::Hypervisor(_) => "without a hypervisor for it",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAlive => f.write_str("its daemon is not heard of"),
            Self::Cordoned => f.write_str("cordoned"),
            Self::Vcpus { asked, free } => write!(f, "{asked} vCPUs asked, {free} free"),
            Self::Memory { asked_mib, free_mib } => {
                write!(
                    f,
                    "{} of memory asked, {} free",
                    format_mib(*asked_mib),
                    format_mib(*free_mib)
                )
            }
            Self::Hypervisor(why) => f.write_str(why),
        }
    }
}

/// What was found about one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// The host.
    pub host: HostName,
    /// Its score, 0 to 1000 where more is better, or why it was refused.
    pub finding: Result<u32, Refusal>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.finding {
            Ok(score) => write!(f, "{}: score {score}", self.host),
            Err(refusal) => write!(f, "{}: {refusal}", self.host),
        }
    }
}

/// A chosen host, and what was found about it and the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Placed {
    /// The chosen host.
    pub host: HostId,
    /// Its name.
    pub name: HostName,
    /// The chosen host first, then the other feasible ones by score, then the refused ones by name; at
    /// most [`VERDICTS_KEPT`].
    pub verdicts: Vec<Verdict>,
    /// How many further hosts were looked at.
    pub others: u32,
}

impl fmt::Display for Placed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        let mut separator = " (";
        for verdict in &self.verdicts {
            write!(f, "{separator}{verdict}")?;
            separator = "; ";
        }
        if self.others > 0 {
            write!(f, "{separator}{} more hosts", self.others)?;
        }
        f.write_str(if self.verdicts.is_empty() { "" } else { ")" })
    }
}

/// Chooses a host for `spec` among the `alive`, or refuses with each host's reason.
pub fn place(state: &Projection, spec: &VmSpec, alive: &BTreeSet<HostId>) -> Result<Placed, Rejection> {
    let mut found: Vec<(&Host, Result<u32, Refusal>)> = state
        .hosts_by_name()
        .map(|host| {
            (
                host.as_ref(),
                feasible(host, spec, alive).map(|()| score(host, spec)),
            )
        })
        .collect();
    // Stable, so equal scores stay in the order of names.
    found.sort_by_key(|(_, finding)| match finding {
        Ok(score) => (0, Reverse(*score)),
        Err(_) => (1, Reverse(0)),
    });
    let others = found.len().saturating_sub(VERDICTS_KEPT);
    let verdict = |(host, finding): &(&Host, Result<u32, Refusal>)| Verdict {
        host: host.name.clone(),
        finding: finding.clone(),
    };
    let verdicts: Vec<Verdict> = found.iter().take(VERDICTS_KEPT).map(verdict).collect();
    match found.first() {
        Some((host, Ok(_))) => Ok(Placed {
            host: host.id,
            name: host.name.clone(),
            verdicts,
            others: u32::try_from(others).unwrap_or(u32::MAX),
        }),
        _ => Err(no_host(spec, &verdicts, others)),
    }
}

/// What keeps `spec` off each host that can't take it.
pub(crate) fn obstacles<'a>(
    state: &'a Projection,
    spec: &'a VmSpec,
    alive: &'a BTreeSet<HostId>,
) -> impl Iterator<Item = (HostId, Refusal)> + 'a {
    let hosts = state.hosts_by_name();
    hosts.filter_map(move |host| Some((host.id, feasible(host, spec, alive).err()?)))
}

fn no_host(spec: &VmSpec, verdicts: &[Verdict], others: usize) -> Rejection {
    let mut message = format!(
        "no host can take {} vCPUs and {} of memory: ",
        spec.cpu.vcpus, spec.memory.size
    );
    if verdicts.is_empty() {
        message.push_str("no host is registered; start chv-hostd on one");
    }
    let reasons: Vec<String> = verdicts.iter().map(ToString::to_string).collect();
    message.push_str(&reasons.join("; "));
    if others > 0 {
        message.push_str(&format!("; {others} more hosts"));
    }
    Rejection::new(RejectionCode::NoHost, message)
}

fn feasible(host: &Host, spec: &VmSpec, alive: &BTreeSet<HostId>) -> Result<(), Refusal> {
    if !alive.contains(&host.id) {
        return Err(Refusal::NotAlive);
    }
    if host.cordoned {
        return Err(Refusal::Cordoned);
    }
    host.facts.choose(spec).map_err(Refusal::Hypervisor)?;
    let (asked, free) = (Capacity::of(spec), host.free());
    if asked.vcpus > free.vcpus {
        return Err(Refusal::Vcpus {
            asked: asked.vcpus,
            free: free.vcpus,
        });
    }
    if asked.memory_mib > free.memory_mib {
        return Err(Refusal::Memory {
            asked_mib: asked.memory_mib,
            free_mib: free.memory_mib,
        });
    }
    Ok(())
}

/// The smaller of the shares of vCPUs and of memory that stay free, in thousandths: VMs spread.
fn score(host: &Host, spec: &VmSpec) -> u32 {
    let left = host.free().minus(Capacity::of(spec));
    let share = |left: u64, of: u64| left.saturating_mul(1000).checked_div(of).unwrap_or(0);
    let vcpus = share(left.vcpus.into(), host.facts.capacity.vcpus.into());
    let memory = share(left.memory_mib, host.facts.capacity.memory_mib);
    u32::try_from(vcpus.min(memory)).unwrap_or(1000)
}
