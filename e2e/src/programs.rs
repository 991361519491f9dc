//! Where the programs and the guest lie that a rig starts.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The workspace's directory: templates and examples are read there.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this package is in a directory of the workspace")
}

/// The directory with the guest's `vmlinuz` and `initramfs.cpio`.
///
/// # Errors
/// When they are not built.
pub fn guest_dir() -> Result<PathBuf> {
    let dir = workspace().join("target/guest");
    for file in ["vmlinuz", "initramfs.cpio"] {
        let file = dir.join(file);
        if !file.is_file() {
            bail!("there is no {}: `make guest` builds it", file.display());
        }
    }
    Ok(dir)
}

/// One of Chronovisor's programs, built with the same profile as the running one.
///
/// # Errors
/// When it is not built.
pub fn find(name: &str) -> Result<PathBuf> {
    let running = std::env::current_exe().context("can't tell where this program lies")?;
    let dir = running.parent().context("this program lies nowhere")?;
    // Cargo puts tests one directory below the programs.
    let dir = if dir.ends_with("deps") {
        dir.parent().unwrap_or(dir)
    } else {
        dir
    };
    let program = dir.join(name);
    if !program.is_file() {
        bail!(
            "there is no {}: `make build` builds it, for tests and the demo alike",
            program.display()
        );
    }
    Ok(program)
}
