//! What a cluster says of itself: who leads, which hosts are heard of, whether the replicas agree.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use chv_proto::client::Client;
use chv_proto::subject::Audience;
use chv_proto::v1::{self, query_envelope::Query, query_reply};

use crate::cluster::{Cluster, PATIENCE};
use crate::vms;

/// How long replicas may take to say how they are.
const ANSWER: Duration = Duration::from_secs(1);

/// How long a host in a box may take to boot, and to check its hypervisors, which boots guests in it.
const BOXED: Duration = Duration::from_secs(120);

impl Cluster {
    /// Waits until every host is registered and alive to the leader.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn wait_for_hosts(&mut self) -> Result<Vec<v1::Host>> {
        let alice = self.client("alice").await?;
        let all = self.hosts.len();
        let patience = if self.boxes.is_empty() { PATIENCE } else { BOXED };
        self.wait("every host is registered and alive", patience, async || {
            let hosts = hosts(&alice).await?;
            let alive = hosts.iter().filter(|host| host.alive).count();
            if alive == all {
                Ok(hosts)
            } else {
                Err(anyhow!("{alive} of {all} are"))
            }
        })
        .await
    }

    /// Waits until the guest of a VM is ready that boots in a box.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn wait_until_ready_in_a_box(&mut self, name: &str) -> Result<v1::Vm> {
        let alice = self.client("alice").await?;
        self.wait(&format!("{name} is ready"), BOXED, async || {
            let vm = vms::find(&alice, name).await?.context("there is no such VM")?;
            ensure!(vm.status == "ready", "it is {} {}", vm.status, vm.trouble);
            Ok(vm)
        })
        .await
    }

    /// Waits until a replica leads, as all that answer agree; its number.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn wait_for_leader(&mut self) -> Result<usize> {
        let alice = self.client("alice").await?;
        self.wait("a replica leads", PATIENCE, async || leader(&alice).await)
            .await
    }

    /// The number of the replica that leads now, from 1.
    ///
    /// # Errors
    /// When none does.
    pub async fn leader(&self) -> Result<usize> {
        leader(&self.client("alice").await?).await
    }

    /// Waits until every running replica has applied the same events; the state that they agree on.
    ///
    /// # Errors
    /// When they don't, or their digests differ although they have applied the same.
    pub async fn wait_for_agreement(&mut self) -> Result<v1::ReplicaStatus> {
        let replicas = self.schedulers.iter();
        let running = replicas.filter(|replica| replica.pid().is_some()).count();
        let alice = self.client("alice").await?;
        let what = "all running replicas have applied the same events";
        let look = async || {
            let states = alice.status_of_each(ANSWER, true).await?;
            let seqs: Vec<u64> = states.iter().map(|state| state.applied_seq).collect();
            if seqs.len() == running && seqs.iter().all(|seq| *seq == seqs[0]) {
                Ok(states)
            } else {
                Err(anyhow!("{running} run, and have applied {seqs:?}"))
            }
        };
        let states = self.wait(what, PATIENCE, look).await?;
        let first = states.first().context("at least one replica runs")?;
        if first.digest.is_empty() || states.iter().any(|state| state.digest != first.digest) {
            let digests: Vec<_> = states
                .iter()
                .map(|state| (state.replica, &state.digest))
                .collect();
            bail!(
                "after the same {} events the digests differ: {digests:?}",
                first.applied_seq
            );
        }
        Ok(first.clone())
    }
}

pub(crate) async fn hosts(client: &Client) -> Result<Vec<v1::Host>> {
    let query = Query::ListHosts(v1::ListHosts::default());
    let reply = client.query(Audience::Leader, query, None, ANSWER).await?;
    match reply.result {
        Some(query_reply::Result::Hosts(page)) => Ok(page.hosts),
        other => bail!("that is no list of hosts: {other:?}"),
    }
}

pub(crate) async fn leader(client: &Client) -> Result<usize> {
    let states = client.status_of_each(ANSWER, false).await?;
    let leading = states
        .iter()
        .filter(|state| state.role == "leader")
        .max_by_key(|state| state.term);
    let leader = leading.with_context(|| {
        let roles: Vec<_> = states
            .iter()
            .map(|state| (state.replica, &state.role, state.term))
            .collect();
        format!("none of {roles:?} leads")
    })?;
    Ok(usize::try_from(leader.replica)?)
}
