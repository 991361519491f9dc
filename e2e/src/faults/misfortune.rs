//! What happens to replicas in a run: one misfortune after the other, each of which ends after a while.

use std::time::Duration;

use anyhow::Result;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use super::{End, Links, ReadOnlyMount, Rounds};
use crate::cluster::Cluster;

/// How many replicas there are.
const REPLICAS: usize = 3;

/// How long one lasts, in milliseconds: from less than an election takes to more than that.
const LASTS: std::ops::Range<u64> = 400..3_500;

/// How long all is well after it, in milliseconds.
const PAUSE: std::ops::Range<u64> = 200..1_500;

/// What happens to one replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misfortune {
    /// Killed with -9, and started again later.
    Killed,
    /// Stopped (SIGSTOP), and let go on later.
    Paused,
    /// Cut off from both other replicas and from NATS.
    Alone,
    /// Cut off from the other replicas; it has NATS, as they have.
    CutFromReplicas,
    /// Cut off from NATS alone.
    CutFromBroker,
    /// It hears none of the other replicas, and they hear it.
    Deaf,
    /// None of the other replicas hears it, and it hears them.
    Mute,
    /// It and one other replica are cut off from each other; each has the third.
    CutFromOne,
    /// It can make no files, as on a read-only disk.
    CantWrite,
}

impl Misfortune {
    const ALL: [Self; 9] = [
        Self::Killed,
        Self::Paused,
        Self::Alone,
        Self::CutFromReplicas,
        Self::CutFromBroker,
        Self::Deaf,
        Self::Mute,
        Self::CutFromOne,
        Self::CantWrite,
    ];

    /// What does not get through while it lasts.
    fn cuts(self, replica: usize) -> Vec<(End, End)> {
        let own = End::Replica(replica);
        let others: Vec<End> = (1..=REPLICAS)
            .filter(|other| *other != replica)
            .map(End::Replica)
            .collect();
        let to = |ends: &[End]| ends.iter().map(|end| (own, *end)).collect::<Vec<_>>();
        let from = |ends: &[End]| ends.iter().map(|end| (*end, own)).collect::<Vec<_>>();
        match self {
            Self::Killed | Self::Paused | Self::CantWrite => Vec::new(),
            Self::Alone => {
                let all = [&others[..], &[End::Broker]].concat();
                [to(&all), from(&all)].concat()
            }
            Self::CutFromReplicas => [to(&others), from(&others)].concat(),
            Self::CutFromBroker => [to(&[End::Broker]), from(&[End::Broker])].concat(),
            Self::Deaf => from(&others),
            Self::Mute => to(&others),
            Self::CutFromOne => [to(&others[..1]), from(&others[..1])].concat(),
        }
    }

    async fn befall(
        self,
        cluster: &mut Cluster,
        links: &Links,
        replica: usize,
        lasts: Duration,
    ) -> Result<()> {
        let mut cant_write = None;
        match self {
            Self::Killed => cluster.scheduler(replica).kill()?,
            Self::Paused => cluster.scheduler(replica).pause()?,
            Self::CantWrite => {
                let place = cluster.directory().join(format!("s{replica}"));
                cant_write = Some(ReadOnlyMount::over(place)?);
            }
            _ => links.cut(&self.cuts(replica))?,
        }
        tokio::time::sleep(lasts).await;
        match self {
            Self::Killed => cluster.scheduler(replica).start(),
            Self::Paused => cluster.scheduler(replica).resume(),
            Self::CantWrite => {
                drop(cant_write);
                Ok(())
            }
            _ => links.heal(),
        }
    }
}

/// Lets each kind of misfortune befall a replica in each of `rounds`, in an order that their seed gives; half of the times
/// the one that leads.
///
/// # Errors
/// When something can't be done, or a replica ends that was not killed.
pub async fn befall(cluster: &mut Cluster, links: &Links, rounds: &mut Rounds) -> Result<()> {
    let mut dice = StdRng::seed_from_u64(rounds.seed());
    while rounds.begin_another() {
        let mut kinds = Misfortune::ALL;
        kinds.shuffle(&mut dice);
        for misfortune in kinds {
            let (any, leading) = (dice.random_range(1..=REPLICAS), dice.random_range(0..2) == 0);
            let replica = match leading {
                true => cluster.leader().await.unwrap_or(any),
                false => any,
            };
            let lasts = Duration::from_millis(dice.random_range(LASTS));
            println!("replica {replica}: {misfortune:?} for {lasts:?}");
            misfortune.befall(cluster, links, replica, lasts).await?;
            tokio::time::sleep(Duration::from_millis(dice.random_range(PAUSE))).await;
            cluster.all_run()?;
        }
    }
    Ok(())
}
