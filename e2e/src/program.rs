//! One program of a rig: started, killed, stopped, paused, and started again with the same arguments.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::wait::wait_until;

/// How much of a log is shown when something went wrong, in bytes.
const TAIL: u64 = 3_000;

/// A program and, while it runs, its process. Dropped, it is killed.
#[derive(Debug)]
pub struct Program {
    name: String,
    binary: PathBuf,
    args: Vec<OsString>,
    environment: Vec<(String, String)>,
    log: PathBuf,
    network: Option<Arc<File>>,
    child: Option<Child>,
}

impl Program {
    /// A program that does not run yet; what it says goes to `<directory>/<name>.log`.
    pub(crate) fn new(name: &str, binary: PathBuf, directory: &Path) -> Self {
        Self {
            name: name.to_owned(),
            binary,
            args: Vec::new(),
            environment: Vec::new(),
            log: directory.join(format!("{name}.log")),
            network: None,
            child: None,
        }
    }

    /// In this network namespace instead of its owner's.
    pub(crate) fn inside(mut self, network: Arc<File>) -> Self {
        self.network = Some(network);
        self
    }

    /// With one more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// With more arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// With one more environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// What it is called in the rig.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process; `None` while it is not running.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Starts it, with the arguments and files of the last time.
    ///
    /// # Errors
    /// When it runs already, or can't be started.
    pub fn start(&mut self) -> Result<()> {
        if self.child.is_some() {
            bail!("{} runs already", self.name);
        }
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("can't write {}", self.log.display()))?;
        let mut command = Command::new(&self.binary);
        command
            .args(&self.args)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            // A Ctrl-C is the owner's to handle.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        for name in foreign_variables() {
            if !self.environment.iter().any(|(own, _)| *own == name) {
                command.env_remove(name);
            }
        }
        if let Some(network) = self.network.clone() {
            let enter = move || {
                // SAFETY: takes no pointers; the file is open for as long as this closure is.
                match unsafe { libc::setns(network.as_raw_fd(), libc::CLONE_NEWNET) } {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            };
            // SAFETY: between fork and exec it makes one system call and allocates nothing.
            unsafe { command.pre_exec(enter) };
        }
        let child = command
            .spawn()
            .with_context(|| format!("can't start {}", self.binary.display()))?;
        self.child = Some(child);
        Ok(())
    }

    /// How it ended, when it has.
    ///
    /// # Errors
    /// When the kernel can't tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child
            .as_mut()
            .map_or(Ok(None), |child| Ok(child.try_wait()?))
    }

    /// Kills it with -9 and reaps it. A no-op when it does not run.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn kill(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        child
            .kill()
            .with_context(|| format!("can't kill {}", self.name))?;
        child
            .wait()
            .with_context(|| format!("can't reap {}", self.name))?;
        Ok(())
    }

    /// Asks it to end (SIGTERM) and waits for that.
    ///
    /// # Errors
    /// When it does not run, or not end within `patience`.
    pub async fn stop(&mut self, patience: Duration) -> Result<ExitStatus> {
        self.signal(libc::SIGTERM)?;
        let what = format!("{} has ended after SIGTERM", self.name);
        let child = self.child.as_mut().context("it ran a moment ago")?;
        let status = wait_until(&what, patience, async || {
            child.try_wait()?.context("it is still running")
        });
        let status = status.await?;
        self.child = None;
        Ok(status)
    }

    /// Takes the processor from it (SIGSTOP), as an overloaded machine would.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&self) -> Result<()> {
        self.signal(libc::SIGSTOP)
    }

    /// Ends a [`pause`](Self::pause).
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume(&self) -> Result<()> {
        self.signal(libc::SIGCONT)
    }

    fn signal(&self, signal: libc::c_int) -> Result<()> {
        let child = self
            .child
            .as_ref()
            .with_context(|| format!("{} does not run", self.name))?;
        // SAFETY: takes no pointers; the child is not reaped yet, so its number can't be another's.
        if unsafe { libc::kill(child.id().cast_signed(), signal) } != 0 {
            bail!("can't signal {}: {}", self.name, std::io::Error::last_os_error());
        }
        Ok(())
    }

    /// The last things that it said.
    pub fn tail(&self) -> String {
        let read = || -> std::io::Result<String> {
            let mut file = File::open(&self.log)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
            let mut bytes = Vec::new();
            file.take(TAIL).read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        read().unwrap_or_else(|error| format!("(can't be read: {error})"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("{error:#}");
        }
    }
}

/// What whoever runs the rig may set for its programs.
const WELCOME: [&str; 3] = ["CHV_LOG", "CHV_CLOUD_HYPERVISOR", "CHV_FIRECRACKER"];

/// Variables of whoever runs the rig that would change what its programs do.
pub(crate) fn foreign_variables() -> impl Iterator<Item = String> {
    std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| name.starts_with("CHV_") || name.starts_with("OTEL_"))
        .filter(|name| !WELCOME.contains(&name.as_str()))
}
