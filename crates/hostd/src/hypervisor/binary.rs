//! Finds a hypervisor's program, and asks it which version it is. Starts no machine.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use chv_domain::HypervisorKind;
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::error::HypervisorError;

/// How long a program may take to tell its version.
const VERSION_LIMIT: Duration = Duration::from_secs(10);

/// A hypervisor's program on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binary {
    /// Where it is: absolute.
    pub path: PathBuf,
    /// The first line that it prints when asked for its version.
    pub version: String,
}

impl Binary {
    /// Finds the program that the environment's `variable` names, else `name` on the PATH, and asks it for
    /// its version.
    pub(super) async fn find(
        kind: HypervisorKind,
        variable: &'static str,
        name: &'static str,
    ) -> Result<Self, HypervisorError> {
        let missing = |looked_for| HypervisorError::NotInstalled { kind, looked_for };
        let path = match std::env::var_os(variable).filter(|value| !value.is_empty()) {
            Some(path) => std::path::absolute(&path)
                .map_err(|error| missing(format!("{variable}={}: {error}", path.to_string_lossy())))?,
            None => on_the_path(name, std::env::var_os("PATH").as_deref()).ok_or_else(|| {
                missing(format!(
                    "there is no {name} on the PATH; install it, or let {variable} say where it is"
                ))
            })?,
        };
        let at = path.display().to_string();
        Self::at(path).await.map_err(|why| {
            missing(format!(
                "{at} --version fails: {why}; install it, or correct {variable}"
            ))
        })
    }

    /// The program `path`; why not, when it doesn't say its version.
    pub(super) async fn at(path: PathBuf) -> Result<Self, String> {
        let version = version(&path, &["--version"]).await?;
        Ok(Self { path, version })
    }
}

/// The first line that `binary` prints with `args`; why not, when it fails.
pub(super) async fn version(binary: &Path, args: &[&str]) -> Result<String, String> {
    let mut command = Command::new(binary);
    command
        .args(args)
        .env_clear()
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(VERSION_LIMIT, command.output())
        .await
        .map_err(|_| format!("no answer within {VERSION_LIMIT:?}"))?
        .map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.lines().next() {
        Some(line) if output.status.success() => Ok(line.trim().to_owned()),
        _ => Err(format!(
            "{}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        )),
    }
}

fn on_the_path(name: &str, path: Option<&OsStr>) -> Option<PathBuf> {
    std::env::split_paths(path?)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(name))
        .find(|file| rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok() && file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_path_then_only_an_executable_file_on_it_is_found() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("plain"), "").unwrap();
        std::fs::create_dir(dir.path().join("sh")).unwrap();
        let path = std::env::join_paths([dir.path(), Path::new("relative"), Path::new("/bin")]).unwrap();
        assert_eq!(on_the_path("sh", Some(&path)), Some("/bin/sh".into()));
        assert_eq!(on_the_path("plain", Some(&path)), None);
        assert_eq!(on_the_path("sh", None), None);
    }

    #[tokio::test]
    async fn given_a_program_that_fails_when_asked_for_its_version_then_the_reason_is_told() {
        let why = version(Path::new("/bin/sh"), &["-c", "echo out; echo sorry >&2; exit 3"])
            .await
            .unwrap_err();
        assert!(why.contains("3") && why.contains("sorry"), "{why}");
        assert_eq!(
            version(Path::new("/bin/sh"), &["-c", "echo v1; echo more"]).await,
            Ok("v1".to_owned())
        );
    }
}
