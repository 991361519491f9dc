//! The console: copied off a terminal, typed at on one.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout};

use crate::fake::{CONSOLE, Guests};
use crate::rig::{Rig, ended, until};

fn log() -> &'static str {
    std::str::from_utf8(CONSOLE).unwrap()
}

#[tokio::test]
async fn given_a_ready_guest_when_its_console_is_shown_until_ready_then_all_of_it_is() {
    let rig = Rig::with(Guests::Boot).await;
    rig.create("web", &["--no-wait"]).await.ends_with(0);
    let ran = rig.chv(&["console", "web", "--until-ready"]).await.ends_with(0);
    assert_eq!(ran.out, log());
    let tail = rig
        .chv(&["console", "web", "--until-ready", "--tail", "7"])
        .await
        .ends_with(0);
    assert_eq!(tail.out, &log()[log().len() - 7..]);
}

#[tokio::test]
async fn given_a_guest_that_hangs_when_shown_until_ready_then_it_ends_with_6() {
    let rig = Rig::with(Guests::Hang).await;
    rig.create("web", &[]).await.ends_with(0);
    let ran = rig
        .chv(&["console", "web", "--until-ready", "--timeout", "1s"])
        .await
        .ends_with(6);
    assert_eq!(ran.out, log());
    rig.chv(&["console", "nobody"]).await.ends_with(5);
}

#[tokio::test]
async fn given_no_terminal_when_the_vm_stops_then_copying_ends() {
    let rig = Rig::with(Guests::Boot).await;
    rig.create("web", &[]).await.ends_with(0);
    let copying = rig.chv_started(&["console", "web"]);
    rig.chv(&["vm", "stop", "web"]).await.ends_with(0);
    ended(copying).await.ends_with(0);
}

#[tokio::test]
async fn given_no_terminal_when_the_vm_is_removed_then_it_ends_with_5() {
    let rig = Rig::with(Guests::Boot).await;
    rig.create("web", &["--for", "ready"]).await.ends_with(0);
    let copying = rig.chv_started(&["console", "web", "--read-only"]);
    until("its console is read", || rig.fake().reads() > 0).await;
    rig.chv(&["vm", "delete", "web", "--force", "--now"])
        .await
        .ends_with(0);
    ended(copying).await.ends_with(5).tells("was removed");
}

/// A terminal with a command on it.
struct Terminal {
    script: Child,
    keys: ChildStdin,
    screen: ChildStdout,
    shown: String,
}

impl Terminal {
    fn with(rig: &Rig, command: &str) -> Self {
        let mut script = rig
            .program("script")
            .args(["-qec", command, "/dev/null"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("script (Debian: bsdutils) is installed");
        Self {
            keys: script.stdin.take().unwrap(),
            screen: script.stdout.take().unwrap(),
            script,
            shown: String::new(),
        }
    }

    async fn shows(&mut self, text: &str) {
        let mut buffer = [0; 1024];
        while !self.shown.contains(text) {
            let read = tokio::time::timeout(Duration::from_secs(30), self.screen.read(&mut buffer));
            let count = read
                .await
                .unwrap_or_else(|_| panic!("{text:?} is not shown: {:?}", self.shown))
                .unwrap();
            assert!(count > 0, "it ended without {text:?}: {:?}", self.shown);
            self.shown.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    }

    async fn type_in(&mut self, keys: &[u8]) {
        self.keys.write_all(keys).await.unwrap();
    }
}

#[tokio::test]
async fn given_a_terminal_when_typed_at_then_the_guest_gets_it_and_the_terminal_is_left_as_it_was() {
    let rig = Rig::with(Guests::Boot).await;
    rig.create("web", &["--for", "ready"]).await.ends_with(0);
    let before = rig.file("before", "");
    let after = rig.file("after", "");
    let mut terminal = Terminal::with(
        &rig,
        &format!(
            "stty -a >{before}; {} console web; echo left with $?; stty -a >{after}",
            env!("CARGO_BIN_EXE_chv")
        ),
    );
    terminal.shows("Ctrl-a t leaves").await;
    // The guest's output is shown in raw mode only, and there a Ctrl-C is the guest's.
    terminal.shows("uOS is ready").await;
    terminal.type_in(b"\x03ls\r").await;
    until("the guest gets it", || rig.fake().typed() == b"\x03ls\r").await;
    // In one piece: what comes before leaving is not lost.
    terminal.type_in(b"last\r\x01t").await;
    terminal.shows("left with 0").await;
    ended(terminal.script).await.ends_with(0);
    assert_eq!(rig.fake().typed(), b"\x03ls\rlast\r");
    let stty = |path: &str| std::fs::read_to_string(path).unwrap();
    assert!(!stty(&before).is_empty());
    assert_eq!(stty(&before), stty(&after));
}

#[tokio::test]
async fn given_a_terminal_when_a_signal_ends_it_then_the_terminal_is_left_as_it_was() {
    let rig = Rig::with(Guests::Boot).await;
    rig.create("web", &["--for", "ready"]).await.ends_with(0);
    for signal in [Signal::INT, Signal::TERM] {
        let before = rig.file("before", "");
        let after = rig.file("after", "");
        let pid = rig.file("pid", "");
        let mut terminal = Terminal::with(
            &rig,
            &format!(
                "trap : INT; stty -a >{before}; sh -c 'echo $$ >{pid}; exec {} console web'; \
                 echo left with $?; stty -a >{after}",
                env!("CARGO_BIN_EXE_chv")
            ),
        );
        terminal.shows("uOS is ready").await;
        let pid = std::fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
        terminal.shows("left with 0").await;
        ended(terminal.script).await.ends_with(0);
        let stty = |path: &str| std::fs::read_to_string(path).unwrap();
        assert!(!stty(&before).is_empty());
        assert_eq!(stty(&before), stty(&after), "{signal:?}");
    }
}

#[tokio::test]
async fn given_a_vm_that_does_not_run_when_typed_at_then_it_says_that_nothing_was_typed() {
    let rig = Rig::with(Guests::Boot).await;
    rig.create("web", &["--no-start"]).await.ends_with(0);
    let mut terminal = Terminal::with(&rig, &format!("{} console web", env!("CARGO_BIN_EXE_chv")));
    terminal
        .shows("[chv: the VM does not run; Ctrl-a t leaves, or wait for it]")
        .await;
    terminal.type_in(b"x").await;
    terminal.shows("[chv: not typed: it does not run]").await;
    terminal.type_in(b"\x01t").await;
    ended(terminal.script).await.ends_with(0);
}
