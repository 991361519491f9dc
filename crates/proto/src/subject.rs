//! The NATS subjects: the one place that builds them and takes them apart. deploy/nats grants the same
//! ones to the users; nothing here sends anything.
//!
//! Every token that comes from outside is a DNS label by its type, so no name can smuggle in a `.`, a
//! wildcard or a space.

use std::fmt;

use chv_domain::name::NameError;
use chv_domain::name::is_label;
use chv_domain::{Actor, Event, HostName, Resource, UserName, Verb};

use crate::v1::query_envelope::Query;

/// The largest command, in bytes of its envelope. The intake refuses more, and a client does not send it.
pub const MAX_COMMAND_BYTES: usize = 256 << 10;

/// Every command of every user; for the leader.
pub const COMMANDS: &str = "chv.cmd.*.*.*";
/// Every message with several commands, of every user; for the leader.
pub const COMMAND_BATCHES: &str = "chv.cmd.*.*.*.batch";
/// Every host's registration; for the leader.
pub const HOST_REGISTRATIONS: &str = "chv.host.*.register";
/// Every host's reports; for the leader.
pub const HOST_REPORTS: &str = "chv.host.*.report";
/// Every host's heartbeats; for every replica.
pub const HOST_HEARTBEATS: &str = "chv.host.*.heartbeat";
/// Every host's requests for its slice; for any replica.
pub const HOST_SLICES: &str = "chv.host.*.slice";
/// Every event.
pub const EVENTS: &str = "chv.evt.>";
/// The leader's word, once a second, that it leads and how far it has published.
pub const TICK: &str = "chv.tick";

/// Stands where a name is not known, such as the project of a VM that is gone. No name is `-`.
const UNKNOWN: &str = "-";

/// Who answers a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Audience {
    /// Any one replica, from what it has applied.
    Any,
    /// The leader, after it made sure that it leads.
    Leader,
    /// Every replica, each for itself.
    Each,
}

impl Audience {
    /// Every audience.
    pub const ALL: [Self; 3] = [Self::Any, Self::Leader, Self::Each];

    /// Its token in a subject.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Leader => "leader",
            Self::Each => "each",
        }
    }
}

impl fmt::Display for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a host daemon sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HostMessage {
    /// What the host is; a command.
    Register,
    /// What was measured of a VM; a command.
    Report,
    /// That the daemon lives.
    Heartbeat,
    /// A request for all that the host should run.
    Slice,
}

impl HostMessage {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Register, Self::Report, Self::Heartbeat, Self::Slice];

    /// Its token in a subject.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Report => "report",
            Self::Heartbeat => "heartbeat",
            Self::Slice => "slice",
        }
    }
}

impl fmt::Display for HostMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What is asked of a VM's console.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConsoleMessage {
    /// Output, from an offset.
    Read,
    /// Input.
    Write,
}

impl ConsoleMessage {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Read, Self::Write];

    /// Its token in a subject.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

impl fmt::Display for ConsoleMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a subject is not of the kind that it was taken for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    /// Other tokens, or another number of them.
    #[error("{subject:?} is not {expected}")]
    Shape {
        /// The subject.
        subject: String,
        /// The shape that it should have.
        expected: &'static str,
    },
    /// A token that should be a name is none.
    #[error("{subject:?}: {source}")]
    Name {
        /// The subject.
        subject: String,
        /// What is wrong with the name.
        source: NameError,
    },
}

/// Where `user` sends a command of this kind.
pub fn command(user: &UserName, verb: Verb) -> String {
    format!("chv.cmd.{user}.{verb}")
}

/// Where `actor` sends a command of this kind: hosts register and report on subjects of their own.
pub fn command_of(actor: &Actor, verb: Verb) -> String {
    match (actor, verb) {
        (Actor::User(user), verb) => command(user, verb),
        (Actor::Host(host), Verb::HostRegister) => host_message(host, HostMessage::Register),
        (Actor::Host(host), Verb::HostReport) => host_message(host, HostMessage::Report),
        // A replica hands what it decides as leader to its own decider; nobody may send it.
        (Actor::Replica(replica), verb) => format!("chv.replica.{replica}.{verb}"),
        // No host may send it, and the broker says so; the subject only has to be the sender's own.
        (Actor::Host(host), verb) => format!("chv.host.{host}.{verb}"),
    }
}

/// Where `user` sends several commands of this kind in one message.
pub fn command_batch(user: &UserName, verb: Verb) -> String {
    format!("{}.batch", command(user, verb))
}

/// Where `user` asks this query.
pub fn query(user: &UserName, audience: Audience, query: &Query) -> String {
    format!("chv.query.{user}.{audience}.{}", query_kind(query))
}

/// What kind of query, as `noun.verb`: the last two tokens of its subject.
pub const fn query_kind(query: &Query) -> &'static str {
    match query {
        Query::GetVm(_) => "vm.get",
        Query::ListVms(_) => "vm.list",
        Query::ListHosts(_) => "host.list",
        Query::ListEvents(_) => "event.list",
        Query::GetStatus(_) => "status.get",
        Query::ReadLog(_) => "log.read",
        Query::ReadBase(_) => "log.base",
        Query::GetCluster(_) => "cluster.get",
    }
}

/// Every query of every user for this audience.
pub const fn queries(audience: Audience) -> &'static str {
    match audience {
        Audience::Any => "chv.query.*.any.*.*",
        Audience::Leader => "chv.query.*.leader.*.*",
        Audience::Each => "chv.query.*.each.*.*",
    }
}

/// Where `host` sends a message of this kind.
pub fn host_message(host: &HostName, message: HostMessage) -> String {
    format!("chv.host.{host}.{message}")
}

/// Where the leader tells `host` what changed for it.
pub fn feed(host: &HostName) -> String {
    format!("chv.feed.{host}")
}

/// Where an event is published. `project` and `name` are of what it is about, as far as they are known;
/// a `-` stands for one that is not a name, such as the empty project of a VM that is gone.
pub fn event(event: &Event, project: &str, name: &str) -> String {
    let kind = event.kind();
    match event.resource() {
        Resource::Vm(vm) => {
            let (vm, mut text) = (vm.ulid(), [0; ulid::ULID_LEN]);
            let tokens = [
                "chv.evt.vm.",
                label_or_unknown(project),
                ".",
                vm.array_to_str(&mut text),
                ".",
                kind,
            ];
            tokens.concat()
        }
        Resource::Host(_) => format!("chv.evt.host.{}.{kind}", label_or_unknown(name)),
        Resource::Cluster => format!("chv.evt.cluster.{kind}"),
    }
}

fn label_or_unknown(text: &str) -> &str {
    match is_label(text) {
        true => text,
        false => UNKNOWN,
    }
}

/// Where `user` asks `host` about a console.
pub fn console(user: &UserName, host: &HostName, message: ConsoleMessage) -> String {
    format!("chv.console.{user}.{host}.{message}")
}

/// Every user's console requests to `host`.
pub fn console_requests(host: &HostName) -> String {
    format!("chv.console.*.{host}.*")
}

/// The NATS user of a host's daemon. A person's is the person's name.
pub fn host_user(host: &HostName) -> String {
    format!("host-{host}")
}

/// What every inbox of the NATS user `user` begins with; the broker lets it subscribe to no other.
pub fn inbox_prefix(user: &str) -> String {
    format!("_INBOX.{user}")
}

/// Whether `reply` is a subject below the inboxes of the NATS user `user`, and one only.
pub fn is_inbox_of(user: &str, reply: &str) -> bool {
    let mut tokens = reply.split('.');
    let own = tokens.next() == Some("_INBOX") && tokens.next() == Some(user);
    let plain = |token: &str| {
        !token.is_empty()
            && token
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'*' | b'>'))
    };
    let rest: Vec<_> = tokens.collect();
    own && !rest.is_empty() && rest.into_iter().all(plain)
}

/// Whether `reply` is a subject below the inboxes of `host`'s daemon, and one only.
pub fn is_inbox_of_host(host: &HostName, reply: &str) -> bool {
    is_inbox_of(&host_user(host), reply)
}

fn shape(subject: &str, expected: &'static str) -> SubjectError {
    SubjectError::Shape {
        subject: subject.to_owned(),
        expected,
    }
}

fn name<T>(subject: &str, token: &str) -> Result<T, SubjectError>
where
    T: std::str::FromStr<Err = NameError>,
{
    token.parse().map_err(|source| SubjectError::Name {
        subject: subject.to_owned(),
        source,
    })
}

/// The sender of a command, and its kind as `noun.verb`. The kind is whatever the subject says, so that a
/// sender whose kind is not known here can be told so.
pub fn parse_command(subject: &str) -> Result<(UserName, String), SubjectError> {
    let tokens: Vec<_> = subject.split('.').collect();
    let ["chv", "cmd", user, noun, verb] = tokens[..] else {
        return Err(shape(subject, "chv.cmd.<user>.<noun>.<verb>"));
    };
    Ok((name(subject, user)?, format!("{noun}.{verb}")))
}

/// The sender of several commands in one message, and their kind as `noun.verb`, as [`parse_command`] tells them.
pub fn parse_command_batch(subject: &str) -> Result<(UserName, String), SubjectError> {
    match subject.strip_suffix(".batch") {
        Some(command) => parse_command(command),
        None => Err(shape(subject, "chv.cmd.<user>.<noun>.<verb>.batch")),
    }
}

/// The sender of a query, who is to answer it, and its kind as `noun.verb`, whatever that may be.
pub fn parse_query(subject: &str) -> Result<(UserName, Audience, String), SubjectError> {
    const SHAPE: &str = "chv.query.<user>.<any|leader|each>.<noun>.<verb>";
    let tokens: Vec<_> = subject.split('.').collect();
    let ["chv", "query", user, audience, noun, verb] = tokens[..] else {
        return Err(shape(subject, SHAPE));
    };
    let audience = Audience::ALL.into_iter().find(|known| known.as_str() == audience);
    let audience = audience.ok_or_else(|| shape(subject, SHAPE))?;
    Ok((name(subject, user)?, audience, format!("{noun}.{verb}")))
}

/// The host that sent a message, and its kind.
pub fn parse_host(subject: &str) -> Result<(HostName, HostMessage), SubjectError> {
    const SHAPE: &str = "chv.host.<host>.<register|report|heartbeat|slice>";
    let tokens: Vec<_> = subject.split('.').collect();
    let ["chv", "host", host, message] = tokens[..] else {
        return Err(shape(subject, SHAPE));
    };
    let message = HostMessage::ALL
        .into_iter()
        .find(|known| known.as_str() == message);
    let message = message.ok_or_else(|| shape(subject, SHAPE))?;
    Ok((name(subject, host)?, message))
}

/// Who asks which host about a console, and what.
pub fn parse_console(subject: &str) -> Result<(UserName, HostName, ConsoleMessage), SubjectError> {
    const SHAPE: &str = "chv.console.<user>.<host>.<read|write>";
    let tokens: Vec<_> = subject.split('.').collect();
    let ["chv", "console", user, host, message] = tokens[..] else {
        return Err(shape(subject, SHAPE));
    };
    let message = ConsoleMessage::ALL
        .into_iter()
        .find(|known| known.as_str() == message);
    let message = message.ok_or_else(|| shape(subject, SHAPE))?;
    Ok((name(subject, user)?, name(subject, host)?, message))
}

#[cfg(test)]
mod tests;
