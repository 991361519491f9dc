//! Where in a spec a field is, as people write it: `disks[root].queues`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest path, in bytes.
const MAX_BYTES: usize = 128;

/// A field of a spec, as a path from its root.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FieldPath(String);

/// A text that is no path of a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no field of a spec: such as cpu.max or disks[root].queues, at most {MAX_BYTES} letters, digits, -, _, ., [ and ]"
)]
pub struct FieldPathError(String);

impl FieldPath {
    /// All of the spec.
    pub fn whole() -> Self {
        Self("spec".to_owned())
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for FieldPath {
    type Error = FieldPathError;

    fn try_from(text: String) -> Result<Self, FieldPathError> {
        let plain =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'[' | b']');
        match (1..=MAX_BYTES).contains(&text.len()) && text.bytes().all(plain) {
            true => Ok(Self(text)),
            false => Err(FieldPathError(text)),
        }
    }
}

impl From<FieldPath> for String {
    fn from(path: FieldPath) -> String {
        path.0
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
