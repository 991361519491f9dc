//! How long nobody's commands are acknowledged when the leader is lost, as those who send them see it.
//!
//! A round: under load, the leader is killed, and the time runs from the kill until a command that was sent after it is
//! acknowledged; then the killed replica is started again and waited for. Where the leader is asked to step down, what
//! counts is the longest time in which none of the load's commands is acknowledged. Commands sent before the kill say nothing:
//! their answers may have been on their way.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chv_domain::Command;
use chv_proto::client::{Client, new_command_id};

use crate::cluster::{Cluster, Options, PATIENCE};
use crate::faults::Load;
use crate::stand_in::StandIn;
use crate::vms;

/// How many clients keep sending.
const SENDERS: usize = 8;

/// For how long a handing over is looked at: longer than it may take.
const LOOK: Duration = Duration::from_secs(2);

/// How a leader is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Its process is killed with -9.
    Kill,
    /// It is asked to step down.
    StepDown,
}

/// A cluster under load, whose leader is lost again and again.
#[derive(Debug)]
pub struct Failover {
    client: Client,
    load: Load,
    _host: StandIn,
}

impl Failover {
    /// Runs `rounds` of losing the leader; how long each took.
    ///
    /// # Errors
    /// When the cluster does not start, or does not come back.
    pub async fn measure(
        loss: Loss,
        rounds: u32,
        mut told: impl FnMut(u32, Duration),
    ) -> Result<Vec<Duration>> {
        Cluster::run(Options::log_only(), async |cluster| {
            let host = cluster.stand_in().await?;
            let client = cluster.client("alice").await?;
            let failover = Self {
                load: Load::start(&client, SENDERS),
                client,
                _host: host,
            };
            let mut took = Vec::new();
            for round in 1..=rounds {
                failover.settle(cluster, round).await?;
                let one = failover.round(cluster, loss).await?;
                told(round, one);
                took.push(one);
            }
            Ok(took)
        })
        .await
    }

    /// Waits until all replicas are there, the load goes on, and a while that is another one in each round: a kill must
    /// not always hit the same moment between two heartbeats.
    async fn settle(&self, cluster: &mut Cluster, round: u32) -> Result<()> {
        cluster.wait_for_leader().await?;
        let client = &self.client;
        cluster
            .wait("all replicas are up with the log", PATIENCE, async || {
                let states = client.status_of_each(Duration::from_secs(1), false).await?;
                let newest = states.iter().map(|state| state.applied_seq).max().unwrap_or(0);
                let close = states.iter().filter(|state| state.applied_seq + 200 > newest);
                let close = close.count();
                ensure!(close == 3, "{close} are");
                Ok(())
            })
            .await?;
        let before = self.load.count();
        let goes_on = async || {
            let more = self.load.count() - before;
            ensure!(more > 50, "{more} more commands are acknowledged");
            Ok(())
        };
        cluster.wait("the load goes on", PATIENCE, goes_on).await?;
        tokio::time::sleep(Duration::from_millis(u64::from(round * 37 % 250))).await;
        Ok(())
    }

    async fn round(&self, cluster: &mut Cluster, loss: Loss) -> Result<Duration> {
        let leader = cluster.leader().await.context("somebody led a moment ago")?;
        let began = match loss {
            Loss::Kill => {
                let began = Instant::now();
                cluster.scheduler(leader).kill()?;
                began
            }
            Loss::StepDown => {
                vms::submit(&self.client, Command::StepDown, PATIENCE).await?;
                // What is asked of a leader that steps down may still be answered by itself, so one command's time says
                // nothing.
                let silence = self.load.longest_silence(LOOK).await;
                let next = cluster.leader().await;
                ensure!(
                    next.as_ref().is_ok_and(|next| *next != leader),
                    "replica {leader} leads still: {next:?}"
                );
                return Ok(silence);
            }
        };
        one_more(&self.client).await?;
        let took = began.elapsed();
        if cluster.scheduler(leader).pid().is_none() {
            cluster.scheduler(leader).start()?;
        }
        Ok(took)
    }
}

/// Sends a command, and waits for its answer.
async fn one_more(client: &Client) -> Result<()> {
    let name = format!("probe-{}", new_command_id()).to_lowercase();
    vms::submit(client, vms::create(&name, vms::tiny(), false), PATIENCE).await?;
    Ok(())
}

/// The time that `percent` of `times` don't exceed.
///
/// # Errors
/// When there are none.
pub fn percentile(times: &[Duration], percent: usize) -> Result<Duration> {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().context("there are no times")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_time_that_so_many_do_not_exceed() {
        let times: Vec<Duration> = (1..=50).rev().map(Duration::from_millis).collect();
        assert_eq!(percentile(&times, 50).unwrap(), Duration::from_millis(25));
        assert_eq!(percentile(&times, 99).unwrap(), Duration::from_millis(50));
        assert_eq!(percentile(&times[..1], 50).unwrap(), Duration::from_millis(50));
        assert!(percentile(&[], 50).is_err());
    }
}
