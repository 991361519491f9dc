//! How the demo speaks: numbered steps, what is being waited for and for how long, and the commands of a person with
//! their own output.

use std::io::{IsTerminal, Write};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use chv_e2e::Cluster;
use tokio::io::AsyncReadExt;

/// As `println!`, but one who stops reading does not end the demo in the midst of its clean-up.
macro_rules! tell {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($words)*);
    }};
}
pub(crate) use tell;

/// The terminal, or the file in its place.
pub(crate) struct Screen {
    started: Instant,
    colours: bool,
}

impl Screen {
    pub(crate) fn new() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            started: Instant::now(),
            colours: std::io::stdout().is_terminal() && !unwanted,
        }
    }

    /// A step's heading.
    pub(crate) fn step(&self, number: usize, title: &str) {
        let seconds = self.started.elapsed().as_secs_f64();
        let heading = self.bold(&format!("{number}. {title}"));
        tell!("\n{heading}  [{seconds:.1} s]");
    }

    /// What is happening and why.
    pub(crate) fn say(&self, words: &str) {
        tell!("   {words}");
    }

    /// Says what is being done, and when it is done how long it took and what came of it.
    pub(crate) async fn during<T>(
        &self,
        doing: &str,
        work: impl Future<Output = Result<(T, String)>>,
    ) -> Result<T> {
        let _ = write!(std::io::stdout(), "   {doing} ... ");
        flush();
        let started = Instant::now();
        let result = work.await;
        let seconds = started.elapsed().as_secs_f64();
        match result {
            Ok((value, outcome)) => {
                tell!("{outcome} ({seconds:.1} s)");
                Ok(value)
            }
            Err(error) => {
                tell!("failed after {seconds:.1} s");
                Err(error.context(doing.to_owned()))
            }
        }
    }

    /// Runs `chv` as alice, shows the command and what it prints while it prints it, and returns that.
    pub(crate) async fn chv(&self, cluster: &Cluster, args: &[&str]) -> Result<String> {
        let shown = chv_e2e::chv::shown(args);
        tell!("\n{}", self.bold(&format!("$ {shown}")));
        flush();
        let mut command = chv_e2e::chv::command(&cluster.environment_of("alice")?, args)?;
        let mut child = command
            .current_dir(chv_e2e::workspace())
            .stdout(Stdio::piped())
            .spawn()
            .context("can't run chv")?;
        let mut output = child.stdout.take().context("its output is piped")?;
        let mut printed = Vec::new();
        let mut bytes = [0; 4096];
        loop {
            let count = output.read(&mut bytes).await?;
            if count == 0 {
                break;
            }
            std::io::stdout().write_all(&bytes[..count])?;
            flush();
            printed.extend_from_slice(&bytes[..count]);
        }
        let status = child.wait().await?;
        if printed.last().is_some_and(|byte| *byte != b'\n') {
            tell!();
        }
        ensure!(status.success(), "`{shown}` ended with {status}");
        Ok(String::from_utf8_lossy(&printed).into_owned())
    }

    fn bold(&self, words: &str) -> String {
        if self.colours {
            format!("\u{1b}[1m{words}\u{1b}[0m")
        } else {
            words.to_owned()
        }
    }
}

/// A reader that is gone is no reason to leave a cluster behind.
fn flush() {
    let _ = std::io::stdout().flush();
}
