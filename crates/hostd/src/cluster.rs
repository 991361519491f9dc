//! Which cluster this host belongs to: the first one that it registered with, kept in a file of its own. Another
//! one's wishes would end every guest here, for it knows none of them. Nothing here speaks to a leader.

use std::io;
use std::path::{Path, PathBuf};

use chv_domain::ClusterId;

use crate::data_dir::{DataDirError, write_durably};
use crate::version;

/// What this host knows of its cluster.
#[derive(Debug, Clone)]
pub struct Membership {
    path: PathBuf,
    known: Option<ClusterId>,
}

/// Whose a leader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kin {
    /// This host's cluster's, or of one that names none while this host knows none.
    Ours,
    /// The first cluster that this host meets.
    New(ClusterId),
    /// Another cluster's.
    Foreign,
}

impl Membership {
    /// Reads what `path` says; nothing is known when there is no such file. Blocks on the file system.
    pub(crate) fn read(path: &Path) -> Result<Self, DataDirError> {
        let known = match std::fs::read_to_string(path) {
            Ok(text) => Some(version::of_line(&text).map_err(|source| DataDirError::Cluster {
                path: path.to_owned(),
                source,
            })?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => {
                return Err(DataDirError::Io {
                    path: path.to_owned(),
                    source,
                });
            }
        };
        Ok(Self {
            path: path.to_owned(),
            known,
        })
    }

    /// The cluster; `None` before the first registration.
    pub(crate) const fn known(&self) -> Option<ClusterId> {
        self.known
    }

    /// Whose the leader is that says that its cluster is `named`.
    pub(crate) fn kin(&self, named: &str) -> Kin {
        match (named.parse::<ClusterId>(), self.known) {
            (Ok(named), Some(known)) if named == known => Kin::Ours,
            (Ok(named), None) => Kin::New(named),
            (Err(_), None) if named.is_empty() => Kin::Ours,
            (Ok(_), Some(_)) | (Err(_), _) => Kin::Foreign,
        }
    }

    /// From now on this host is of `cluster`; when this returns, that survives a loss of power.
    pub(crate) async fn join(&mut self, cluster: ClusterId) -> io::Result<()> {
        let path = self.path.clone();
        tokio::task::spawn_blocking(move || write_durably(&path, version::line(cluster).as_bytes()))
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)))?;
        self.known = Some(cluster);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: ClusterId = ClusterId::from_bytes([1; 16]);
    const OTHER: ClusterId = ClusterId::from_bytes([2; 16]);

    #[tokio::test]
    async fn golden_cluster_of_a_host_that_joined_is_its_own_alone_and_the_next_daemon_knows_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cluster");
        let mut host = Membership::read(&path).unwrap();
        assert_eq!(host.kin(""), Kin::Ours);
        assert_eq!(host.kin(&OTHER.to_string()), Kin::New(OTHER));
        host.join(OURS).await.unwrap();
        version::assert_golden("cluster", &std::fs::read(&path).unwrap());
        for host in [host, Membership::read(&path).unwrap()] {
            assert_eq!(host.kin(&OURS.to_string()), Kin::Ours);
            for other in [&OTHER.to_string(), "", "hello"] {
                assert_eq!(host.kin(other), Kin::Foreign, "{other:?}");
            }
        }
    }

    #[test]
    fn given_a_file_that_names_no_cluster_then_it_is_refused_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cluster");
        for text in ["hello".to_owned(), format!("2 {OURS} and more")] {
            std::fs::write(&path, &text).unwrap();
            assert!(matches!(
                Membership::read(&path),
                Err(DataDirError::Cluster { .. })
            ));
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }
}
