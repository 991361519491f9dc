//! A nats-server of a test's own: its configuration rendered by deploy/nats, on a free port, ended with
//! the test.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use chv_proto::client::{Client, ConnectError, ConnectOptions};
use tempfile::TempDir;

/// How long anything that must happen may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Who has a NATS user.
const USERS: [&str; 5] = ["scheduler", "audit", "person:alice", "person:bob", "host:h1"];

pub(crate) struct Broker {
    dir: TempDir,
    server: Option<Child>,
    url: String,
}

impl Broker {
    /// Starts one on a free port.
    pub(crate) async fn start() -> Self {
        Self::start_with(|configuration| configuration).await
    }

    /// Starts one whose configuration is changed first.
    pub(crate) async fn start_with(change: impl FnOnce(String) -> String) -> Self {
        let dir = tempfile::tempdir().unwrap();
        render(dir.path(), "127.0.0.1:-1", &USERS);
        let file = dir.path().join("nats.conf");
        let configuration = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, change(configuration)).unwrap();
        let mut broker = Self {
            dir,
            server: None,
            url: String::new(),
        };
        broker.launch();
        broker.url = eventually("the server's ports file", || async { ports(broker.dir.path()) }).await;
        broker
    }

    fn launch(&mut self) {
        let server = Command::new(program())
            .arg("--config")
            .arg(self.dir.path().join("nats.conf"))
            .arg("--ports_file_dir")
            .arg(self.dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.server = Some(server.expect("nats-server is installed"));
    }

    /// Kills it.
    pub(crate) fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }

    /// Starts it again where it was.
    pub(crate) fn start_again(&mut self) {
        self.start_again_for(&USERS);
    }

    /// Starts it again where it was, with users for these alone.
    pub(crate) fn start_again_for(&mut self, users: &[&str]) {
        let address = self.url.trim_start_matches("nats://").to_owned();
        render(self.dir.path(), &address, users);
        self.launch();
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn options(&self, user: &str) -> ConnectOptions {
        let password = std::fs::read_to_string(self.dir.path().join("passwords").join(user));
        ConnectOptions {
            url: self.url.clone(),
            user: user.to_owned(),
            password: password.map(|text| text.trim().to_owned()).unwrap_or_default(),
            name: format!("test {user}"),
            connect_timeout: PATIENCE,
        }
    }

    pub(crate) async fn connect(&self, user: &str) -> Result<Client, ConnectError> {
        Client::connect(self.options(user)).await
    }

    /// A connected client.
    pub(crate) async fn client(&self, user: &str) -> Client {
        self.connect(user).await.unwrap()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The server of Debian's package is in a directory that not everybody's path has.
fn program() -> PathBuf {
    let debian = PathBuf::from("/usr/sbin/nats-server");
    if debian.exists() {
        debian
    } else {
        PathBuf::from("nats-server")
    }
}

fn render(dir: &Path, listen: &str, users: &[&str]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/nats/render");
    let status = Command::new(script)
        .arg(dir)
        .arg(listen)
        .args(users)
        .status()
        .unwrap();
    assert!(status.success(), "deploy/nats/render");
}

fn ports(dir: &Path) -> Option<String> {
    let files = std::fs::read_dir(dir).unwrap().flatten();
    let ports = files
        .map(|file| file.path())
        .find(|path| path.extension() == Some("ports".as_ref()))?;
    let text = std::fs::read_to_string(ports).ok()?;
    let (_, rest) = text.split_once("nats://127.0.0.1:")?;
    let (port, _) = rest.split_once('"')?;
    Some(format!("nats://127.0.0.1:{port}"))
}

/// Waits until there is something.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} did not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
