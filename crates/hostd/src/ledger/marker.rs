//! What a VM's directory says of itself, so that a lost ledger can be built again from the directories.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use chv_domain::{Epoch, HypervisorKind, ProjectName, Timestamp, VmId, VmName, VmSpec};
use serde::{Deserialize, Serialize};

use crate::hypervisor::RunDir;
use crate::plan::{BegunChange, Runs};
use crate::version;

/// What was last launched in a directory. Written before the launch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// The VM.
    pub vm: VmId,
    /// Its project, for people who look at the directory.
    pub project: ProjectName,
    /// Its name, likewise.
    pub name: VmName,
    /// The grant that it was launched under.
    pub epoch: Epoch,
    /// What ran it.
    pub hypervisor: HypervisorKind,
    /// When that was.
    pub launched: Timestamp,
    /// What it was.
    pub spec: Arc<VmSpec>,
    /// What was made of it since, while it ran; `None` when nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<Arc<VmSpec>>,
    /// A change of which it is not known whether it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<BegunChange>,
}

fn path(dir: &RunDir) -> PathBuf {
    dir.path().join("launched.json")
}

impl Marker {
    /// Writes it into `dir`, which must be there. Blocks on the file system.
    pub fn write(&self, dir: &RunDir) -> io::Result<()> {
        let new = dir.path().join("launched.new");
        std::fs::write(&new, version::json(self)?)?;
        std::fs::rename(new, path(dir))
    }

    /// What runs in `dir`, where its process is still the one that this was written for.
    pub fn runs(&self, dir: &RunDir) -> Runs {
        Runs {
            kind: self.hypervisor,
            walled: dir.user().is_some(),
            started: Arc::clone(&self.spec),
            is: Arc::clone(self.changed.as_ref().unwrap_or(&self.spec)),
            begun: self.begun.clone(),
        }
    }

    /// Reads it from `dir`; `None` when there is none, or none that can be read, which is told. Blocks on the file
    /// system.
    pub fn read(dir: &RunDir) -> Option<Self> {
        let path = path(dir);
        let read = version::of_json(&std::fs::read(&path).ok()?);
        read.inspect_err(|error| tracing::error!(path = %path.display(), "{error}"))
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_marker_is_written_as_it_was_and_read_as_what_it_is() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = RunDir::new(temporary.path()).unwrap();
        let spec = r#"{"cpu":1,"memory":"64MiB","boot":{"kernel":"vmlinuz"},"onHostLoss":"failover"}"#;
        let marker = Marker {
            vm: VmId::from_bytes([3; 16]),
            project: "default".parse().unwrap(),
            name: "web".parse().unwrap(),
            epoch: Epoch(chv_domain::Seq(9)),
            hypervisor: HypervisorKind::QemuTcg,
            launched: Timestamp(1_700_000_000_000),
            spec: serde_json::from_str(spec).unwrap(),
            changed: Some(serde_json::from_str(spec).unwrap()),
            begun: Some(BegunChange {
                change: crate::plan::Change::DetachDisk("data".parse().unwrap()),
                is: serde_json::from_str(spec).unwrap(),
            }),
        };
        marker.write(&dir).unwrap();
        version::assert_golden("launched.json", &std::fs::read(path(&dir)).unwrap());
        assert_eq!(Marker::read(&dir), Some(marker));
        // and one of a newer version is none.
        std::fs::write(path(&dir), r#"{"version":2}"#).unwrap();
        assert_eq!(Marker::read(&dir), None);
    }
}
