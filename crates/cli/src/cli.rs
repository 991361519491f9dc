//! The tree of verbs and the options that all of them share. What a verb does is in the verb's own file.

use std::path::PathBuf;
use std::time::Duration;

use chv_domain::{ProjectName, UserName};
use clap::{Args, Parser, Subcommand};

use crate::output::Format;
use crate::{apply, cluster, completions, console, events, explain, get, host, list, log, status, vm, watch};

const EXAMPLES: &str = "\
Examples:
  chv apply -f examples/hello.yaml       make what the file says
  chv vm list                            what there is
  chv console hello                      talk to it
  chv events --vm hello                  what happened to it, and why
  chv status                             how the cluster is

Exit codes: 0 done, 2 usage, 3 refused, 4 conflict, 5 not found, 6 timed out, 7 unreachable,
8 not permitted, 9 blocked, 10 damaged; docs/cli.md says more.";

/// Runs virtual machines on many hosts.
#[derive(Debug, Parser)]
#[command(name = "chv", version, after_help = EXAMPLES, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What every verb takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Where NATS listens.
    #[arg(
        long,
        global = true,
        env = "CHV_SERVER",
        value_name = "URL",
        default_value = "nats://127.0.0.1:4222"
    )]
    pub server: String,
    /// Who you are: the NATS user, and the actor of everything you do.
    #[arg(long, global = true, env = "CHV_USER", value_name = "NAME")]
    pub user: Option<UserName>,
    /// Your password. Better in the variable or a file: other users of this machine see arguments.
    #[arg(
        long,
        global = true,
        env = "CHV_PASSWORD",
        hide_env_values = true,
        allow_hyphen_values = true,
        value_name = "PASSWORD"
    )]
    pub password: Option<String>,
    /// A file with your password.
    #[arg(long, global = true, env = "CHV_PASSWORD_FILE", value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// The project that names are looked up in.
    #[arg(
        long,
        global = true,
        env = "CHV_PROJECT",
        value_name = "NAME",
        default_value = "default"
    )]
    pub project: ProjectName,
    /// The form of the answer.
    #[arg(short, long, global = true, value_enum, default_value_t, value_name = "FORM")]
    pub output: Format,
    /// How long to wait in all, such as `90s` or `5m`; 60s for what changes something, 10s for reads.
    #[arg(long, global = true, value_parser = timeout, value_name = "TIME")]
    pub timeout: Option<Duration>,
    /// Say more about what is done; twice for still more.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make, run, look at and remove virtual machines.
    #[command(subcommand)]
    Vm(vm::Verb),
    /// Look after hosts.
    #[command(subcommand)]
    Host(host::Verb),
    /// Say which replicas hold the log, and who leads.
    #[command(subcommand)]
    Cluster(cluster::Verb),
    /// Make what manifests say.
    Apply(apply::Apply),
    /// Show one thing.
    #[command(subcommand)]
    Get(get::Get),
    /// Show all things of a kind.
    #[command(subcommand)]
    List(list::List),
    /// Show what happened, when, by whom and why.
    Events(events::Events),
    /// Show how things are, and then every change of them.
    Watch(watch::Watch),
    /// Talk to a VM's serial console.
    Console(console::Console),
    /// Show how the cluster is: replicas, leader, hosts.
    Status(status::Status),
    /// Look at the log's files, without a cluster.
    #[command(subcommand)]
    Log(log::Verb),
    /// Say what a field of a manifest means, and which hypervisors can do it.
    Explain(explain::Explain),
    /// Write a shell's completions.
    Completions(completions::Completions),
}

impl Verb {
    /// The verb's first word, for traces.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Vm(_) => "vm",
            Self::Host(_) => "host",
            Self::Cluster(_) => "cluster",
            Self::Apply(_) => "apply",
            Self::Get(_) => "get",
            Self::List(_) => "list",
            Self::Events(_) => "events",
            Self::Watch(_) => "watch",
            Self::Console(_) => "console",
            Self::Status(_) => "status",
            Self::Log(_) => "log",
            Self::Explain(_) => "explain",
            Self::Completions(_) => "completions",
        }
    }
}

/// Options of verbs that change something.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Waiting {
    /// Return once it is taken on; don't wait until it is so.
    #[arg(long)]
    pub no_wait: bool,
    /// Wait (the default).
    #[arg(long, conflicts_with = "no_wait", hide = true)]
    pub wait: bool,
}

/// Options of verbs that only look.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Reading {
    /// Ask the leader, which knows of every change acknowledged before; any replica may answer otherwise.
    #[arg(long)]
    pub consistent: bool,
}

fn timeout(text: &str) -> Result<Duration, String> {
    match span(text)? {
        Duration::ZERO => Err(format!(
            "in `{text}` nothing can be answered: write a longer time; --no-wait returns once a change is taken on"
        )),
        longer => Ok(longer),
    }
}

/// Reads a span of time such as `500ms`, `60s`, `1h30m`, or plain seconds.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    let wrong =
        || format!("`{text}` is no span of time: write a number and a unit, such as 500ms, 60s or 5m");
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(Duration::from_secs(seconds.into()));
    }
    let span: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(span).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_tree_of_verbs_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_page_of_help_has_an_example() {
        fn check(command: &mut clap::Command, path: &str) {
            let help = command.render_long_help().to_string();
            assert!(
                help.contains("Example"),
                "`{path} --help` shows no example:\n{help}"
            );
            for below in command.get_subcommands_mut() {
                if below.get_name() != "help" {
                    let path = format!("{path} {}", below.get_name());
                    check(below, &path);
                }
            }
        }
        let mut command = Cli::command();
        command.build();
        check(&mut command, "chv");
    }

    #[test]
    fn a_password_may_begin_with_a_dash() {
        let cli = Cli::try_parse_from(["chv", "vm", "list", "--password", "-5x"]).unwrap();
        assert_eq!(cli.global.password.as_deref(), Some("-5x"));
    }

    #[test]
    fn a_timeout_is_longer_than_nothing() {
        assert_eq!(timeout("1ms"), Ok(Duration::from_millis(1)));
        for nothing in ["0", "0s", "0ms"] {
            assert!(timeout(nothing).unwrap_err().contains(nothing));
        }
    }

    #[test]
    fn spans_have_units() {
        assert_eq!(span("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(span("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(span("1h30m"), Ok(Duration::from_secs(5_400)));
        assert_eq!(span("7"), Ok(Duration::from_secs(7)));
        for wrong in ["", "-1s", "soon", "1x", "-3"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }
}
