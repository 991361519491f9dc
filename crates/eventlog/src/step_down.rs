//! A leader hands over: it picks a voter that has all of its log, and asks that one to stand for election.
//!
//! Whoever calls it has stopped appending before. The others vote for nobody else while they hear the leader, but the
//! leader itself does once a lease has passed since its own election, which makes a majority of three; of five, the heir waits for the others' leases to end.

use std::sync::PoisonError;
use std::time::Duration;

use chv_domain::ReplicaId;
use openraft::ServerState;

use crate::log::EventLog;
use crate::net::TakeOver;
use crate::raft::LogId;

/// How long a follower may need for the rest of the log.
const CATCH_UP: Duration = Duration::from_secs(2);

/// How long the heir may take to be elected.
const ELECTION: Duration = Duration::from_millis(1500);

/// Why a leader still leads.
#[derive(Debug, thiserror::Error)]
pub enum StepDownError {
    /// It does not.
    #[error("this replica does not lead")]
    NotLeader,
    /// No other voter has the whole log, is reached, and is able to lead.
    #[error("no other replica can take over: {0}")]
    NoHeir(String),
    /// The one that was asked was not elected in time.
    #[error("replica {0} was asked to take over, and was not elected in time")]
    NotElected(ReplicaId),
}

impl EventLog {
    /// Hands leadership to another replica; resolves once that one is elected. Append nothing meanwhile: an entry on
    /// its way makes it wait, or fail. Idempotent: a replica that does not lead says so.
    pub async fn step_down(&self) -> Result<ReplicaId, StepDownError> {
        if let Err(trouble) = self.inner.disk.writable() {
            // Its own vote would have to be written down.
            return Err(StepDownError::NoHeir(trouble.to_string()));
        }
        self.led_for_a_lease().await;
        let mut asked = Vec::new();
        let mut last_words = "none answers that has the whole log".to_owned();
        let begun = tokio::time::Instant::now();
        while begun.elapsed() < CATCH_UP {
            let Some((heir, address, last)) = self.heir(&asked)? else {
                self.progress().await;
                continue;
            };
            match self.inner.peers.take_over(heir, &address, last).await {
                Ok(TakeOver::Stands) => {
                    if self.led_by_another().await {
                        return Ok(heir);
                    }
                    return Err(StepDownError::NotElected(heir));
                }
                Ok(TakeOver::Declines(why)) => last_words = format!("replica {heir} declines: {why}"),
                Err(error) => last_words = format!("replica {heir}: {error}"),
            }
            asked.push(heir);
        }
        Err(StepDownError::NoHeir(last_words))
    }

    /// Resolves once this replica has led for a lease: before, it votes for nobody else, so nobody can take over.
    pub async fn led_for_a_lease(&self) {
        let term = self.inner.raft.metrics().borrow().current_term;
        let known = { *self.inner.elected.lock().unwrap_or_else(PoisonError::into_inner) };
        if let Some((of, at)) = known
            && of == term
        {
            tokio::time::sleep_until((at + self.inner.lease).into()).await;
        }
    }

    /// A voter that has all of the log and was not asked before, with its address and the log's end.
    fn heir(&self, asked: &[ReplicaId]) -> Result<Option<(ReplicaId, String, LogId)>, StepDownError> {
        let metrics = self.inner.raft.metrics().borrow().clone();
        let (Some(progress), ServerState::Leader) = (&metrics.replication, metrics.state) else {
            return Err(StepDownError::NotLeader);
        };
        let membership = metrics.membership_config.membership();
        let others: Vec<u64> = membership.voter_ids().filter(|id| *id != metrics.id).collect();
        let left = |id: &u64| ReplicaId::new(*id).is_some_and(|id| !asked.contains(&id));
        if !others.iter().any(left) {
            return match asked.is_empty() {
                true => Err(StepDownError::NoHeir("there is none".to_owned())),
                false => Ok(None),
            };
        }
        let answering = self.answering();
        Ok(others.into_iter().filter(left).find_map(|id| {
            let matched = progress.get(&id).copied().flatten()?;
            let heir = ReplicaId::new(id)?;
            let all = Some(matched.index) == metrics.last_log_index && answering.contains(&heir);
            let address = &membership.get_node(&id)?.addr;
            all.then(|| (heir, address.clone(), matched))
        }))
    }

    /// Until a follower has more of the log, or a moment has passed.
    async fn progress(&self) {
        let mut metrics = self.inner.raft.metrics();
        metrics.mark_unchanged();
        let _ = tokio::time::timeout(Duration::from_millis(20), metrics.changed()).await;
    }

    async fn led_by_another(&self) -> bool {
        let mut metrics = self.inner.raft.metrics();
        let another = metrics.wait_for(|now| {
            now.state != ServerState::Leader && now.current_leader.is_some_and(|id| id != now.id)
        });
        tokio::time::timeout(ELECTION, another)
            .await
            .is_ok_and(|seen| seen.is_ok())
    }
}
