//! Clients that change and read a few VMs, subscribers that follow all events, and the history of what they were told.
//!
//! A change names the revision that its client last saw, so at most one of those that compete for it is done. Now and
//! then a change is sent again with its id. Subscribers end now and then and go on where they ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use chv_domain::{Command, CommandId, Seq, UserName, VmId, VmRef};
use chv_proto::client::follow::{self, Filter};
use chv_proto::client::{Client, CommandError, new_command_id};
use chv_proto::subject::Audience;
use chv_proto::v1::{self, power, query_envelope::Query, query_reply, vm_ref};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, PATIENCE};
use crate::history_check::{History, Look, Sent, Told, View};
use crate::vms;

/// How many VMs there are: few, so that clients compete.
const VMS: usize = 4;

/// How many clients.
const CLIENTS: usize = 6;

/// How many subscribers.
const SUBSCRIBERS: usize = 2;

/// How long a client goes on with one command, and with one read.
const WAIT: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(6));

/// The clients of a run.
#[derive(Debug)]
pub struct Clients {
    stop: CancellationToken,
    clients: JoinSet<Result<(Vec<Sent>, Vec<Look>)>>,
    subscribers: JoinSet<Result<Vec<(Seq, CommandId)>>>,
}

/// What one client knows of a VM.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    revision: Seq,
    running: bool,
}

impl Clients {
    /// Creates the VMs, which takes a host, and starts the clients; `seed` gives what they do.
    ///
    /// # Errors
    /// When one can't connect, or a VM is not created.
    pub async fn start(cluster: &Cluster, seed: u64) -> Result<Self> {
        let alice = cluster.client("alice").await?;
        let mut there = Vec::new();
        for number in 0..VMS {
            let create = vms::create(&format!("vm-{number}"), vms::tiny(), false);
            let vm = vms::submit(&alice, create, PATIENCE).await?;
            there.push(vm.vm.parse::<VmId>().context("a VM's id")?);
        }
        let (stop, began, there) = (CancellationToken::new(), Instant::now(), Arc::new(there));
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let client = OneClient {
                number,
                client: cluster.client("alice").await?,
                vms: Arc::clone(&there),
                began,
                dice: StdRng::seed_from_u64(seed ^ (number as u64 + 1)),
                known: vec![Known::default(); VMS],
                highest: Seq::ZERO,
                sent: Vec::new(),
                looks: Vec::new(),
            };
            clients.spawn(client.run(stop.clone()));
        }
        let mut subscribers = JoinSet::new();
        for number in 0..SUBSCRIBERS {
            let client = cluster.client("bob").await?;
            let dice = StdRng::seed_from_u64(seed ^ (number as u64 + 100));
            subscribers.spawn(follow(client, dice, stop.clone()));
        }
        Ok(Self {
            stop,
            clients,
            subscribers,
        })
    }

    /// Ends the clients once what each has under way is answered or given up; all that they were told. The trail is not
    /// in it yet.
    ///
    /// # Errors
    /// When a client was told what no client should ever be.
    pub async fn end(mut self) -> Result<History> {
        self.stop.cancel();
        let mut history = History::default();
        while let Some(ended) = self.clients.join_next().await {
            let (sent, looks) = ended??;
            history.sent.extend(sent);
            history.looks.extend(looks);
        }
        while let Some(ended) = self.subscribers.join_next().await {
            history.streams.push(ended??);
        }
        Ok(history)
    }
}

struct OneClient {
    number: usize,
    client: Client,
    vms: Arc<Vec<VmId>>,
    began: Instant,
    dice: StdRng,
    known: Vec<Known>,
    /// The last event that this client knows of.
    highest: Seq,
    sent: Vec<Sent>,
    looks: Vec<Look>,
}

impl OneClient {
    async fn run(mut self, stop: CancellationToken) -> Result<(Vec<Sent>, Vec<Look>)> {
        while !stop.is_cancelled() {
            let at = self.dice.random_range(0..self.vms.len());
            match self.dice.random_range(0..10) {
                0..3 => self.look(at, View::Leader).await?,
                3..5 => self.look(at, View::Any(self.highest)).await?,
                _ if self.known[at].revision == Seq::ZERO => self.look(at, View::Leader).await?,
                _ => self.change(at).await?,
            }
        }
        Ok((self.sent, self.looks))
    }

    async fn change(&mut self, at: usize) -> Result<()> {
        let id = new_command_id();
        let known = self.known[at];
        self.submit(at, id, known).await?;
        if self.dice.random_range(0..8) == 0 {
            self.submit(at, id, known).await?;
        }
        Ok(())
    }

    async fn submit(&mut self, at: usize, id: CommandId, known: Known) -> Result<()> {
        let vm = self.vms[at];
        let by_id = VmRef::Id(vm);
        let command = match known.running {
            true => Command::StopVm {
                vm: by_id,
                timeout: None,
            },
            false => Command::StartVm { vm: by_id },
        };
        let user: UserName = self.client.user().parse().context("a person's user")?;
        let mut submission = vms::submission(&user, id, command);
        submission.expected = Some(known.revision);
        let began = self.began.elapsed();
        let answer = self.client.submit(&submission, WAIT.0, None).await;
        let until = self.began.elapsed();
        let told = match answer {
            Ok(accepted) if accepted.unchanged => Told::Unchanged,
            Ok(accepted) => {
                let (first, last) = (Seq(accepted.first_seq), Seq(accepted.last_seq));
                self.highest = self.highest.max(last);
                // A repeated answer may be older than what this client knows by now.
                if last > self.known[at].revision {
                    self.known[at] = Known {
                        revision: last,
                        running: !known.running,
                    };
                }
                Told::Done { first, last }
            }
            Err(CommandError::Refused(refusal)) if refusal.code == "conflict" => {
                self.known[at] = Known::default();
                Told::Conflict
            }
            Err(CommandError::Refused(refusal)) if !refusal.retryable => {
                anyhow::bail!("a change was refused with {}: {refusal}", refusal.code)
            }
            Err(error @ (CommandError::Protocol(_) | CommandError::ShutOut { .. })) => {
                return Err(error.into());
            }
            Err(_) => {
                self.known[at] = Known::default();
                Told::Nothing
            }
        };
        self.sent.push(Sent {
            command: id,
            vm,
            expected: known.revision,
            at: began,
            until,
            told,
        });
        Ok(())
    }

    async fn look(&mut self, at: usize, view: View) -> Result<()> {
        let vm = self.vms[at];
        let named = v1::VmRef {
            vm: Some(vm_ref::Vm::Id(vm.to_string())),
        };
        let query = Query::GetVm(v1::GetVm { vm: Some(named) });
        let (audience, least) = match view {
            View::Leader => (Audience::Leader, None),
            View::Any(least) => (Audience::Any, Some(least)),
        };
        let began = self.began.elapsed();
        // What is not answered shows nothing.
        let Ok(reply) = self.client.query(audience, query, least, WAIT.1).await else {
            return Ok(());
        };
        let until = self.began.elapsed();
        let Some(query_reply::Result::Vm(found)) = reply.result else {
            anyhow::bail!("that is no VM: {:?}", reply.result);
        };
        let (applied, revision) = (Seq(reply.applied_seq), Seq(found.revision));
        let power = found.power.and_then(|power| power.power);
        self.known[at] = Known {
            revision,
            running: matches!(power, Some(power::Power::Running(_))),
        };
        // The state that was read had at least this; the replica may have applied more by the time it answered.
        self.highest = self.highest.max(revision);
        self.looks.push(Look {
            client: self.number,
            vm,
            view,
            at: began,
            until,
            applied,
            revision,
        });
        Ok(())
    }
}

/// Follows all events, and begins anew where it ended every now and then.
async fn follow(client: Client, mut dice: StdRng, stop: CancellationToken) -> Result<Vec<(Seq, CommandId)>> {
    let mut seen: Vec<(Seq, CommandId)> = Vec::new();
    loop {
        let from = seen.last().map_or(Seq(1), |(seq, _)| seq.next());
        let mut events = follow::events(&client, from, Filter::default());
        for _ in 0..dice.random_range(50..400) {
            let event = tokio::select! {
                () = stop.cancelled() => return Ok(seen),
                event = events.recv() => event,
            };
            match event {
                Some(event) => seen.push((Seq(event.seq), event.command.parse()?)),
                None => anyhow::bail!("following ended: {:?}", events.failure()),
            }
        }
    }
}
