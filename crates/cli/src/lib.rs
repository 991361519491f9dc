//! The `chv` command line: asks the cluster for what a person wants, and shows what came of it.
//!
//! It holds no rules of its own: what is allowed is decided by the scheduler, and what a field may hold is the
//! domain's business.

mod apply;
mod change;
mod cli;
mod cluster;
mod completions;
mod console;
mod events;
mod exit;
mod explain;
mod failure;
mod get;
mod host;
mod interrupt;
mod list;
mod log;
mod manifest;
mod output;
mod parse;
mod refusal;
mod session;
mod status;
mod view;
mod vm;
mod wait;
mod watch;
mod when;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use chv_telemetry::Verbosity;
use tracing::Instrument;

use cli::{Cli, Verb};
use exit::Exit;
use failure::Failure;
use session::Session;

/// Runs the command line that this process was started with.
pub fn main() -> ExitCode {
    let cli = match parse::parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A closed pipe is the only way in which printing fails, and then nobody reads.
            let _ = error.print();
            let exit = if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Done
            };
            return exit.into();
        }
    };
    match run(cli) {
        Ok(()) => Exit::Done.into(),
        Err(failure) => {
            if failure.exit != Exit::Done {
                let _ = writeln!(std::io::stderr(), "{failure}");
            }
            failure.exit.into()
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let mut to = std::io::BufWriter::new(std::io::stdout().lock());
    // Neither a runtime nor telemetry is needed to say what is in this program.
    let verb = match cli.verb {
        Verb::Completions(verb) => {
            verb.run(&mut to)?;
            return Ok(to.flush()?);
        }
        Verb::Explain(verb) => {
            verb.run(cli.global.output, &mut to)?;
            return Ok(to.flush()?);
        }
        verb => verb,
    };
    let _telemetry = chv_telemetry::init("chv", Verbosity::Warn.raised_by(cli.global.verbose));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Internal, format!("can't start: {error}")))?;
    let root = chv_telemetry::new_root();
    let span = tracing::info_span!("chv", verb = verb.name());
    let session = Session::new(cli.global, root);
    let ended = runtime.block_on(
        async {
            let ended = dispatch(verb, &session, &mut to).await;
            session.close().await;
            ended
        }
        .instrument(span),
    );
    runtime.shutdown_timeout(Duration::from_millis(100));
    let flushed = to.flush();
    ended?;
    Ok(flushed?)
}

async fn dispatch(verb: Verb, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
    match verb {
        Verb::Vm(verb) => verb.run(session, to).await,
        Verb::Host(verb) => verb.run(session, to).await,
        Verb::Cluster(verb) => verb.run(session, to).await,
        Verb::Apply(verb) => verb.run(session, to).await,
        Verb::Get(verb) => verb.run(session, to).await,
        Verb::List(verb) => verb.run(session, to).await,
        Verb::Events(verb) => verb.run(session, to).await,
        Verb::Watch(verb) => verb.run(session, to).await,
        Verb::Console(verb) => verb.run(session, to).await,
        Verb::Status(verb) => verb.run(session, to).await,
        Verb::Log(verb) => verb.run(session, to).await,
        Verb::Explain(verb) => verb.run(session.format(), to),
        Verb::Completions(verb) => verb.run(to),
    }
}
