//! Makes disks for machines from directories, and finds what a program needs beside itself to run from one.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The files that the dynamic linker takes for a program, itself included.
pub(super) fn linked_with(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd")
        .arg(program)
        .output()
        .context("can't run ldd")?;
    let text = String::from_utf8(output.stdout)?;
    let files = text.split_whitespace().filter(|word| word.starts_with('/'));
    Ok(files.map(PathBuf::from).collect())
}

pub(super) fn make_file_system(image: &Path, content: &Path, features: &str) -> Result<()> {
    let mut make = Command::new("mkfs.ext4");
    // Debian leaves it out of a person's PATH.
    let path = std::env::var("PATH").unwrap_or_default();
    make.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    make.args(["-q", "-F", "-b", "4096", "-O", features]);
    make.args(["-E", "lazy_itable_init=0,lazy_journal_init=0", "-d"]);
    run(make.arg(content).arg(image))
}

pub(super) fn run(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("can't run {command:?}"))?;
    if !output.status.success() {
        bail!(
            "{command:?} fails: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
