//! Paths of others' choosing in QEMU's own lists of words.

use std::path::Path;

/// A path with its commas as QEMU reads them. What is not UTF-8 was refused before.
pub(super) fn quoted(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}
