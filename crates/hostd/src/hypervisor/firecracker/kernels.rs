//! Uncompressed kernels: Firecracker boots an ELF file alone, and distributions' kernels are compressed. One is unpacked
//! once, and kept beside others in a directory of the host's.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use chv_kernel::KernelError;

use crate::hypervisor::instance::on_a_blocking_thread;

/// How many are kept. One that is taken away is unpacked again when it is asked for.
const KEPT: usize = 8;

const ELF: &[u8] = b"\x7fELF";

/// The directory.
#[derive(Debug, Clone)]
pub(super) struct Kernels(PathBuf);

/// Why there is no uncompressed kernel.
#[derive(Debug)]
pub(super) enum NoKernel {
    /// It is compressed in a way that is not known here.
    Compression(KernelError),
    /// A file can't be read or written.
    Io(io::Error),
}

impl Kernels {
    pub(super) fn new(directory: &Path) -> Self {
        Self(directory.to_owned())
    }

    /// The uncompressed form of `kernel`: itself, where it is uncompressed, or no kernel, for Firecracker to refuse.
    pub(super) async fn uncompressed(&self, kernel: &Path) -> Result<PathBuf, NoKernel> {
        let (kernels, kernel) = (self.clone(), kernel.to_owned());
        let found = on_a_blocking_thread(move || match kernels.look(&kernel) {
            Err(NoKernel::Io(error)) => Err(error),
            other => Ok(other),
        });
        found.await.unwrap_or_else(|error| Err(NoKernel::Io(error)))
    }

    fn look(&self, kernel: &Path) -> Result<PathBuf, NoKernel> {
        let mut file = fs::File::open(kernel).map_err(NoKernel::Io)?;
        let kept = self.0.join(stamp(&file).map_err(NoKernel::Io)?);
        if kept.exists() {
            return Ok(kept);
        }
        let mut image = Vec::new();
        file.read_to_end(&mut image).map_err(NoKernel::Io)?;
        if image.starts_with(ELF) {
            return Ok(kernel.to_owned());
        }
        match chv_kernel::unpack(&image) {
            Ok(unpacked) => self.keep(&kept, &unpacked).map_err(NoKernel::Io).map(|()| kept),
            Err(KernelError::NotAnImage) => Ok(kernel.to_owned()),
            Err(error) => Err(NoKernel::Compression(error)),
        }
    }

    /// Moved into place whole, and flushed before: several may do it at once, and power may fail.
    fn keep(&self, kept: &Path, kernel: &[u8]) -> io::Result<()> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&self.0)?;
        let nanos = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
        let new = kept.with_extension(format!("{}-{nanos}.new", std::process::id()));
        let mut file = fs::File::create(&new)?;
        file.write_all(kernel)?;
        file.sync_all()?;
        fs::rename(&new, kept)?;
        self.forget_the_oldest()
    }

    fn forget_the_oldest(&self) -> io::Result<()> {
        let mut files: Vec<(SystemTime, PathBuf)> = fs::read_dir(&self.0)?
            .flatten()
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        files.sort();
        let many = files.len().saturating_sub(KEPT);
        files
            .iter()
            .take(many)
            .try_for_each(|(_, file)| fs::remove_file(file))
    }
}

/// Names the content of a file without reading it.
fn stamp(file: &fs::File) -> io::Result<String> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let (dev, ino, size) = (metadata.dev(), metadata.ino(), metadata.len());
    let (seconds, nanos) = (metadata.mtime(), metadata.mtime_nsec());
    Ok(format!("{dev:x}-{ino:x}-{size:x}-{seconds:x}-{nanos:x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn given_what_is_uncompressed_or_no_kernel_then_it_is_taken_as_it_is_and_nothing_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (cache, kernel) = (dir.path().join("kernels"), dir.path().join("kernel"));
        for content in ["\x7fELF and the rest", "no kernel"] {
            fs::write(&kernel, content).unwrap();
            assert_eq!(Kernels::new(&cache).uncompressed(&kernel).await.unwrap(), kernel);
        }
        assert!(!cache.exists());
        let absent = Kernels::new(&cache)
            .uncompressed(&dir.path().join("absent"))
            .await;
        assert!(matches!(absent, Err(NoKernel::Io(_))));
    }

    #[tokio::test]
    async fn given_debians_kernel_then_it_is_unpacked_once_and_again_when_it_changes_needs_guest() {
        let dir = tempfile::tempdir().unwrap();
        let kernels = Kernels::new(&dir.path().join("kernels"));
        let kernel = dir.path().join("vmlinuz");
        fs::copy(crate::hypervisor::tests::guest_file("vmlinuz"), &kernel).unwrap();

        let first = kernels.uncompressed(&kernel).await.unwrap();
        assert!(fs::read(&first).unwrap().starts_with(ELF));
        let unpacked = fs::metadata(&first).unwrap().ino();
        assert_eq!(kernels.uncompressed(&kernel).await.unwrap(), first);
        assert_eq!(fs::metadata(&first).unwrap().ino(), unpacked);

        fs::File::open(&kernel)
            .unwrap()
            .set_modified(SystemTime::UNIX_EPOCH)
            .unwrap();
        assert_ne!(kernels.uncompressed(&kernel).await.unwrap(), first);
    }
}
