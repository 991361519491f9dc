//! What can be wrong with a message, and the refusal that tells its sender so.

use std::fmt;

use chv_domain::CommandId;

use crate::v1;

/// A field whose value is no domain value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct WireError {
    /// The field as a path from the message's root, such as `create_vm.spec.vcpus`.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
}

impl WireError {
    /// `problem` with the field `field`.
    pub fn new(field: impl Into<String>, problem: impl fmt::Display) -> Self {
        Self {
            field: field.into(),
            problem: problem.to_string(),
        }
    }

    /// A field that must be there and is not.
    pub(super) fn missing(field: impl Into<String>) -> Self {
        Self::new(field, "is missing")
    }

    /// The same, with the path continued upward: the field is inside of `parent`.
    #[must_use]
    pub(super) fn within(self, parent: impl fmt::Display) -> Self {
        Self {
            field: format!("{parent}.{}", self.field),
            problem: self.problem,
        }
    }
}

/// Parses the text of `field`.
pub(super) fn parse<T>(field: &str, text: &str) -> Result<T, WireError>
where
    T: std::str::FromStr<Err: fmt::Display>,
{
    text.parse().map_err(|error| WireError::new(field, error))
}

/// Parses the text of `field` unless it is empty, which stands for none.
pub(super) fn parse_optional<T>(field: &str, text: &str) -> Result<Option<T>, WireError>
where
    T: std::str::FromStr<Err: fmt::Display>,
{
    match text {
        "" => Ok(None),
        text => parse(field, text).map(Some),
    }
}

/// Why a payload is not what its subject says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct DecodeError {
    /// The command's id, when it could be read.
    pub id: Option<CommandId>,
    /// `malformed`, `unsupported_version`, `subject_mismatch` or `invalid`.
    pub code: &'static str,
    /// The field at fault, as a path; empty when it is none.
    pub field: String,
    /// What is wrong, and what to do.
    pub message: String,
}

impl DecodeError {
    /// An error with no particular field, in a message whose id is not known.
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            id: None,
            code,
            field: String::new(),
            message: message.into(),
        }
    }

    /// The same, with the path of its field continued upward.
    #[must_use]
    pub(super) fn within(self, parent: impl fmt::Display) -> Self {
        Self {
            field: match self.field.is_empty() {
                true => parent.to_string(),
                false => format!("{parent}.{}", self.field),
            },
            message: format!("{parent}: {}", self.message),
            ..self
        }
    }

    /// The same, in the command of this id.
    #[must_use]
    pub(super) fn of(self, id: Option<CommandId>) -> Self {
        Self { id, ..self }
    }
}

impl From<WireError> for DecodeError {
    fn from(error: WireError) -> Self {
        Self {
            id: None,
            code: "invalid",
            message: error.to_string(),
            field: error.field,
        }
    }
}

/// The envelope's version is not the one that is read here.
pub(super) fn other_version(found: u32) -> DecodeError {
    let message = format!(
        "version {found} of the envelope is not known here; send version {}",
        super::VERSION
    );
    DecodeError::new("unsupported_version", message)
}

/// The payload is something else than the subject says.
pub(super) fn mismatch(in_subject: &str, in_payload: &str) -> DecodeError {
    let message =
        format!("the subject says {in_subject}, the payload {in_payload}; send it on its own subject");
    DecodeError::new("subject_mismatch", message)
}

/// A refusal with no retry. `field` is empty when no field is at fault.
pub fn refused(code: &str, message: impl Into<String>, field: &str) -> v1::Refused {
    v1::Refused {
        code: code.to_owned(),
        message: message.into(),
        field: field.to_owned(),
        ..v1::Refused::default()
    }
}

/// The refusal of a message with a field that is no domain value.
pub fn refused_wire(error: &WireError) -> v1::Refused {
    refused("invalid", error.to_string(), &error.field)
}

/// The refusal of a payload that is not what its subject says.
pub fn refused_decode(error: &DecodeError) -> v1::Refused {
    refused(error.code, error.message.clone(), &error.field)
}
