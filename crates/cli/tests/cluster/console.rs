//! The console: copied off a terminal, typed at on one.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;

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
async fn given_a_terminal_when_typed_at_then_the_guest_gets_it_and_the_terminal_is_left_as_it_was() {
    let rig = Rig::with(Guests::Boot).await;
    rig.create("web", &["--for", "ready"]).await.ends_with(0);
    let before = rig.file("before", "");
    let after = rig.file("after", "");
    let session = format!(
        "stty -a >{before}; {} console web; echo left with $?; stty -a >{after}",
        env!("CARGO_BIN_EXE_chv")
    );
    let mut script = rig
        .program("script")
        .args(["-qec", &session, "/dev/null"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("script (Debian: bsdutils) is installed");
    let mut keys = script.stdin.take().unwrap();
    // Typed before raw mode, a Ctrl-C would end chv; so first wait for a key to arrive.
    while rig.fake().typed().is_empty() {
        keys.write_all(b"x").await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    keys.write_all(b"\x03ls\r").await.unwrap();
    until("the guest gets it", || rig.fake().typed().ends_with(b"\x03ls\r")).await;
    keys.write_all(b"\x01t").await.unwrap();
    let ran = ended(script)
        .await
        .prints("Ctrl-a t leaves")
        .prints("uOS is ready");
    ran.prints("left with 0");
    let stty = |path: &str| std::fs::read_to_string(path).unwrap();
    assert!(!stty(&before).is_empty());
    assert_eq!(stty(&before), stty(&after));
}
