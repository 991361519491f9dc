//! Running the real `chv`, as a person would.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use crate::program::foreign_variables;
use crate::programs::find;

/// Longer than any wait of `chv` itself.
const PATIENCE: Duration = Duration::from_secs(120);

/// What came of a run of `chv`.
#[derive(Debug, Clone)]
pub struct Output {
    /// What was run.
    pub command: String,
    /// The exit code; -1 when a signal ended it.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it said besides.
    pub stderr: String,
}

impl Output {
    /// Itself, when it ended with 0.
    ///
    /// # Errors
    /// With all that it said otherwise.
    pub fn done(self) -> Result<Self> {
        self.exited_with(0)
    }

    /// Itself, when it ended with `code`.
    ///
    /// # Errors
    /// With all that it said otherwise.
    pub fn exited_with(self, code: i32) -> Result<Self> {
        if self.code != code {
            bail!(
                "`{}` ended with {} instead of {code}:\n{}{}",
                self.command,
                self.code,
                self.stdout,
                self.stderr
            );
        }
        Ok(self)
    }

    /// What it printed, as JSON.
    ///
    /// # Errors
    /// When it is not.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_str(&self.stdout)
            .with_context(|| format!("`{}` printed no JSON: {}", self.command, self.stdout))
    }
}

/// `chv` with these arguments and variables, and none of whoever runs the rig.
///
/// # Errors
/// When it is not built.
pub fn command<A: AsRef<str>>(environment: &[(String, String)], args: &[A]) -> Result<Command> {
    let mut command = Command::new(find("chv")?);
    for name in foreign_variables() {
        command.env_remove(name);
    }
    command
        .args(args.iter().map(AsRef::as_ref))
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    Ok(command)
}

/// Runs `chv` with these variables, and waits for its end.
///
/// # Errors
/// When it can't be run, or does not end within two minutes.
pub async fn run<A: AsRef<str>>(environment: &[(String, String)], args: &[A]) -> Result<Output> {
    let shown = shown(args);
    let output = tokio::time::timeout(PATIENCE, command(environment, args)?.output());
    let output = output
        .await
        .with_context(|| format!("`{shown}` has not ended after {PATIENCE:?}"))??;
    Ok(Output {
        command: shown,
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// The command as a person would type it.
pub fn shown<A: AsRef<str>>(args: &[A]) -> String {
    let words: Vec<&str> = std::iter::once("chv")
        .chain(args.iter().map(AsRef::as_ref))
        .collect();
    words.join(" ")
}
