//! Which form an answer is wanted in.

use std::io::{self, Write};

use serde::Serialize;

/// The form of an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
    /// For programs, and for people who want to see all of it.
    Yaml,
}

/// Writes `value` as JSON or YAML; `false` when neither is wanted, and nothing was written.
pub(crate) fn structured(format: Format, value: &impl Serialize, to: &mut impl Write) -> io::Result<bool> {
    match format {
        Format::Table => return Ok(false),
        Format::Json => {
            serde_json::to_writer_pretty(&mut *to, value)?;
            writeln!(to)?;
        }
        Format::Yaml => {
            let text = serde_saphyr::to_string(value).map_err(io::Error::other)?;
            to.write_all(text.as_bytes())?;
        }
    }
    Ok(true)
}
