//! Which lines are written to standard error, and how they look. Nothing is written anywhere else.

use std::io::IsTerminal;

use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::{Layer, Registry, fmt};

use crate::Environment;

/// How much of its own doing a binary writes to standard error, unless `CHV_LOG` or `RUST_LOG` says otherwise.
///
/// It is meant for Chronovisor's own crates; of its libraries only warnings and errors are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Errors alone.
    Error,
    /// Errors and warnings: the default of a command line.
    Warn,
    /// What happened, one line an act: the default of a daemon.
    Info,
    /// Why it happened.
    Debug,
    /// Everything.
    Trace,
}

impl Verbosity {
    /// This verbosity, raised by as many levels as `-v` was given; [`Verbosity::Trace`] is the end.
    pub fn raised_by(self, levels: u8) -> Self {
        (0..levels).fold(self, |verbosity, _| match verbosity {
            Verbosity::Error => Verbosity::Warn,
            Verbosity::Warn => Verbosity::Info,
            Verbosity::Info => Verbosity::Debug,
            Verbosity::Debug | Verbosity::Trace => Verbosity::Trace,
        })
    }

    /// `chv` as a directive's target matches every crate whose name starts with it.
    fn directives(self) -> &'static str {
        match self {
            Verbosity::Error => "error",
            // What befalls a connection is told by whoever needs it, not by the library on top.
            Verbosity::Warn => "warn,async_nats=off",
            // openraft tells of each try to reach a replica that is away; the event log tells it once.
            Verbosity::Info => "warn,openraft=off,chv=info",
            Verbosity::Debug => "warn,chv=debug",
            Verbosity::Trace => "warn,chv=trace",
        }
    }
}

pub(crate) fn layer(
    verbosity: Verbosity,
    environment: Environment<'_>,
    warnings: &mut Vec<String>,
) -> Box<dyn Layer<Registry> + Send + Sync> {
    let colours = std::io::stderr().is_terminal() && environment("NO_COLOR").is_none_or(|v| v.is_empty());
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
    let lines = match environment("CHV_LOG_FORMAT").as_deref() {
        Some("json") => lines.json().boxed(),
        None | Some("" | "text") => lines.boxed(),
        Some(other) => {
            warnings.push(format!(
                "CHV_LOG_FORMAT is `{other}`: it can be `text` or `json`, and is taken as `text`"
            ));
            lines.boxed()
        }
    };
    lines
        .with_filter(filter(verbosity, environment, warnings))
        .boxed()
}

fn filter(verbosity: Verbosity, environment: Environment<'_>, warnings: &mut Vec<String>) -> EnvFilter {
    for name in ["CHV_LOG", "RUST_LOG"] {
        let Some(directives) = environment(name).filter(|d| !d.trim().is_empty()) else {
            continue;
        };
        match EnvFilter::try_new(&directives) {
            Ok(filter) => return filter,
            Err(error) => warnings.push(format!(
                "{name} is `{directives}`, which is not followed: {error}"
            )),
        }
    }
    EnvFilter::new(verbosity.directives())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter_of(verbosity: Verbosity, variables: &[(&str, &str)]) -> (String, Vec<String>) {
        let mut warnings = Vec::new();
        let environment = |name: &str| {
            variables
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, value)| (*value).to_owned())
        };
        let filter = filter(verbosity, &environment, &mut warnings);
        (filter.to_string(), warnings)
    }

    #[test]
    fn given_no_variable_then_the_verbosity_rules() {
        assert_eq!(filter_of(Verbosity::Error, &[]).0, "error");
        assert_eq!(filter_of(Verbosity::Info, &[]).0, "openraft=off,chv=info,warn");
        assert_eq!(
            filter_of(Verbosity::Info, &[("RUST_LOG", " ")]).0,
            "openraft=off,chv=info,warn"
        );
    }

    #[test]
    fn given_both_variables_then_chv_log_rules() {
        let (filter, warnings) = filter_of(
            Verbosity::Warn,
            &[("RUST_LOG", "trace"), ("CHV_LOG", "chv_hostd=debug")],
        );
        assert_eq!(filter, "chv_hostd=debug");
        assert_eq!(warnings, Vec::<String>::new());
    }

    #[test]
    fn given_a_variable_that_is_no_filter_then_it_is_a_warning_and_the_next_rules() {
        let (filter, warnings) = filter_of(
            Verbosity::Warn,
            &[("CHV_LOG", "chv=louder"), ("RUST_LOG", "info")],
        );
        assert_eq!(filter, "info");
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].starts_with("CHV_LOG is `chv=louder`"), "{warnings:?}");
    }

    #[test]
    fn raising_ends_at_trace() {
        assert_eq!(Verbosity::Warn.raised_by(0), Verbosity::Warn);
        assert_eq!(Verbosity::Warn.raised_by(2), Verbosity::Debug);
        assert_eq!(Verbosity::Info.raised_by(u8::MAX), Verbosity::Trace);
    }
}
