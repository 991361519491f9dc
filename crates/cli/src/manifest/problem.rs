//! What is wrong with a manifest: where, what, and what to write instead.

use std::fmt;

use chv_domain::spec::Fault;
use serde_saphyr::{Error, Location};

use super::VmManifest;
use super::source::Source;

/// A place in a source; line and column count from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The source's name.
    pub source: String,
    /// The line.
    pub line: u64,
    /// The column, in characters.
    pub column: u64,
}

impl Place {
    pub(super) fn at(source: &Source, location: Location) -> Self {
        Self {
            source: source.name.clone(),
            line: location.line().max(1),
            column: location.column().max(1),
        }
    }

    /// The first place after the text `before`.
    pub(super) fn after(source: String, before: &str) -> Self {
        let (lines, last) = before.rsplit_once('\n').map_or((0, before), |(above, last)| {
            (above.matches('\n').count() + 1, last)
        });
        Self {
            source,
            line: lines as u64 + 1,
            column: last.chars().count() as u64 + 1,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.source, self.line, self.column)
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}")]
pub(crate) struct Problem {
    /// Where.
    pub place: Place,
    /// What.
    pub what: String,
}

/// All that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for problem in &self.0 {
            write!(f, "{separator}{problem}")?;
            separator = "\n";
        }
        Ok(())
    }
}

impl Problem {
    pub(super) fn of(source: &Source, error: &Error) -> Self {
        let error = error.without_snippet();
        let location = error.location().unwrap_or(Location::UNKNOWN);
        Self {
            place: Place::at(source, location),
            what: say(error),
        }
    }

    pub(super) fn empty(source: &Source) -> Self {
        Self {
            place: Place::at(source, Location::UNKNOWN),
            what: "there is no manifest in it; write one that begins with `kind: Vm`".to_owned(),
        }
    }

    pub(super) fn fault(manifest: &VmManifest, fault: &Fault) -> Self {
        Self {
            place: manifest.place.clone(),
            what: format!("VM {}: spec.{fault}", manifest.name),
        }
    }

    pub(super) fn twin(manifest: &VmManifest, first: &Place) -> Self {
        Self {
            place: manifest.place.clone(),
            what: format!(
                "VM {}/{} is described at {first} already; give one of the two another name",
                manifest.project, manifest.name
            ),
        }
    }
}

fn say(error: &Error) -> String {
    match error {
        Error::SerdeUnknownField { field, expected, .. } => unknown("field", field, expected),
        Error::SerdeUnknownVariant {
            variant, expected, ..
        } => unknown("value", variant, expected),
        Error::SerdeMissingField { field, .. } => format!("the field `{field}` is missing; add it"),
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("the field `{key}` is here twice; keep one")
        }
        Error::SerdeInvalidType {
            unexpected, expected, ..
        }
        | Error::SerdeInvalidValue {
            unexpected, expected, ..
        } => format!("this is {unexpected}; write {expected}"),
        Error::InvalidScalar { ty, .. } => format!("this is no {}", plain(ty)),
        Error::Unexpected { expected, .. } => format!("this is no {}", plain(expected)),
        Error::NullIntoString { .. } => "the value is missing here; write one".to_owned(),
        Error::Message { msg, .. } => msg.clone(),
        Error::Eof { .. } => "the text ends here, within a manifest".to_owned(),
        Error::AliasError { error, .. } => say(error),
        other => unplaced(other),
    }
}

/// A type of the library's, in a person's words.
fn plain(expected: &str) -> String {
    match expected {
        "u32" => "whole number from 0 to 4294967295".to_owned(),
        "u64" => "whole number from 0 on".to_owned(),
        "boolean" => "true or false".to_owned(),
        "mapping start" => "group of fields; write `field: value`, one a line".to_owned(),
        other => other.to_owned(),
    }
}

fn unknown(what: &str, found: &str, expected: &[&'static str]) -> String {
    let known = expected
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ");
    match nearest(found, expected) {
        Some(near) => format!("unknown {what} `{found}`; did you mean `{near}`? (known: {known})"),
        None => format!("unknown {what} `{found}`; known: {known}"),
    }
}

/// The one that was probably meant: near in letters, or the same but for the case.
fn nearest<'a>(found: &str, known: &[&'a str]) -> Option<&'a str> {
    let found = found.to_ascii_lowercase().replace(['_', '-'], "");
    known
        .iter()
        .map(|name| (strsim::jaro_winkler(&found, &name.to_ascii_lowercase()), *name))
        .filter(|(likeness, _)| *likeness >= 0.8)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, name)| name)
}

/// The library's own words, without the place that it adds at their end: that is said before them already.
fn unplaced(error: &Error) -> String {
    let text = error.to_string();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    text[..end].trim_end_matches(',').to_owned()
}
