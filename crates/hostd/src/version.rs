//! The version that each of a host's small files begins with, and how they are written with it and read: `1 <value>` on a
//! line, or JSON with `"version": 1`. Touches no file.

use std::fmt::Display;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The version that this code writes, and the only one that it reads.
const VERSION: u32 = 1;

/// Why a file's text is not what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Another version wrote it.
    #[error("has version {0}, this program reads {VERSION}; use the chv-hostd that wrote it, or a newer one")]
    Version(u32),
    /// It is something else.
    #[error("does not read as a file of version {VERSION}: {0}")]
    Form(String),
}

/// A line with `value`.
pub(crate) fn line(value: impl Display) -> String {
    format!("{VERSION} {value}\n")
}

/// The value of a line.
pub(crate) fn of_line<T: FromStr<Err: Display>>(text: &str) -> Result<T, Unreadable> {
    let form =
        |why: String| Unreadable::Form(format!("{:?}: {why}", text.chars().take(64).collect::<String>()));
    let Some((version, value)) = text.trim_end().split_once(' ') else {
        return Err(form(format!("not `{VERSION} <value>`")));
    };
    known(
        version
            .parse()
            .map_err(|_| form("it begins with no version".to_owned()))?,
    )?;
    value.parse().map_err(|error: T::Err| form(error.to_string()))
}

#[derive(Deserialize)]
struct Head {
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Whole<T> {
    version: u32,
    #[serde(flatten)]
    value: T,
}

/// JSON with `value`, which is written as an object.
pub(crate) fn json<T: Serialize>(value: &T) -> serde_json::Result<Vec<u8>> {
    let version = VERSION;
    let mut text = serde_json::to_vec_pretty(&Whole { version, value })?;
    text.push(b'\n');
    Ok(text)
}

/// The value of a JSON text. Nothing but its version is looked at before that is known.
pub(crate) fn of_json<T: DeserializeOwned>(text: &[u8]) -> Result<T, Unreadable> {
    let form = |error: serde_json::Error| Unreadable::Form(error.to_string());
    let Head { version } = serde_json::from_slice(text).map_err(form)?;
    known(version)?;
    let whole: Whole<T> = serde_json::from_slice(text).map_err(form)?;
    Ok(whole.value)
}

const fn known(version: u32) -> Result<(), Unreadable> {
    match version {
        VERSION => Ok(()),
        other => Err(Unreadable::Version(other)),
    }
}

/// For tests: `written` is what is kept in the golden file `name`; with `BLESS=1` it is from now on.
#[cfg(test)]
pub(crate) fn assert_golden(name: &str, written: &[u8]) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, written).unwrap();
    }
    let kept = std::fs::read(&path).unwrap();
    assert_eq!(
        String::from_utf8_lossy(&kept),
        String::from_utf8_lossy(written),
        "{name} is written otherwise than before: give it another version, and name it in CHANGELOG.md"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_what_another_version_wrote_then_it_is_refused_with_what_to_do_before_it_is_looked_into() {
        let newer = Unreadable::Version(2);
        assert_eq!(of_line::<u64>("2 of another form"), Err(newer.clone()));
        assert_eq!(of_json::<u64>(br#"{"version":2,"new":[]}"#), Err(newer.clone()));
        assert!(newer.to_string().contains("a newer one"), "{newer}");
    }

    #[test]
    fn given_a_value_then_it_is_read_back_and_junk_is_not() {
        assert_eq!(of_line(&line(7)), Ok(7));
        let value = std::collections::BTreeMap::from([("a".to_owned(), 7)]);
        assert_eq!(of_json(&json(&value).unwrap()), Ok(value));
        for junk in ["", "7", "x 7", "1 x", "1"] {
            assert!(matches!(of_line::<u64>(junk), Err(Unreadable::Form(_))), "{junk}");
            assert!(
                matches!(of_json::<u64>(junk.as_bytes()), Err(Unreadable::Form(_))),
                "{junk}"
            );
        }
    }
}
