//! Why history can't be read or changed.

use std::io;
use std::path::PathBuf;

use chv_domain::ClusterId;

use super::format::FormatError;

/// Why history can't be read or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HistoryError {
    /// A file in it.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file is not what was written.
    #[error("{path}: {source}; it is set aside, and fetched from another replica if one has it")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What, and where.
        source: FormatError,
    },
    /// A file of another cluster.
    #[error("{path}: it belongs to cluster {found}, not to {expected}; move it away")]
    OtherCluster {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        found: ClusterId,
        /// Whose the directory is.
        expected: ClusterId,
    },
}
