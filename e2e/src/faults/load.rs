//! Clients that create VMs one after the other, and remember what was acknowledged.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use chv_domain::{CommandId, UserName};
use chv_proto::client::{Client, new_command_id};
use chv_proto::v1;
use tokio::task::JoinSet;

use crate::cluster::Cluster;
use crate::history_check::all_kept;
use crate::trail::{contiguous, trail};
use crate::vms;

/// How long a client goes on with one command.
const PATIENCE: Duration = Duration::from_secs(120);

/// A command that was answered, and the events that the answer named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledged {
    /// The command.
    pub command: CommandId,
    /// The number of its first event.
    pub first: u64,
    /// The number of its last event.
    pub last: u64,
}

/// The clients, until this is dropped.
#[derive(Debug)]
pub struct Load {
    acknowledged: Arc<Mutex<Vec<Acknowledged>>>,
    _senders: JoinSet<()>,
}

impl Load {
    /// Starts `senders` clients over one connection. Needs a host that takes VMs.
    pub fn start(client: &Client, senders: usize) -> Self {
        let acknowledged = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        for sender in 0..senders {
            tasks.spawn(send(client.clone(), sender, Arc::clone(&acknowledged)));
        }
        Self {
            acknowledged,
            _senders: tasks,
        }
    }

    /// All that was acknowledged until now.
    pub fn acknowledged(&self) -> Vec<Acknowledged> {
        self.acknowledged
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// How much was acknowledged until now.
    pub fn count(&self) -> usize {
        self.acknowledged
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// Waits until `count` more commands are acknowledged.
    ///
    /// # Errors
    /// When that takes too long, or a program has ended.
    pub async fn goes_on(&self, cluster: &mut Cluster, count: usize) -> Result<()> {
        let before = self.count();
        let look = async || {
            let more = self.count() - before;
            ensure!(more >= count, "{more} more commands are acknowledged");
            Ok(())
        };
        cluster.wait("the load goes on", crate::PATIENCE, look).await
    }

    /// Ends the clients, and waits until all running replicas agree: on a trail without a hole, in which all is that was
    /// acknowledged.
    ///
    /// # Errors
    /// When it is not so.
    pub async fn end(self, cluster: &mut Cluster) -> Result<()> {
        let acknowledged = self.acknowledged();
        drop(self);
        cluster.wait_for_agreement().await?;
        let trail = trail(&cluster.client("alice").await?, None).await?;
        contiguous(&trail)?;
        Ok(all_kept(&acknowledged, &trail)?)
    }

    /// The longest time without an acknowledged command, of the next `look`.
    pub async fn longest_silence(&self, look: Duration) -> Duration {
        let begun = Instant::now();
        let (mut known, mut since, mut longest) = (self.count(), begun, Duration::ZERO);
        while begun.elapsed() < look {
            tokio::time::sleep(Duration::from_millis(1)).await;
            longest = longest.max(since.elapsed());
            let count = self.count();
            if count != known {
                (known, since) = (count, Instant::now());
            }
        }
        longest
    }
}

async fn send(client: Client, sender: usize, acknowledged: Arc<Mutex<Vec<Acknowledged>>>) {
    let user: UserName = client
        .user()
        .parse()
        .expect("a person's NATS user is a user's name");
    for number in 0_u64.. {
        let command = new_command_id();
        let create = vms::create(&format!("load-{sender}-{number}"), vms::tiny(), false);
        let submission = vms::submission(&user, command, create);
        // What has no answer says nothing.
        if let Ok(v1::Accepted {
            first_seq: first,
            last_seq: last,
            ..
        }) = client.submit(&submission, PATIENCE, None).await
        {
            acknowledged
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(Acknowledged { command, first, last });
        }
    }
}
