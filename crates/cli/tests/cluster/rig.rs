//! What a test has: NATS, perhaps a cluster played on it, and the real `chv` as alice.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

use crate::fake::{Fake, Guests};
use crate::nats::Nats;

/// Longer than any invocation here may take.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Rig {
    pub(crate) nats: Nats,
    fake: Option<Fake>,
    files: tempfile::TempDir,
}

/// What came of an invocation.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Rig {
    pub(crate) async fn with(guests: Guests) -> Self {
        let nats = Nats::start().await;
        let fake = Some(Fake::start(&nats, guests).await);
        let files = tempfile::tempdir().unwrap();
        Self { nats, fake, files }
    }

    pub(crate) async fn without_scheduler() -> Self {
        Self {
            nats: Nats::start().await,
            fake: None,
            files: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn fake(&self) -> &Fake {
        self.fake.as_ref().unwrap()
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path: PathBuf = self.files.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// The program with alice's variables.
    pub(crate) fn program(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap_or_default())
            .env("TERM", "dumb")
            .env("CHV_SERVER", &self.nats.url)
            .env("CHV_USER", "alice")
            .env("CHV_PASSWORD_FILE", self.nats.password_file("alice"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    pub(crate) fn chv_command(&self, args: &[&str]) -> Command {
        let mut command = self.program(env!("CARGO_BIN_EXE_chv"));
        command.args(args);
        command
    }

    pub(crate) fn chv_started(&self, args: &[&str]) -> Child {
        self.chv_command(args).spawn().unwrap()
    }

    pub(crate) async fn chv(&self, args: &[&str]) -> Ran {
        ended(self.chv_started(args)).await
    }

    /// `chv vm create NAME` with the least options, and these.
    pub(crate) async fn create(&self, name: &str, options: &[&str]) -> Ran {
        let mut args = vec!["vm", "create", name, "--kernel", "uos/vmlinuz"];
        args.extend(options);
        self.chv(&args).await
    }
}

pub(crate) async fn ended(child: Child) -> Ran {
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output());
    let output = output.await.expect("chv ends in time").unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Waits until `true`.
pub(crate) async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !so() {
        assert!(tokio::time::Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl Ran {
    #[track_caller]
    pub(crate) fn ends_with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    #[track_caller]
    pub(crate) fn tells(self, text: &str) -> Self {
        assert!(self.err.contains(text), "{text:?} is not in {self:#?}");
        self
    }

    #[track_caller]
    pub(crate) fn prints(self, text: &str) -> Self {
        assert!(self.out.contains(text), "{text:?} is not in {self:#?}");
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}
