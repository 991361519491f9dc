//! What a VM's directory says of itself, so that a lost ledger can be built again from the directories.

use std::io;
use std::path::PathBuf;

use chv_domain::{Epoch, HypervisorKind, ProjectName, Timestamp, VmId, VmName, VmSpec};
use serde::{Deserialize, Serialize};

use crate::hypervisor::RunDir;

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
    pub spec: VmSpec,
}

fn path(dir: &RunDir) -> PathBuf {
    dir.path().join("launched.json")
}

impl Marker {
    /// Writes it into `dir`, which must be there. Blocks on the file system.
    pub fn write(&self, dir: &RunDir) -> io::Result<()> {
        let new = dir.path().join("launched.new");
        std::fs::write(&new, serde_json::to_vec_pretty(self)?)?;
        std::fs::rename(new, path(dir))
    }

    /// Reads it from `dir`; `None` when there is none, or none that can be read. Blocks on the file system.
    pub fn read(dir: &RunDir) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(path(dir)).ok()?).ok()
    }
}
