//! Names that people give: DNS labels (RFC 1123), so that each is also a token of a NATS subject and a
//! host name. Most are short, and lie where they are used: each replica reads several for each record, and the projection's
//! tables copy their keys with each change.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smol_str::SmolStr;

use crate::text::Parse;

/// The longest label that DNS allows, in bytes.
pub const MAX_LABEL: usize = 63;

/// Why a text is not a DNS label.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing there.
    #[error("a {kind} name can't be empty")]
    Empty {
        /// What the name was for.
        kind: &'static str,
    },
    /// Over 63 bytes.
    #[error("a {kind} name has at most {MAX_LABEL} characters, this one has {length}")]
    TooLong {
        /// What the name was for.
        kind: &'static str,
        /// Its length in bytes.
        length: usize,
    },
    /// A character outside a-z, 0-9 and -, or a - at an end.
    #[error("{text:?} is not a {kind} name: use a-z, 0-9 and -, with a letter or digit at both ends")]
    Grammar {
        /// What the name was for.
        kind: &'static str,
        /// The text as given.
        text: String,
    },
}

/// Whether a text could be any of these names.
pub fn is_label(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=MAX_LABEL).contains(&text.len())
        && text.bytes().all(allowed)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn check(kind: &'static str, text: &str) -> Result<(), NameError> {
    if is_label(text) {
        return Ok(());
    }
    if text.is_empty() {
        return Err(NameError::Empty { kind });
    }
    if text.len() > MAX_LABEL {
        return Err(NameError::TooLong {
            kind,
            length: text.len(),
        });
    }
    Err(NameError::Grammar {
        kind,
        text: text.to_owned(),
    })
}

macro_rules! label {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(SmolStr);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                check($kind, text).map(|()| Self(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                check($kind, &text).map(|()| Self(text.into()))
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.as_str().to_owned()
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(Parse::new(concat!("a ", $kind, " name")))
            }
        }
    };
}

label!(
    /// A VM's name, unique in its project.
    VmName,
    "VM"
);
label!(
    /// A project: the scope in which names are unique.
    ProjectName,
    "project"
);
label!(
    /// A host's name, unique in the cluster; also its token in NATS subjects.
    HostName,
    "host"
);
label!(
    /// A person's or program's NATS user; also its token in NATS subjects.
    UserName,
    "user"
);

impl Default for ProjectName {
    /// `default`, the project of whoever names none.
    fn default() -> Self {
        Self(SmolStr::new_static("default"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_dns_label_is_a_name(text in "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?") {
            let name: VmName = text.parse().unwrap();
            prop_assert_eq!(name.as_str(), text);
        }

        #[test]
        fn anything_else_is_refused_and_never_panics(text in ".{0,80}") {
            let label = !text.is_empty() && text.len() <= MAX_LABEL
                && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                && !text.starts_with('-') && !text.ends_with('-');
            prop_assert_eq!(text.parse::<VmName>().is_ok(), label);
        }
    }

    #[test]
    fn a_refusal_says_what_to_use() {
        let refusal = "Web_1".parse::<VmName>().unwrap_err().to_string();
        assert!(
            refusal.contains("\"Web_1\"") && refusal.contains("a-z, 0-9 and -"),
            "{refusal}"
        );
    }
}
