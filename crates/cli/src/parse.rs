//! The command line and its variables, read into a [`Cli`]. What is written on the line wins over any variable,
//! and a usage line shows only what can be written there.

use clap::builder::Resettable;
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches};

use crate::cli::Cli;

/// Reads the command line that this process was started with.
pub(crate) fn parse() -> Result<Cli, clap::Error> {
    read(Cli::command().try_get_matches()).map_err(without_variables)
}

fn read(matches: Result<ArgMatches, clap::Error>) -> Result<Cli, clap::Error> {
    let matches = matches?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    let source = |option| matches.value_source(option);
    let written = Some(ValueSource::CommandLine);
    if source("password_file") == written && source("password") != written {
        cli.global.password = None;
    }
    Ok(cli)
}

/// The same error from the line alone: clap counts an option that a variable sets as written, and shows it in
/// the usage line as if it were required. An error in a variable's value stays as it is.
fn without_variables(error: clap::Error) -> clap::Error {
    if !error.use_stderr() {
        return error;
    }
    let bare = Cli::command().mut_args(|option| option.env(Resettable::Reset));
    match bare.try_get_matches() {
        Err(same) if same.kind() == error.kind() => same,
        _ => error,
    }
}
