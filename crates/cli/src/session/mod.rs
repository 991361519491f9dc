//! One invocation: who asks, in which project, how patiently; the connection, made when it is first needed; and
//! the sending of commands. Questions are in [`question`].

mod question;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chv_domain::{
    Actor, Command, CommandId, ProjectName, Seq, Submission, Timestamp, TraceContext, UserName,
};
use chv_proto::client::{Client, ConnectOptions, Waiting};
use chv_proto::v1;
use tokio::sync::OnceCell;

use crate::cli::Global;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::output::Format;
use crate::refusal;
use crate::wait::Progress;

pub(crate) use question::{no_vm, unfit};

/// How long something is waited for before a person is told so.
const LASTS: Duration = Duration::from_millis(500);
/// How often the time on the progress line is brought up to date.
const REDRAW: Duration = Duration::from_millis(100);
/// How long NATS may take to say who it is.
const CONNECT: Duration = Duration::from_secs(5);

/// One invocation of `chv`.
#[derive(Debug)]
pub(crate) struct Session {
    global: Global,
    trace: TraceContext,
    client: OnceCell<Client>,
    interrupt: Interrupt,
}

impl Session {
    /// An invocation with these options; what it asks for belongs to `trace`.
    pub(crate) fn new(global: Global, trace: TraceContext) -> Self {
        Self {
            global,
            trace,
            client: OnceCell::new(),
            interrupt: Interrupt::default(),
        }
    }

    /// The form of the answer.
    pub(crate) fn format(&self) -> Format {
        self.global.output
    }

    /// The project that names are looked up in.
    pub(crate) fn project(&self) -> &ProjectName {
        &self.global.project
    }

    /// Ctrl-C.
    pub(crate) fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    /// The time now.
    pub(crate) fn now(&self) -> Timestamp {
        chv_proto::client::now()
    }

    /// How long to wait: what was said, or `otherwise`.
    pub(crate) fn patience(&self, otherwise: Duration) -> Duration {
        self.global.timeout.unwrap_or(otherwise)
    }

    fn user(&self) -> Result<&UserName, Failure> {
        self.global.user.as_ref().ok_or_else(|| {
            Failure::new(Exit::Usage, "who are you? No user is given")
                .or_try("`--user NAME`, or set CHV_USER and CHV_PASSWORD")
        })
    }

    fn password(&self) -> Result<String, Failure> {
        if let Some(password) = &self.global.password {
            return Ok(password.clone());
        }
        let Some(path) = &self.global.password_file else {
            return Ok(String::new());
        };
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(text.trim_end_matches(['\r', '\n']).to_owned()),
            Err(error) => {
                let what = format!("can't read the password file {}: {error}", path.display());
                Err(Failure::new(Exit::Usage, what))
            }
        }
    }

    /// The connection.
    pub(crate) async fn client(&self) -> Result<Client, Failure> {
        let connect = async || {
            let options = ConnectOptions {
                url: self.global.server.clone(),
                user: self.user()?.to_string(),
                password: self.password()?,
                name: "chv".to_owned(),
                connect_timeout: CONNECT.min(self.patience(CONNECT)),
            };
            Client::connect(options).await.map_err(refusal::connect)
        };
        self.client.get_or_try_init(connect).await.cloned()
    }

    /// Sends what is still to be sent, and ends the connection.
    pub(crate) async fn close(&self) {
        if let Some(client) = self.client.get() {
            // Nothing that matters is sent without an answer, so a failure loses nothing.
            let _ = tokio::time::timeout(Duration::from_millis(200), client.nats().flush()).await;
        }
    }

    /// Sends a command, and sends it again with the same id until it is answered or `deadline` has passed.
    pub(crate) async fn submit(
        &self,
        command: Command,
        expected: Option<Seq>,
        deadline: Instant,
        progress: &mut Progress,
    ) -> Result<(CommandId, v1::Accepted), Failure> {
        let id = chv_proto::client::new_command_id();
        let submission = Submission {
            id,
            actor: Actor::User(self.user()?.clone()),
            command,
            expected,
            deadline: None,
            trace: Some(chv_telemetry::current().unwrap_or(self.trace)),
            follows: None,
        };
        let client = tokio::select! {
            client = self.client() => client?,
            () = self.interrupt.heard() => {
                return Err(Failure::new(Exit::Interrupted, "interrupted; nothing was sent"));
            }
        };
        let patience = deadline.saturating_duration_since(Instant::now());
        // Shown only when it lasts: most answers are there before a person has read what is waited for.
        let waiting = Mutex::new(String::new());
        let mut hear = |now: Waiting| *lock(&waiting) = now.to_string();
        let mut answer = std::pin::pin!(client.submit(&submission, patience, Some(&mut hear)));
        let mut lasts = tokio::time::interval_at(tokio::time::Instant::now() + LASTS, REDRAW);
        loop {
            tokio::select! {
                answer = &mut answer => return match answer {
                    Ok(accepted) => Ok((id, accepted)),
                    Err(error) => Err(refusal::command(error)),
                },
                _ = lasts.tick() => progress.show(&lock(&waiting)),
                () = self.interrupt.heard() => return Err(refusal::interrupted(id)),
            }
        }
    }
}

fn lock(text: &Mutex<String>) -> MutexGuard<'_, String> {
    text.lock().unwrap_or_else(PoisonError::into_inner)
}
