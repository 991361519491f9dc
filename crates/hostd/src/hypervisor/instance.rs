//! A machine that has a process: how it is named in the process list, and found again by a restarted daemon.

use std::io::{self, Read, Seek, SeekFrom};
use std::time::{Duration, Instant};

use chv_domain::{HypervisorKind, VmId};
use serde::{Deserialize, Serialize};

use super::lock::LockFile;
use super::process::{Exit, Process};
use super::run_dir::RunDir;
use crate::wall::read_end;

/// How much of a hypervisor's log its last words are taken from, in bytes, and how many lines they are.
const LAST_WORDS: (u64, usize) = (4096, 10);

/// How long a process that holds a run directory may have no marker: from fork to exec, and while it ends.
const SETTLE: Duration = Duration::from_millis(500);

/// How long the end of a process may take to be noted by the one who waits for it, and how often it is looked.
const NOTED: (Duration, Duration) = (Duration::from_secs(2), Duration::from_millis(1));

/// A machine and the process that runs it, or ran it. Everything needed to speak to it after a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// The VM.
    pub vm: VmId,
    /// What runs it.
    pub kind: HypervisorKind,
    /// Where its sockets and logs are.
    pub run_dir: RunDir,
    /// Its process.
    pub process: Process,
}

/// What holds a run directory.
#[derive(Debug)]
pub(crate) enum Held {
    /// Nothing does.
    Free,
    /// A machine's process.
    Machine(VmId, HypervisorKind, Process),
    /// A process that runs no machine, or none yet, or none any more.
    Other(NoMachine),
}

/// A process that holds a run directory and runs no machine.
#[derive(Debug)]
pub(crate) struct NoMachine {
    pid: u32,
    /// Its command line.
    words: Vec<String>,
}

impl NoMachine {
    /// Whether it is becoming a program or ending just now. One that was forked and is not yet a program of its own
    /// has the daemon's words, so not all that are changing can be told.
    pub(crate) const fn is_changing(&self) -> bool {
        self.words.is_empty()
    }

    /// Says that it holds `run_dir`.
    pub(crate) fn error(&self, run_dir: &RunDir) -> io::Error {
        let Self { pid, words } = self;
        io::Error::other(format!(
            "{} is held by process {pid}, which runs no machine: {words:?}",
            run_dir.path().display()
        ))
    }
}

impl Instance {
    /// Finds the process that runs a machine in `run_dir`, whoever started it; `None` when nothing does.
    ///
    /// # Errors
    /// When something holds the directory that is no machine, or when it can't be told. Nothing must be
    /// launched there then.
    pub async fn find(run_dir: RunDir) -> io::Result<Option<Self>> {
        on_a_blocking_thread(move || Self::find_now(run_dir)).await
    }

    fn find_now(run_dir: RunDir) -> io::Result<Option<Self>> {
        let deadline = Instant::now() + SETTLE;
        loop {
            match Self::holds(&run_dir)? {
                Held::Free => return Ok(None),
                Held::Machine(vm, kind, process) => {
                    return Ok(Some(Self {
                        vm,
                        kind,
                        run_dir,
                        process,
                    }));
                }
                // It is starting or ending just now.
                Held::Other(..) if Instant::now() < deadline => std::thread::sleep(SETTLE / 100),
                Held::Other(other) => return Err(other.error(&run_dir)),
            }
        }
    }

    /// What holds `run_dir` at this moment. Blocks on the file system, and waits for nothing.
    pub(crate) fn holds(run_dir: &RunDir) -> io::Result<Held> {
        let Some((pid, process)) = holder(run_dir)? else {
            return Ok(Held::Free);
        };
        let words = process.command_line()?;
        Ok(match marked(words.iter().map(String::as_str)) {
            Some((vm, kind)) => Held::Machine(vm, kind, process),
            None => Held::Other(NoMachine { pid, words }),
        })
    }

    /// Resolves when its process has ended. May be dropped and called again.
    pub async fn exited(&self) -> io::Result<Exit> {
        match self.process.exited().await? {
            Exit::Unobserved => {}
            exit => return Ok(exit),
        }
        let deadline = Instant::now() + NOTED.0;
        loop {
            // It is waited for no longer once its end was noted: so this is looked at first.
            let waited_for = Process::of(self.process.pid)? == Some(self.process);
            match self.noted_end() {
                Exit::Unobserved if waited_for && Instant::now() < deadline => {
                    tokio::time::sleep(NOTED.1).await
                }
                exit => return Ok(exit),
            }
        }
    }

    /// How its process ended, when it has. Doesn't wait, not for the end to be noted either.
    pub fn has_ended(&self) -> io::Result<Option<Exit>> {
        let ended = self.process.has_ended()?;
        Ok(ended.map(|exit| match exit {
            Exit::Unobserved => self.noted_end(),
            exit => exit,
        }))
    }

    fn noted_end(&self) -> Exit {
        match read_end(&self.run_dir.end()) {
            Some((process, exit)) if process == self.process => exit,
            Some(_) | None => Exit::Unobserved,
        }
    }

    /// The last lines that its guest wrote.
    pub async fn console_tail(&self) -> String {
        super::console_tail(&self.run_dir).await
    }

    /// The last lines that its hypervisor wrote; a stand-in when it wrote none.
    pub async fn last_words(&self) -> String {
        let log = self.run_dir.hypervisor_log();
        let read = on_a_blocking_thread(move || {
            let mut file = std::fs::File::open(log)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(LAST_WORDS.0)))?;
            let mut tail = Vec::new();
            file.take(LAST_WORDS.0).read_to_end(&mut tail)?;
            Ok(tail)
        });
        match read.await {
            Ok(tail) => last_lines(&String::from_utf8_lossy(&tail), LAST_WORDS.1),
            Err(error) => format!("(its log can't be read: {error})"),
        }
    }
}

fn holder(run_dir: &RunDir) -> io::Result<Option<(u32, Process)>> {
    let Some(lock) = LockFile::open(&run_dir.lock())? else {
        return Ok(None);
    };
    let Some(pid) = lock.holder()? else {
        return Ok(None);
    };
    Ok(Process::of(pid)?.map(|process| (pid, process)))
}

/// Runs `work` where it may block.
pub(super) async fn on_a_blocking_thread<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// The word that marks a hypervisor's command line: `chv-<vm id>-<kind>`.
pub(super) fn marker(vm: VmId, kind: HypervisorKind) -> String {
    format!("chv-{vm}-{kind}")
}

/// The machine that a command line is of: by its first word, or by QEMU's `-name` where a wrapper gave it another
/// one. No other word counts: somebody else's command may have one that looks like it.
pub(crate) fn marked<'a>(words: impl IntoIterator<Item = &'a str>) -> Option<(VmId, HypervisorKind)> {
    let mut before = None;
    words.into_iter().find_map(|word| {
        let counts = matches!(before.replace(word), None | Some("-name" | "--name"));
        counts.then(|| parse_marker(word)).flatten()
    })
}

fn parse_marker(word: &str) -> Option<(VmId, HypervisorKind)> {
    let (vm, kind) = word.strip_prefix("chv-")?.split_once('-')?;
    Some((vm.parse().ok()?, kind.parse().ok()?))
}

/// The last `count` lines that have something in them, on one line.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    match lines.len() {
        0 => "(none)".to_owned(),
        length => lines[length.saturating_sub(count)..].join(" | "),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn given_any_vm_when_marked_then_it_is_read_back(bytes: [u8; 16], kind in 0..HypervisorKind::ALL.len()) {
            let (vm, kind) = (VmId::from_bytes(bytes), HypervisorKind::ALL[kind]);
            prop_assert_eq!(parse_marker(&marker(vm, kind)), Some((vm, kind)));
        }
    }

    #[test]
    fn given_words_that_are_no_marker_then_they_are_not_taken_for_one() {
        for word in [
            "chv-",
            "chv-hello-qemu-tcg",
            "qemu-system-x86_64",
            "chv-01ARZ3NDEKTSV4RRFFQ69G5FAV",
        ] {
            assert_eq!(parse_marker(word), None, "{word}");
        }
    }

    #[test]
    fn given_a_command_line_then_only_its_first_word_and_its_name_mark_a_machine() {
        let mark = marker(VmId::from_bytes([7; 16]), HypervisorKind::QemuTcg);
        let found = parse_marker(&mark);
        assert_eq!(marked([mark.as_str(), "-nodefaults"]), found);
        assert_eq!(marked(["qemu-system-x86_64", "-name", &mark]), found);
        assert_eq!(marked(["grep", &mark]), None);
        assert_eq!(marked([]), None);
    }

    #[test]
    fn given_a_log_then_its_last_words_are_its_last_lines() {
        assert_eq!(last_lines("one\n\ntwo\n three \n", 2), "two | three");
        assert_eq!(last_lines(" \n", 2), "(none)");
    }
}
