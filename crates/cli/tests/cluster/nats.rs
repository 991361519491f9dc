//! A real nats-server with the users and permissions of deploy/nats, on a free port, for one test.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

/// Killed when dropped.
pub(crate) struct Nats {
    process: Child,
    directory: tempfile::TempDir,
    pub(crate) url: String,
}

impl Nats {
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let templates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/nats");
        let rendered = Command::new(templates.join("render"))
            .arg(directory.path())
            .arg("127.0.0.1:-1")
            .args(["person:alice", "person:bob", "host:h1", "scheduler", "audit"])
            .status()
            .unwrap();
        assert!(rendered.success());
        let path = std::env::var("PATH").unwrap_or_default();
        let process = Command::new("nats-server")
            // Debian has it in /usr/sbin, which a person's PATH leaves out.
            .env("PATH", format!("{path}:/usr/sbin"))
            .arg("--config")
            .arg(directory.path().join("nats.conf"))
            .arg("--ports_file_dir")
            .arg(directory.path())
            .stderr(Stdio::null())
            .spawn()
            .expect("nats-server is installed");
        let mut nats = Self {
            process,
            directory,
            url: String::new(),
        };
        nats.url = nats.port().await;
        nats
    }

    async fn port(&self) -> String {
        let file = format!("nats-server_{}.ports", self.process.id());
        let file = self.directory.path().join(file);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            if let Ok(ports) = serde_json::from_str::<serde_json::Value>(&text) {
                return ports["nats"][0].as_str().unwrap().to_owned();
            }
            assert!(Instant::now() < deadline, "nats-server does not listen");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) fn password_file(&self, user: &str) -> PathBuf {
        self.directory.path().join("passwords").join(user)
    }

    pub(crate) fn password(&self, user: &str) -> String {
        let text = std::fs::read_to_string(self.password_file(user)).unwrap();
        text.trim_end().to_owned()
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
