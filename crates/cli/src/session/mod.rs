//! One invocation: who asks, in which project, how patiently; the connection, made when it is first needed; and
//! the sending of commands. Questions are in [`question`].

mod question;

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chv_domain::{
    Actor, Command, CommandId, ProjectName, Seq, Submission, Timestamp, TraceContext, UserName,
};
use chv_proto::client::{Client, ConnectOptions, Waiting};
use chv_proto::v1;
use futures::StreamExt as _;
use tokio::sync::OnceCell;

use crate::cli::Global;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::output::Format;
use crate::refusal;
use crate::wait::Progress;

pub(crate) use question::{Which, no_vm, unfit};

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

    /// Sends commands, each again with the same id until it is answered or `deadline` has passed. `told` hears what
    /// came of each, by its place, as it becomes known.
    pub(crate) async fn submit_all(
        &self,
        commands: Vec<(Command, Option<Seq>)>,
        deadline: Instant,
        progress: &mut Progress,
        told: Told<'_>,
    ) -> Result<(), Failure> {
        let client = tokio::select! {
            client = self.client() => client?,
            () = self.interrupt.heard() => {
                return Err(Failure::new(Exit::Interrupted, "interrupted; nothing was sent"));
            }
        };
        let actor = Actor::User(self.user()?.clone());
        let trace = chv_telemetry::current().unwrap_or(self.trace);
        let submission = |(command, expected)| Submission {
            expected,
            trace: Some(trace),
            ..Submission::new(chv_proto::client::new_command_id(), actor.clone(), command)
        };
        let submissions: Vec<Submission> = commands.into_iter().map(submission).collect();
        let mut open: BTreeSet<usize> = (0..submissions.len()).collect();
        let patience = deadline.saturating_duration_since(Instant::now());
        // Shown only when it lasts: most answers are there before a person has read what is waited for.
        let waiting = Mutex::new(String::new());
        let hear = |now: Waiting| *lock(&waiting) = now.to_string();
        let mut answers = std::pin::pin!(client.submit_all(&submissions, patience, &hear));
        let mut lasts = tokio::time::interval_at(tokio::time::Instant::now() + LASTS, REDRAW);
        // Who interrupts once all are answered interrupts what comes after.
        while !open.is_empty() {
            tokio::select! {
                answer = answers.next() => {
                    let Some((place, outcome)) = answer else { break };
                    open.remove(&place);
                    progress.clear();
                    told(place, submissions[place].id, outcome.map_err(refusal::command))?;
                }
                _ = lasts.tick() => progress.show(&line(&lock(&waiting), open.len(), submissions.len())),
                () = self.interrupt.heard() => {
                    let ids: Vec<CommandId> = open.iter().map(|place| submissions[*place].id).collect();
                    return Err(refusal::interrupted(&ids));
                }
            }
        }
        Ok(())
    }
}

/// Hears what came of the command at a place, and its id.
pub(crate) type Told<'a> =
    &'a mut dyn FnMut(usize, CommandId, Result<v1::Accepted, Failure>) -> std::io::Result<()>;

fn line(waiting: &str, open: usize, all: usize) -> String {
    match all {
        1 => waiting.to_owned(),
        all => format!("{} of {all} commands answered; {waiting}", all - open),
    }
}

fn lock(text: &Mutex<String>) -> MutexGuard<'_, String> {
    text.lock().unwrap_or_else(PoisonError::into_inner)
}
