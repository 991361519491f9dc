//! One invocation: who asks, in which project, how patiently; the connection, made when it is first needed; and
//! the questions that several verbs ask.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chv_domain::{
    Actor, Command, CommandId, ProjectName, Seq, Submission, Timestamp, TraceContext, UserName, VmRef,
};
use chv_proto::client::{Client, ConnectOptions, Waiting};
use chv_proto::convert::{self, EventEntry};
use chv_proto::subject::Audience;
use chv_proto::v1::query_envelope::Query;
use chv_proto::v1::{self, query_reply};
use tokio::sync::OnceCell;

use crate::cli::{Global, Reading};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::output::Format;
use crate::refusal;
use crate::view::garbled;
use crate::view::host::HostView;
use crate::view::vm::VmView;
use crate::wait::Progress;

/// How long a read is waited for.
const READ: Duration = Duration::from_secs(10);
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

impl From<Reading> for Audience {
    fn from(reading: Reading) -> Self {
        if reading.consistent {
            Self::Leader
        } else {
            Self::Any
        }
    }
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

    /// Asks a question.
    pub(crate) async fn query(
        &self,
        audience: Audience,
        query: Query,
        min_seq: Option<Seq>,
    ) -> Result<v1::QueryReply, Failure> {
        let client = self.client().await?;
        client
            .query(audience, query, min_seq, self.patience(READ))
            .await
            .map_err(refusal::query)
    }

    /// A VM and the last event that it was read at; `None` when it is not there.
    pub(crate) async fn find_vm(
        &self,
        vm: &VmRef,
        audience: Audience,
        min_seq: Option<Seq>,
    ) -> Result<Option<(v1::Vm, Seq)>, Failure> {
        let query = Query::GetVm(v1::GetVm {
            vm: Some(convert::vm_ref_to_wire(vm)),
        });
        match self.query(audience, query, min_seq).await {
            Ok(v1::QueryReply {
                applied_seq,
                result: Some(query_reply::Result::Vm(vm)),
                ..
            }) => Ok(Some((vm, Seq(applied_seq)))),
            Ok(_) => Err(unfit()),
            Err(failure) if failure.exit == Exit::NotFound => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// A VM to show.
    pub(crate) async fn vm(&self, vm: &VmRef, audience: Audience) -> Result<VmView, Failure> {
        match self.find_vm(vm, audience, None).await? {
            Some((vm, _)) => VmView::new(vm),
            None => Err(no_vm(vm)),
        }
    }

    /// The VMs of a project, or of all.
    pub(crate) async fn vms(
        &self,
        project: Option<&ProjectName>,
        audience: Audience,
    ) -> Result<Vec<VmView>, Failure> {
        let mut vms: Vec<VmView> = Vec::new();
        let mut after = None;
        loop {
            let query = Query::ListVms(v1::ListVms {
                project: project.map(ToString::to_string).unwrap_or_default(),
                after,
                limit: 0,
            });
            let Some(query_reply::Result::Vms(page)) = self.query(audience, query, None).await?.result else {
                return Err(unfit());
            };
            after = page.vms.last().map(|last| v1::ProjectAndName {
                project: last.project.clone(),
                name: last.name.clone(),
            });
            for vm in page.vms {
                vms.push(VmView::new(vm)?);
            }
            if !page.more || after.is_none() {
                return Ok(vms);
            }
        }
    }

    /// The hosts after a name, up to and with another if one is given.
    pub(crate) async fn hosts_after(
        &self,
        after: &str,
        last: Option<&str>,
        audience: Audience,
    ) -> Result<Vec<HostView>, Failure> {
        let mut hosts: Vec<HostView> = Vec::new();
        let mut after = after.to_owned();
        loop {
            let query = Query::ListHosts(v1::ListHosts { after, limit: 0 });
            let Some(query_reply::Result::Hosts(page)) = self.query(audience, query, None).await?.result
            else {
                return Err(unfit());
            };
            let ended = !page.more || page.hosts.is_empty();
            for host in page.hosts {
                if last.is_some_and(|last| host.name.as_str() > last) {
                    return Ok(hosts);
                }
                hosts.push(host.into());
            }
            match hosts.last() {
                Some(host) if !ended => after = host.name.clone(),
                _ => return Ok(hosts),
            }
        }
    }

    /// An event from the wire.
    pub(crate) fn entry(&self, event: v1::EventMessage) -> Result<EventEntry, Failure> {
        convert::event_from_wire(event).map_err(|error| garbled(&error))
    }
}

fn lock(text: &Mutex<String>) -> MutexGuard<'_, String> {
    text.lock().unwrap_or_else(PoisonError::into_inner)
}

/// For a VM that is not there.
pub(crate) fn no_vm(vm: &VmRef) -> Failure {
    Failure::new(Exit::NotFound, format!("there is no VM {vm}"))
        .or_try("`chv vm list --all-projects` shows those that are")
}

/// For an answer to another question.
pub(crate) fn unfit() -> Failure {
    Failure::new(
        Exit::Internal,
        "the scheduler answered another question than was asked",
    )
    .or_try("`chv --version` and `chv status -o json`: the versions may not fit together")
}
