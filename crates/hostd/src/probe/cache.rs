//! What earlier probes found out, in a file, each with what it depends on. A file that can't be read is as none.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use chv_domain::HypervisorKind;
use serde::{Deserialize, Serialize};

use super::{Outcome, ProbeGuest, ProbeReport, on_a_blocking_thread};
use crate::hypervisor::Binary;
use crate::version::{self, Unreadable};

/// The file.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    reports: Vec<Entry>,
}

/// A report and what it depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) key: Key,
    pub(super) report: ProbeReport,
}

impl Entry {
    /// Whether it is what a probe of `kind` would find out, `key` being how things are.
    pub(super) fn is(&self, kind: HypervisorKind, key: &Key) -> bool {
        self.report.kind == kind && self.key == *key
    }
}

/// What a report depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Key {
    version: String,
    binary: Stamp,
    kernel: Stamp,
    initramfs: Stamp,
    /// The host's kernel and its modules change with a boot.
    host_boot: String,
}

/// A file as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    path: PathBuf,
    size: u64,
    /// Modified, in seconds and nanoseconds since the Unix epoch.
    modified: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        Ok(Self {
            path: path.to_owned(),
            size: metadata.len(),
            modified,
        })
    }
}

impl Key {
    /// How things are now.
    pub(super) async fn now(binary: &Binary, guest: &ProbeGuest) -> io::Result<Self> {
        let (binary, guest) = (binary.clone(), guest.clone());
        on_a_blocking_thread(move || {
            Ok(Self {
                binary: Stamp::of(&binary.path)?,
                kernel: Stamp::of(&guest.kernel)?,
                initramfs: Stamp::of(&guest.initramfs)?,
                host_boot: std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?
                    .trim()
                    .to_owned(),
                version: binary.version,
            })
        })
        .await
    }
}

/// What is kept in the file at `path`. Nothing, when nothing ran guests: a host is not left idle for what may
/// have been a busy moment.
pub(super) async fn read(path: &Path) -> Vec<Entry> {
    let path = path.to_owned();
    let bytes = on_a_blocking_thread(move || std::fs::read(path))
        .await
        .unwrap_or_default();
    let Kept { reports: kept } = match version::of_json(&bytes) {
        Ok(kept) => kept,
        Err(error @ Unreadable::Version(_)) => {
            tracing::info!(%error, "what an earlier probe found is not read; hypervisors are probed again");
            return Vec::new();
        }
        Err(Unreadable::Form(_)) => return Vec::new(),
    };
    let any = kept
        .iter()
        .any(|entry| matches!(entry.report.outcome, Outcome::Runs { .. }));
    if any { kept } else { Vec::new() }
}

/// Keeps `entries`. Not flushed: what a power cut loses is found out again.
pub(super) async fn write(path: &Path, entries: Vec<Entry>) -> io::Result<()> {
    let path = path.to_owned();
    on_a_blocking_thread(move || {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        // A name of this process's own: `chv-hostd check` may do the same at the same time.
        let whole = path.with_extension(format!("{}.new", std::process::id()));
        std::fs::write(&whole, version::json(&Kept { reports: entries })?)?;
        std::fs::rename(whole, path)
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn golden_reports_are_written_as_they_were_and_read_as_what_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("probe.json");
        let stamp = |path: &str| Stamp {
            path: path.into(),
            size: 7,
            modified: (1_700_000_000, 5),
        };
        let boot = Duration::from_millis(2100);
        let outcomes = [
            Outcome::Runs { boot },
            Outcome::Absent { why: "no".to_owned() },
            Outcome::Fails {
                why: "busy".to_owned(),
            },
        ];
        let entries: Vec<Entry> = HypervisorKind::ALL
            .into_iter()
            .zip(outcomes)
            .map(|(kind, outcome)| Entry {
                key: Key {
                    version: "7.2".to_owned(),
                    binary: stamp("/usr/bin/vmm"),
                    kernel: stamp("/images/uos/vmlinuz"),
                    initramfs: stamp("/images/uos/initramfs.cpio"),
                    host_boot: "7e2d5a0c-4d7c-4d0e-9f55-0d6c3c1b2a10".to_owned(),
                },
                report: ProbeReport {
                    kind,
                    version: Some("7.2".to_owned()),
                    outcome,
                },
            })
            .collect();
        write(&path, entries.clone()).await.unwrap();
        version::assert_golden("probe.json", &std::fs::read(&path).unwrap());
        assert_eq!(read(&path).await, entries);
        // and what a newer version found is found out again.
        let newer = std::fs::read_to_string(&path).unwrap().replacen(": 1", ": 2", 1);
        std::fs::write(&path, newer).unwrap();
        assert_eq!(read(&path).await, []);
    }
}
