//! The guest's console: where it says what it does, and a few commands that are answered there. Not a shell.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::mpsc::SyncSender;

use crate::event::{Event, Why, tell};
use crate::lines::{Line, Lines};
use crate::machine::Machine;
use crate::uptime::uptime;

const CONSOLE: &str = "/dev/console";
const HELP: &str = "help, hostname, uptime, machine, echo <words>, poweroff, reboot, panic";
/// Has the kernel do things at once: `c` is a panic.
const SYSRQ: &str = "/proc/sysrq-trigger";
const MAX_COMMAND: usize = 1024;

/// Writes one line, whole. A console that doesn't take it loses it.
pub(crate) fn say(words: fmt::Arguments<'_>) {
    let line = format!("chv-uos: {words}\n");
    let _ = std::io::stdout().write_all(line.as_bytes());
}

/// Makes the console this process's input and output. The kernel does so itself when it finds one in the
/// initramfs; this is for when it didn't.
pub(crate) fn attach() {
    let console = match OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOCTTY)
        .open(CONSOLE)
    {
        Ok(console) => console,
        Err(error) => return say!("can't open {CONSOLE}: {error}"),
    };
    let attached = nix::unistd::dup2_stdin(&console)
        .and_then(|()| nix::unistd::dup2_stdout(&console))
        .and_then(|()| nix::unistd::dup2_stderr(&console));
    if let Err(error) = attached {
        say!("can't use {CONSOLE} as standard output: {error}");
    }
}

/// Answers commands until the console ends.
pub(crate) fn serve(events: &SyncSender<Event>) {
    let mut console = match File::open(CONSOLE) {
        Ok(console) => console,
        Err(error) => return say!("can't read {CONSOLE}: {error}"),
    };
    let mut lines = Lines::new(MAX_COMMAND);
    let mut bytes = [0; 256];
    loop {
        let count = match console.read(&mut bytes) {
            Ok(0) => return,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return say!("can't read {CONSOLE} any more: {error}"),
        };
        for line in lines.push(&bytes[..count]) {
            match Command::read(line) {
                Command::Help => say!("{HELP}"),
                Command::Hostname => match nix::unistd::gethostname() {
                    Ok(name) => say!("{}", name.to_string_lossy()),
                    Err(error) => say!("can't read the hostname: {error}"),
                },
                Command::Uptime => say!("up {:.3} s", uptime().as_secs_f64()),
                Command::Machine => match serde_json::to_string(&Machine::look(Path::new("/"))) {
                    Ok(json) => say!("machine {json}"),
                    Err(error) => say!("can't say what the machine is: {error}"),
                },
                Command::Echo(words) => say!("{words}"),
                Command::PowerOff => tell(events, Event::PowerOff(Why::Console)),
                Command::Reboot => tell(events, Event::Reboot(Why::Console)),
                // The kernel does it before this returns.
                Command::Panic => match std::fs::write(SYSRQ, "c") {
                    Ok(()) => {}
                    Err(error) => say!("can't write {SYSRQ}: {error}"),
                },
                Command::Nothing => {}
                Command::Unknown(what) => say!("unknown command {what:?}; there are: {HELP}"),
                Command::TooLong => say!("that line is longer than {MAX_COMMAND} bytes"),
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Command {
    Help,
    Hostname,
    Uptime,
    Machine,
    Echo(String),
    PowerOff,
    Reboot,
    Panic,
    Nothing,
    Unknown(String),
    TooLong,
}

impl Command {
    fn read(line: Line) -> Self {
        let Line::Text(text) = line else {
            return Self::TooLong;
        };
        let text = text.trim();
        let (verb, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        match (verb, rest.trim_start()) {
            ("", _) => Self::Nothing,
            ("help", "") => Self::Help,
            ("hostname", "") => Self::Hostname,
            ("uptime", "") => Self::Uptime,
            ("machine", "") => Self::Machine,
            ("poweroff", "") => Self::PowerOff,
            ("reboot", "") => Self::Reboot,
            ("panic", "") => Self::Panic,
            ("echo", words) => Self::Echo(words.to_owned()),
            _ => Self::Unknown(text.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Command {
        Command::read(Line::Text(text.to_owned()))
    }

    #[test]
    fn given_a_line_when_read_then_it_is_the_command_meant() {
        assert_eq!(read(" uptime "), Command::Uptime);
        assert_eq!(read("echo a  b"), Command::Echo("a  b".into()));
        assert_eq!(read("echo"), Command::Echo(String::new()));
        assert_eq!(read("poweroff"), Command::PowerOff);
        assert_eq!(read("reboot"), Command::Reboot);
        assert_eq!(read("panic"), Command::Panic);
        assert_eq!(read("  "), Command::Nothing);
    }

    #[test]
    fn given_something_else_when_read_then_it_is_no_command() {
        assert_eq!(read("poweroff now"), Command::Unknown("poweroff now".into()));
        assert_eq!(Command::read(Line::TooLong), Command::TooLong);
    }
}
