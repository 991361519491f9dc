//! Which replica of which cluster a data directory belongs to. Written once, before anything else.

use std::path::{Path, PathBuf};

use chv_domain::{ClusterId, DirectoryId, ReplicaId};
use serde::{Deserialize, Serialize};

use super::{Dir, FileError};

const FILE: &str = "identity";

/// The version of a data directory's layout.
pub(crate) const LAYOUT: u32 = 1;

/// Whose data directory it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    layout: u32,
    /// The cluster.
    pub(crate) cluster: ClusterId,
    /// The replica.
    pub(crate) replica: ReplicaId,
    /// The directory itself: one that is made anew has another.
    pub(crate) directory: DirectoryId,
}

/// Why a data directory can't be made or taken.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Something is there already.
    #[error("{0} is not empty; choose another directory, or run the replica that is there")]
    NotEmpty(PathBuf),
    /// Nothing is there.
    #[error("{0} is no replica's data directory; make it with `chv-scheduler init`")]
    Missing(PathBuf),
    /// Another layout.
    #[error(
        "{path} has layout {found}, this program knows {LAYOUT}; use the program that made it, or a later one"
    )]
    Layout {
        /// The directory.
        path: PathBuf,
        /// Its layout.
        found: u32,
    },
    /// A file in it.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Identity {
    #[cfg(test)]
    pub(crate) fn for_tests(cluster: ClusterId, replica: ReplicaId) -> Self {
        Self {
            layout: LAYOUT,
            cluster,
            replica,
            directory: DirectoryId::from_bytes([7; 16]),
        }
    }

    /// Makes `path` the data directory of `replica`. Refuses one that holds anything.
    pub(crate) fn init(path: &Path, cluster: ClusterId, replica: ReplicaId) -> Result<Self, IdentityError> {
        Self {
            layout: LAYOUT,
            cluster,
            replica,
            directory: DirectoryId::from_bytes(rand::random()),
        }
        .write(path)
    }

    pub(crate) fn write(self, path: &Path) -> Result<Self, IdentityError> {
        let io = |source| FileError::Io {
            path: path.to_owned(),
            source,
        };
        let dir = Dir::open(path).map_err(io)?;
        if std::fs::read_dir(path).map_err(io)?.next().is_some() {
            return Err(IdentityError::NotEmpty(path.to_owned()));
        }
        dir.replace(FILE, &self)?;
        Ok(self)
    }

    pub(crate) fn read(dir: &Dir) -> Result<Self, IdentityError> {
        let identity: Self = dir
            .read(FILE)?
            .ok_or_else(|| IdentityError::Missing(dir.path().to_owned()))?;
        if identity.layout != LAYOUT {
            return Err(IdentityError::Layout {
                path: dir.path().to_owned(),
                found: identity.layout,
            });
        }
        Ok(identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_of_a_newer_layout_is_refused_with_what_to_do() {
        let temp = tempfile::tempdir().unwrap();
        let (cluster, replica) = (ClusterId::from_bytes([9; 16]), ReplicaId::new(1).unwrap());
        let identity = Identity::init(temp.path(), cluster, replica).unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        assert_eq!(Identity::read(&dir).unwrap(), identity);
        let newer = Identity {
            layout: LAYOUT + 1,
            ..identity
        };
        dir.replace(FILE, &newer).unwrap();
        let refused = Identity::read(&dir).unwrap_err().to_string();
        assert!(refused.contains("a later one"), "{refused}");
    }
}
