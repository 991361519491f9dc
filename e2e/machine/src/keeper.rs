//! Keeps a program running for a test outside, which says over TCP when it is killed and started, asks what guests run,
//! and has other programs run to their end. One line asks, one line answers; a connection for each.
//!
//! `CHV_MACHINE_KEEPER=<port>` has the program kept so. This process is PID 1, so it also reaps what nobody else does.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

const VARIABLE: &str = "CHV_MACHINE_KEEPER";

/// Between two looks for an end while there is no process whose end can be waited for.
const NOBODY: Duration = Duration::from_millis(20);

/// Marks a hypervisor's command line.
const GUEST: &str = "chv-";

/// What the processes are marked with that wait for hypervisors' ends.
const KEEPER: &str = "chv-keep-";

/// The port on which the test asks.
pub(crate) fn wanted() -> Result<Option<u16>> {
    let Ok(port) = std::env::var(VARIABLE) else {
        return Ok(None);
    };
    let port = port.parse();
    port.map(Some).with_context(|| format!("{VARIABLE} is no port"))
}

/// Runs `command`, if there is one, until it is told otherwise, and answers on `port` for ever.
pub(crate) fn keep(command: Option<Command>, port: u16) -> Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", port)).context("can't listen for the test")?;
    let starts = command.is_some();
    let keeper = Keeper {
        command: Mutex::new(command),
        seen: Mutex::default(),
        ended: Condvar::new(),
    };
    if starts {
        keeper.start()?;
    }
    std::thread::scope(|scope| {
        scope.spawn(|| keeper.reap());
        for stream in listener.incoming().flatten() {
            scope.spawn(|| keeper.serve(stream));
        }
    });
    Ok(())
}

struct Keeper {
    command: Mutex<Option<Command>>,
    seen: Mutex<Seen>,
    ended: Condvar,
}

/// The kept program, and how processes ended that somebody waits for.
#[derive(Default)]
struct Seen {
    program: Option<Pid>,
    awaited: BTreeMap<Pid, Option<String>>,
}

impl Keeper {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, stream: TcpStream) {
        let answered = || -> Result<()> {
            let mut line = String::new();
            BufReader::new(stream.try_clone()?).read_line(&mut line)?;
            let answer = match self.answer(line.trim()) {
                Ok(answer) => format!("ok {answer}\n"),
                Err(error) => format!("failed {error:#}\n"),
            };
            Ok((&stream).write_all(answer.as_bytes())?)
        };
        if let Err(error) = answered() {
            println!("the test got no answer: {error:#}");
        }
    }

    fn answer(&self, line: &str) -> Result<String> {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["start"] => self.start().map(|()| String::new()),
            ["kill"] => self.kill().map(|()| String::new()),
            ["kill-guest", pid] => {
                kill(Pid::from_raw(pid.parse()?), Signal::SIGKILL)?;
                Ok(String::new())
            }
            ["guests"] => guests(),
            ["run", program, args @ ..] => self.run(program, args),
            _ => bail!("{line:?} is not understood"),
        }
    }

    fn start(&self) -> Result<()> {
        let mut seen = self.seen();
        if seen.program.is_some() {
            bail!("it runs already");
        }
        let mut command = self.command.lock().unwrap_or_else(PoisonError::into_inner);
        seen.program = Some(spawned(command.as_mut().context("there is none")?)?);
        Ok(())
    }

    /// Kills the program, and returns when it is gone.
    fn kill(&self) -> Result<()> {
        let mut seen = self.seen();
        let program = seen.program.context("it does not run")?;
        kill(program, Signal::SIGKILL)?;
        while seen.program == Some(program) {
            seen = self.ended.wait(seen).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    /// Runs a program to its end; how that was. What it prints is on the console.
    fn run(&self, program: &str, args: &[&str]) -> Result<String> {
        let mut seen = self.seen();
        let pid = spawned(crate::program(program).args(args))?;
        seen.awaited.insert(pid, None);
        loop {
            if let Some(Some(end)) = seen.awaited.get(&pid) {
                let end = end.clone();
                seen.awaited.remove(&pid);
                return Ok(end);
            }
            seen = self.ended.wait(seen).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Reaps for ever. Nothing else here waits for a process.
    fn reap(&self) {
        loop {
            let end = match waitpid(None, None) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, format!("exit {code}")),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, format!("signal {signal}")),
                Ok(_) | Err(Errno::EINTR) => continue,
                Err(_) => {
                    std::thread::sleep(NOBODY);
                    continue;
                }
            };
            let mut seen = self.seen();
            if seen.program == Some(end.0) {
                println!("the kept program has ended: {}", end.1);
                seen.program = None;
            }
            if let Some(awaited) = seen.awaited.get_mut(&end.0) {
                *awaited = Some(end.1);
            }
            self.ended.notify_all();
        }
    }
}

/// Starts a process that [`Keeper::reap`] waits for; to be called with what is seen held, lest its end be missed.
fn spawned(command: &mut Command) -> Result<Pid> {
    let child = command.spawn().context("can't run the program")?;
    Ok(Pid::from_raw(i32::try_from(child.id())?))
}

/// The hypervisors that run: for each, its process and the word that marks it.
fn guests() -> Result<String> {
    let mut guests = Vec::new();
    for process in std::fs::read_dir("/proc")?.flatten() {
        let words = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let first = words.split(|byte| *byte == 0).next().unwrap_or_default();
        let (pid, mark) = (process.file_name(), String::from_utf8_lossy(first).into_owned());
        if let Some(pid) = pid
            .to_str()
            .filter(|pid| pid.bytes().all(|byte| byte.is_ascii_digit()))
            && mark.strip_prefix(GUEST).is_some_and(|rest| rest.contains('-'))
            && !mark.contains("hostd")
            && !mark.starts_with(KEEPER)
        {
            guests.push(format!("{pid}:{mark}"));
        }
    }
    Ok(guests.join(" "))
}
