//! What a person sees when something did not work: what, why, and what to try next.

use std::fmt;

use crate::exit::Exit;
use crate::output::printable;

/// An end that is not the wanted one.
#[derive(Debug)]
pub(crate) struct Failure {
    /// How the process ends.
    pub exit: Exit,
    /// What did not work, on what, and why.
    pub what: String,
    /// What to do about it, when that is not in `what`.
    pub tip: Option<String>,
}

impl Failure {
    /// An end without a tip.
    pub(crate) fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self {
            exit,
            what: what.into(),
            tip: None,
        }
    }

    /// The same with a tip.
    #[must_use]
    pub(crate) fn or_try(mut self, tip: impl Into<String>) -> Self {
        self.tip = Some(tip.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, line) in self.what.lines().enumerate() {
            let start = if index == 0 { "error: " } else { "\n       " };
            write!(f, "{start}{}", printable(line))?;
        }
        match &self.tip {
            Some(tip) => write!(f, "\n  try: {}", printable(tip)),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

/// Writing to standard output failed. A reader that went away (`chv events | head`) is no failure to tell.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self::new(Exit::Done, "");
        }
        Self::new(Exit::Internal, format!("can't write the output: {error}"))
    }
}
