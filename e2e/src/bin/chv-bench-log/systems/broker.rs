//! The broker alone: a server behind it answers each command at once with as much as Chronovisor's leader would, and
//! publishes as many events of the same size. It decides, keeps and replicates nothing. What this costs, every commit
//! costs too, whatever the log does: it is no system to use, but a bound for one.

use std::path::Path;

use anyhow::{Context, Result};
use chv_domain::Verb;
use chv_e2e::{PATIENCE, Program, RigDirectory, free_ports, wait_until};
use chv_proto::subject;
use chv_proto::v1::{self, command_reply};
use futures::StreamExt;
use prost::Message as _;

use super::{Owner, Running, Server};
use crate::payload::USER;
use crate::plan::{Nats, Target};

/// What subscribers of Chronovisor are sent of one such command, in bytes: a VM was created, and placed.
const EVENTS: [(&str, usize); 2] = [("created", 430), ("placed", 310)];

pub(super) async fn start(parent: &Path, nats_server: &Path) -> Result<Running> {
    let directory = RigDirectory::new(parent)?;
    let port = free_ports(1)?[0];
    let file = directory.path().join("nats.conf");
    std::fs::write(&file, format!("listen: 127.0.0.1:{port}\n"))?;
    let program = directory.program("nats-server", nats_server.to_owned());
    let mut broker = program.arg("--config").arg(file);
    broker.start()?;
    let url = format!("nats://127.0.0.1:{port}");
    wait_until("the broker listens", PATIENCE, async || {
        async_nats::connect(&url).await.map(drop).context("the broker")
    })
    .await?;
    let program = directory.program("answers", std::env::current_exe()?);
    let mut answers = program.args(["answer", &url]);
    answers.start()?;
    let client = async_nats::connect(&url).await?;
    let probe = subject::command(&USER.parse().context("a user's name")?, Verb::VmCreate);
    wait_until("commands are answered", PATIENCE, async || {
        let asked = client.request(probe.clone(), "".into()).await;
        asked.map(drop).context("an answer")
    })
    .await?;
    let server = |program: &Program| {
        let pid = program.pid().context("it was started")?;
        Ok(Server {
            name: program.name().to_owned(),
            pid,
            data: None,
        })
    };
    let (user, password) = (USER.to_owned(), String::new());
    Ok(Running {
        servers: [&broker, &answers]
            .into_iter()
            .map(server)
            .collect::<Result<_>>()?,
        target: Target::Chronovisor(Nats { url, user, password }),
        owner: Owner::Programs {
            programs: vec![answers, broker],
            _directory: directory,
        },
    })
}

/// Answers commands at `url` until it is ended.
pub(crate) async fn answer(url: &str) -> Result<()> {
    let client = async_nats::connect(url).await?;
    let user = USER.parse().context("a user's name")?;
    let mut single = client.subscribe(subject::command(&user, Verb::VmCreate)).await?;
    let mut batches = client
        .subscribe(subject::command_batch(&user, Verb::VmCreate))
        .await?;
    let mut seq = 0_u64;
    loop {
        let (message, batch) = tokio::select! {
            Some(message) = single.next() => (message, false),
            Some(message) = batches.next() => (message, true),
            else => return Ok(()),
        };
        let count = match batch {
            true => v1::CommandBatch::decode(message.payload)?.commands.len(),
            false => 1,
        };
        for _ in 0..count {
            for (kind, size) in EVENTS {
                seq += 1;
                let to = format!("chv.evt.vm.default.{:026}.{kind}", seq / 2);
                let mut headers = async_nats::HeaderMap::new();
                headers.insert("Nats-Msg-Id", seq.to_string());
                client
                    .publish_with_headers(to, headers, vec![b'x'; size].into())
                    .await?;
            }
        }
        let reply = match batch {
            true => v1::CommandBatchReply {
                version: 1,
                replies: (0..count).map(|_| accepted(seq)).collect(),
                refused: None,
            }
            .encode_to_vec(),
            false => accepted(seq).encode_to_vec(),
        };
        if let Some(inbox) = message.reply {
            client.publish(inbox, reply.into()).await?;
        }
    }
}

/// As large as a real answer.
fn accepted(seq: u64) -> v1::CommandReply {
    let id = "0".repeat(26);
    let accepted = v1::Accepted {
        first_seq: seq,
        last_seq: seq,
        revision: seq,
        vm: id.clone(),
        host: "stand-in".to_owned(),
        host_id: id.clone(),
        placement: "stand-in (stand-in: score 999)".to_owned(),
        ..v1::Accepted::default()
    };
    v1::CommandReply {
        version: 1,
        id,
        result: Some(command_reply::Result::Accepted(accepted)),
    }
}
