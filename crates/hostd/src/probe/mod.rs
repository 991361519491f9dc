//! Finds out which hypervisors run guests on this host, by letting each boot one: /dev/kvm can exist and still
//! run no guest. What was found is kept, and found out again when something that matters has changed.

mod boot;
mod cache;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chv_domain::{HypervisorFacts, HypervisorKind};
use futures::future::join_all;
use serde::{Deserialize, Serialize};

use crate::data_dir::KERNELS;
use crate::hypervisor::{Hypervisor, HypervisorError, find};
use crate::wall::Walls;

/// The guest that a probe boots: one that says `ready` on the agent channel, as uOS does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeGuest {
    /// Its kernel.
    pub kernel: PathBuf,
    /// Its initial RAM file system.
    pub initramfs: PathBuf,
}

/// What a probe of one hypervisor found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeReport {
    /// Which hypervisor.
    pub kind: HypervisorKind,
    /// Its own version text; `None` when it is absent.
    pub version: Option<String>,
    /// Whether it runs guests here.
    pub outcome: Outcome,
}

/// Whether a hypervisor runs guests on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Outcome {
    /// It does.
    Runs {
        /// From the launch until the guest said that it is ready.
        boot: Duration,
    },
    /// Its program is not here.
    Absent {
        /// Where it was looked for, and what to do.
        why: String,
    },
    /// It is here, and the probe guest did not become ready.
    Fails {
        /// What was seen.
        why: String,
    },
}

/// A hypervisor and what its probe found out.
#[derive(Debug, Clone)]
pub struct Probed {
    /// The report.
    pub report: ProbeReport,
    /// Its driver, unless it is absent; also when it fails, for it may still run what it started earlier.
    pub driver: Option<Arc<dyn Hypervisor>>,
}

impl ProbeReport {
    /// What to tell the leader: `None` for a hypervisor that runs no guests here.
    pub fn facts(&self) -> Option<HypervisorFacts> {
        match (&self.outcome, &self.version) {
            (Outcome::Runs { .. }, Some(version)) => Some(HypervisorFacts {
                kind: self.kind,
                version: version.clone(),
            }),
            _ => None,
        }
    }
}

/// Whether an earlier report will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// It will, when nothing that it depends on has changed: the program, the guest, the host's boot.
    Kept,
    /// It won't.
    Afresh,
}

/// Probes the hypervisors of `kinds`, all at once, and reports in their order: in the order of preference, the
/// first that runs guests is the host's default. Dropped, it ends its guests.
///
/// Guests run behind walls as VMs do. `dir` is this probe's alone; a probe guest that an earlier daemon left there is ended
/// first. The reports are kept in the file `cache`, beside a directory of kernels.
pub async fn probe(
    kinds: &[HypervisorKind],
    guest: &ProbeGuest,
    dir: &Path,
    cache: &Path,
    freshness: Freshness,
    walls: &Walls,
) -> Vec<Probed> {
    let kept = match freshness {
        Freshness::Kept => cache::read(cache).await,
        Freshness::Afresh => Vec::new(),
    };
    let kernels = cache.with_file_name(KERNELS);
    let probes = kinds.iter().map(|&kind| {
        let (kept, kernels) = (&kept, &kernels);
        async move {
            one(
                kind,
                find(kind, kernels).await,
                guest,
                &dir.join(kind.as_str()),
                kept,
                walls,
            )
            .await
        }
    });
    let (probed, entries): (Vec<_>, Vec<_>) = join_all(probes).await.into_iter().unzip();
    if let Err(error) = cache::write(cache, entries.into_iter().flatten().collect()).await {
        tracing::warn!(path = %cache.display(), %error, "what the probe found out can't be kept");
    }
    probed
}

async fn one(
    kind: HypervisorKind,
    found: Result<Arc<dyn Hypervisor>, HypervisorError>,
    guest: &ProbeGuest,
    dir: &Path,
    kept: &[cache::Entry],
    walls: &Walls,
) -> (Probed, Option<cache::Entry>) {
    let driver = match found {
        Ok(driver) => driver,
        Err(error) => {
            let outcome = Outcome::Absent {
                why: error.to_string(),
            };
            return (
                Probed {
                    report: ProbeReport {
                        kind,
                        version: None,
                        outcome,
                    },
                    driver: None,
                },
                None,
            );
        }
    };
    let version = Some(driver.binary().version.clone());
    let key = cache::Key::now(driver.binary(), guest).await;
    if let Some(entry) = key
        .as_ref()
        .ok()
        .and_then(|key| kept.iter().find(|entry| entry.is(kind, key)))
    {
        let probed = Probed {
            report: entry.report.clone(),
            driver: Some(driver),
        };
        return (probed, Some(entry.clone()));
    }
    let outcome = match boot::boot(driver.as_ref(), guest, dir, walls).await {
        Ok(boot) => Outcome::Runs { boot },
        Err(why) => Outcome::Fails { why },
    };
    tracing::info!(%kind, ?outcome, "probed");
    let report = ProbeReport {
        kind,
        version,
        outcome,
    };
    let entry = key.ok().map(|key| cache::Entry {
        key,
        report: report.clone(),
    });
    (
        Probed {
            report,
            driver: Some(driver),
        },
        entry,
    )
}

/// Runs `work` where it may block.
async fn on_a_blocking_thread<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
}

#[cfg(test)]
mod tests;
