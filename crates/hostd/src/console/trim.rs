//! Keeps the logs that guests and hypervisors write from filling the host's disk. Goes on whether or not the
//! broker is reached; while the daemon is down nobody does it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::log;
use crate::converge::Converge;

/// Between two looks at whether logs have become too long.
const EVERY: Duration = Duration::from_secs(10);

/// Trims the logs of `converge`'s VMs until `stop`.
pub async fn keep_short(converge: Converge, stop: CancellationToken) {
    let mut timer = tokio::time::interval(EVERY);
    let mut told = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = timer.tick() => {}
        }
        let logs = converge.logs();
        match tokio::task::spawn_blocking(move || trim_all(&logs)).await {
            Ok(Ok(())) => told = false,
            Ok(Err((path, error))) if !told => {
                told = true;
                tracing::warn!(
                    path = %path.display(), %error,
                    "the old part of a log stays on the disk: is this a file system that can't punch holes?"
                );
            }
            Ok(Err(_)) => {}
            Err(error) => tracing::warn!(%error, "logs are not trimmed"),
        }
    }
}

/// Trims each of them; the first failure, if any.
fn trim_all(logs: &[PathBuf]) -> Result<(), (PathBuf, io::Error)> {
    let failed = |path: &Path| log::trim(path).err().map(|error| (path.to_owned(), error));
    let mut failures: Vec<_> = logs.iter().filter_map(|path| failed(path)).collect();
    match failures.is_empty() {
        true => Ok(()),
        false => Err(failures.swap_remove(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_log_that_cant_be_trimmed_then_the_others_are_and_it_is_told() {
        // given a long log between one that is a directory and one that is not there
        let dir = tempfile::tempdir().unwrap();
        let (odd, long, none) = (
            dir.path().join("odd"),
            dir.path().join("long"),
            dir.path().join("none"),
        );
        std::fs::create_dir(&odd).unwrap();
        std::fs::write(&long, vec![b'x'; 12 << 20]).unwrap();
        // when they are trimmed
        let failure = trim_all(&[odd.clone(), long.clone(), none]).unwrap_err();
        // then the long one is short, and the odd one is named
        assert_eq!(failure.0, odd);
        let blocks = std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(&long).unwrap());
        assert!(blocks * 512 < 12 << 20, "{blocks} blocks");
    }
}
