//! How a rig's replicas know each other: by certificates that `chv-scheduler certs` makes, or by a shared secret.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::layout::password;
use crate::programs::find;

/// The id of every rig's cluster. Any ULID serves: the ports and the directory are a cluster's own.
pub const CLUSTER: &str = "01JD0000000000000000000000";

/// How replicas know each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Peering {
    /// By certificates, over TLS.
    #[default]
    Tls,
    /// By a secret, unencrypted: what TLS costs is measured against it.
    LoopbackSecret,
}

impl Peering {
    /// What the replica of this number, from 1, needs in its environment. Makes the certificates that are not there.
    pub(crate) fn environment(self, directory: &Path, number: usize) -> Result<Vec<(&'static str, String)>> {
        if self == Self::LoopbackSecret {
            return Ok(vec![("CHV_CLUSTER_SECRET", password(directory, "scheduler")?)]);
        }
        let (ca, own) = (directory.join("ca"), certificates(directory, number));
        if !ca.exists() {
            make_authority(&ca, CLUSTER)?;
        }
        if !own.exists() {
            issue(&ca, number, &own)?;
        }
        let file = |name: &str| {
            let path = own.join(name).into_os_string().into_string();
            path.map_err(|path| anyhow::anyhow!("{} is not UTF-8", path.display()))
        };
        Ok(vec![
            ("CHV_RAFT_CERT", file("replica.pem")?),
            ("CHV_RAFT_KEY", file("replica.key")?),
            ("CHV_RAFT_CA", file("ca.pem")?),
        ])
    }
}

/// Where the certificate of the replica of this number, from 1, lies below a cluster's directory.
pub fn certificates(directory: &Path, number: usize) -> PathBuf {
    directory.join(format!("certs-{number}"))
}

/// Makes an authority in the directory `ca`.
///
/// # Errors
/// When `chv-scheduler certs init-ca` fails, as it does when there is one.
pub fn make_authority(ca: &Path, cluster: &str) -> Result<()> {
    let out = ca.as_os_str();
    certs(&[
        "init-ca".as_ref(),
        "--cluster".as_ref(),
        cluster.as_ref(),
        "--out".as_ref(),
        out,
    ])
}

/// Issues, or renews, the certificate of the replica of this number, from 1.
///
/// # Errors
/// When `chv-scheduler certs issue` fails.
pub fn issue(ca: &Path, number: usize, out: &Path) -> Result<()> {
    let number = number.to_string();
    certs(&[
        "issue".as_ref(),
        "--ca".as_ref(),
        ca.as_os_str(),
        "--replica".as_ref(),
        number.as_ref(),
        "--out".as_ref(),
        out.as_os_str(),
    ])
}

fn certs(args: &[&std::ffi::OsStr]) -> Result<()> {
    let mut certs = Command::new(find("chv-scheduler")?);
    let output = certs.arg("certs").args(args).output();
    let output = output.context("can't run chv-scheduler certs")?;
    if !output.status.success() {
        bail!(
            "chv-scheduler certs fails: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
