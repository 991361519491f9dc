//! The disk that the machines of a cluster's replicas run their programs from.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::disks::{linked_with, make_file_system};
use crate::peering::certificates;
use crate::programs::find;

/// Debian's program that makes layers over disks.
const DMSETUP: &str = "/usr/sbin/dmsetup";

/// Where it is.
pub(super) fn programs(directory: &Path) -> PathBuf {
    directory.join("programs.ext4")
}

/// Makes the disk that all machines of a cluster run their programs from: the scheduler and dmsetup, what they are linked
/// with, and the replicas' certificates.
pub(crate) fn make_programs(directory: &Path, replicas: usize) -> Result<()> {
    let content = directory.join("programs");
    let libraries = content.join("lib64");
    fs::create_dir_all(&libraries)?;
    let program = find("chv-scheduler")?;
    let libraries_of = linked_with(&program)?
        .into_iter()
        .chain(linked_with(Path::new(DMSETUP))?);
    for library in libraries_of {
        let name = library.file_name().context("a library has a name")?;
        fs::copy(&library, libraries.join(name))?;
    }
    for program in [&program, Path::new(DMSETUP)] {
        let name = program.file_name().context("a program has a name")?;
        fs::copy(program, content.join(name)).with_context(|| format!("can't copy {}", program.display()))?;
    }
    for number in 1..=replicas {
        let (from, to) = (
            certificates(directory, number),
            content.join(format!("certs-{number}")),
        );
        fs::create_dir(&to)?;
        for file in fs::read_dir(from)? {
            let file = file?;
            fs::copy(file.path(), to.join(file.file_name()))?;
        }
    }
    let image = programs(directory);
    let room = 64 << 20;
    fs::File::create(&image)?.set_len(fs::metadata(&program)?.len() + room)?;
    make_file_system(&image, &content, "^metadata_csum,^has_journal")
}
