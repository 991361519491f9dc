//! Where manifests come from: a file, a directory's files, or standard input. It reads text and judges none.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::problem::Place;

/// More than any set of manifests is; a wrong `-f` is told instead of read for minutes.
const MAX_BYTES: u64 = 64 << 20;

/// One text with manifests in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    /// What to call it in messages: its path, or `standard input`.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// A source that can't be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    /// The operating system says no.
    #[error("can't read {name}: {source}")]
    Io {
        /// What was read.
        name: String,
        /// Why not.
        source: std::io::Error,
    },
    /// Over [`MAX_BYTES`].
    #[error("{0} is larger than 64MiB; that is no manifest")]
    TooLarge(String),
    /// Not UTF-8.
    #[error("{0}: this is no text in UTF-8; a manifest is")]
    NoText(Place),
    /// A directory without a manifest.
    #[error("no file in {0} ends in .yaml, .yml or .json")]
    NoneIn(PathBuf),
}

/// Opens what a person named with `-f`: `-` for standard input, a file, or a directory, of which every
/// `.yaml`, `.yml` and `.json` file is read in the order of their names; its directories are not.
pub(crate) fn open(paths: &[PathBuf]) -> Result<Vec<Source>, SourceError> {
    let mut sources = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            sources.push(read("standard input".to_owned(), std::io::stdin().lock())?);
        } else if path.is_dir() {
            for file in manifests_in(path)? {
                sources.push(read_file(&file)?);
            }
        } else {
            sources.push(read_file(path)?);
        }
    }
    Ok(sources)
}

fn manifests_in(directory: &Path) -> Result<Vec<PathBuf>, SourceError> {
    let error = |source| SourceError::Io {
        name: directory.display().to_string(),
        source,
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(error)? {
        let path = entry.map_err(error)?.path();
        let ending = path.extension().and_then(|ending| ending.to_str());
        if matches!(ending, Some("yaml" | "yml" | "json")) && path.is_file() {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(SourceError::NoneIn(directory.to_owned()));
    }
    files.sort();
    Ok(files)
}

fn read_file(path: &Path) -> Result<Source, SourceError> {
    let name = path.display().to_string();
    let file = std::fs::File::open(path).map_err(|source| SourceError::Io {
        name: name.clone(),
        source,
    })?;
    read(name, file)
}

fn read(name: String, from: impl Read) -> Result<Source, SourceError> {
    let mut bytes = Vec::new();
    match from.take(MAX_BYTES + 1).read_to_end(&mut bytes) {
        Ok(count) if count as u64 > MAX_BYTES => return Err(SourceError::TooLarge(name)),
        Ok(_) => {}
        Err(source) => return Err(SourceError::Io { name, source }),
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Source { name, text }),
        Err(error) => {
            let good = error.utf8_error().valid_up_to();
            let before = String::from_utf8_lossy(&error.as_bytes()[..good]);
            Err(SourceError::NoText(Place::after(name, &before)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_bytes_that_are_no_text_when_read_then_it_says_where() {
        let of = |bytes: &[u8]| read("f".to_owned(), bytes).map_err(|error| error.to_string());
        assert!(of("kind: Vm\nname: ä".as_bytes()).is_ok());
        let error = of(b"kind: Vm\n\xc3\xa4\xff").unwrap_err();
        assert!(error.starts_with("f:2:2: this is no text"), "{error}");
        let error = of(b"\x7fELF\xff").unwrap_err();
        assert!(error.starts_with("f:1:5: "), "{error}");
    }
}
