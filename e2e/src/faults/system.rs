//! Running one of the system's programs: mount, ip and the like.

use std::ffi::OsStr;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Runs it and waits for its end.
///
/// # Errors
/// When it can't be run or fails, with what it said.
pub(super) fn run<A: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = A>) -> Result<()> {
    let mut command = Command::new(program);
    // Debian leaves these out of a person's PATH.
    let path = std::env::var("PATH").unwrap_or_default();
    command.args(args).env("PATH", format!("{path}:/usr/sbin:/sbin"));
    let output = command.output().with_context(|| format!("can't run {program}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?} fails: {}", said.trim());
    }
    Ok(())
}
