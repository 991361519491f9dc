//! Which file of this host a spec's path means, and whether a spec may name it. Opens no file: whether it can be
//! read is seen when the machine is launched.

use std::io;
use std::path::{Path, PathBuf};

use chv_domain::VmSpec;
use chv_domain::spec::{HostPath, Nic, NicBackend};

use crate::hypervisor::{Attached, MachineFiles, Payload};

/// The directories that VMs' files may be in.
#[derive(Debug, Clone)]
pub struct Files {
    images: PathBuf,
    allowed: Vec<PathBuf>,
}

/// Why a path is no file for a VM. The host goes on trying: what is missing may come.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The spec names none to boot. None that the leader took does.
    #[error("the VM has neither a kernel nor firmware; create it with one of the two")]
    Nothing,
    /// It can't be found.
    #[error(
        "{asked} is {path} on this host, which can't be found: {source}; put it there or correct the path"
    )]
    NotFound {
        /// As the spec says it.
        asked: HostPath,
        /// Where that is.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is somewhere else than VMs' files may be.
    #[error(
        "{asked} is {path} on this host, outside of the image directory {images}; put it there, or start \
         chv-hostd with --allow-path {parent}"
    )]
    NotAllowed {
        /// As the spec says it.
        asked: HostPath,
        /// Where that is, links followed.
        path: PathBuf,
        /// The directory to allow.
        parent: PathBuf,
        /// The image directory.
        images: PathBuf,
    },
}

impl Files {
    /// Files beneath `images`, where relative paths begin, and beneath `allowed`.
    pub const fn new(images: PathBuf, allowed: Vec<PathBuf>) -> Self {
        Self { images, allowed }
    }

    /// The file that `asked` means. Links are followed before it is looked at where it is. Blocks on the file system.
    pub fn resolve(&self, asked: &HostPath) -> Result<PathBuf, FileError> {
        // An absolute path replaces the directory that it is joined to.
        let path = self.images.join(asked.as_str());
        let found = path.canonicalize().map_err(|source| FileError::NotFound {
            asked: asked.clone(),
            path: path.clone(),
            source,
        })?;
        let within = |dir: &PathBuf| dir.canonicalize().is_ok_and(|dir| found.starts_with(dir));
        if within(&self.images) || self.allowed.iter().any(within) {
            return Ok(found);
        }
        let parent = found.parent().unwrap_or(Path::new("/")).to_owned();
        Err(FileError::NotAllowed {
            asked: asked.clone(),
            path: found,
            parent,
            images: self.images.clone(),
        })
    }

    /// Where the files of `spec` are that an operator put on this host. Blocks on the file system.
    pub fn of(&self, spec: &VmSpec) -> Result<MachineFiles, FileError> {
        let VmSpec { boot, disks, .. } = spec;
        let all = |paths: &mut dyn Iterator<Item = &HostPath>| -> Result<Vec<PathBuf>, FileError> {
            paths.map(|path| self.resolve(path)).collect()
        };
        let one = |path: Option<&HostPath>| path.map(|path| self.resolve(path)).transpose();
        let switch = |nic: &Nic| match &nic.backend {
            NicBackend::VhostUser(socket) => self.resolve(socket).map(Some),
            NicBackend::User | NicBackend::Tap(_) | NicBackend::VhostUserServer => Ok(None),
        };
        let attached = Attached {
            serial: one(spec.serial.file())?,
            console: one(spec.console.0.file())?,
            switches: spec.nics.iter().map(switch).collect::<Result<_, _>>()?,
            shares: all(&mut spec.shares.iter().map(|share| &share.socket))?,
            pmem: all(&mut spec.pmem.iter().map(|pmem| &pmem.path))?,
            tpm: one(spec.tpm.as_ref())?,
        };
        let payload = match (&boot.kernel, &boot.firmware) {
            (Some(kernel), _) => Payload::Kernel {
                kernel: self.resolve(kernel)?,
                initramfs: boot
                    .initramfs
                    .as_ref()
                    .map(|path| self.resolve(path))
                    .transpose()?,
            },
            (None, Some(firmware)) => Payload::Firmware(self.resolve(firmware)?),
            (None, None) => return Err(FileError::Nothing),
        };
        Ok(MachineFiles {
            payload,
            disks: disks
                .iter()
                .map(|disk| self.resolve(&disk.path))
                .collect::<Result<_, _>>()?,
            seed: None,
            attached,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn path(text: &str) -> HostPath {
        text.to_owned().try_into().unwrap()
    }

    struct Disk {
        _dir: tempfile::TempDir,
        root: PathBuf,
        files: Files,
    }

    fn disk() -> Disk {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for name in ["images", "extra", "secret"] {
            std::fs::create_dir(root.join(name)).unwrap();
            std::fs::write(root.join(name).join("file"), name).unwrap();
        }
        let files = Files::new(root.join("images"), vec![root.join("extra")]);
        Disk {
            _dir: dir,
            root,
            files,
        }
    }

    #[test]
    fn given_relative_and_allowed_paths_then_they_are_found() {
        let disk = disk();
        assert_eq!(
            disk.files.resolve(&path("file")).unwrap(),
            disk.root.join("images/file")
        );
        for name in ["images/file", "extra/file"] {
            let absolute = disk.root.join(name);
            assert_eq!(
                disk.files.resolve(&path(absolute.to_str().unwrap())).unwrap(),
                absolute
            );
        }
    }

    #[test]
    fn given_a_path_or_a_link_that_leads_elsewhere_then_the_refusal_names_the_flag() {
        let disk = disk();
        symlink(disk.root.join("secret/file"), disk.root.join("images/link")).unwrap();
        symlink(disk.root.join("secret"), disk.root.join("images/dir")).unwrap();
        let absolute = disk.root.join("secret/file");
        for asked in ["link", "dir/file", absolute.to_str().unwrap()] {
            let error = disk.files.resolve(&path(asked)).unwrap_err();
            let flag = format!("--allow-path {}", disk.root.join("secret").display());
            assert!(error.to_string().contains(&flag), "{error}");
        }
    }

    #[test]
    fn given_a_file_that_is_not_there_then_the_error_says_where_it_was_looked_for() {
        let disk = disk();
        let error = disk.files.resolve(&path("none/vmlinuz")).unwrap_err().to_string();
        assert!(
            error.contains(disk.root.join("images/none/vmlinuz").to_str().unwrap()),
            "{error}"
        );
    }
}
