//! How the cluster is, from what its replicas answered: who leads, who lags, who does not answer, and whether
//! they hold the same. Pure.

use std::collections::BTreeSet;
use std::io::{self, Write};

use chv_proto::v1;
use serde::Serialize;

use crate::output::Table;

/// The cluster for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StatusView {
    /// The cluster's id.
    pub cluster: String,
    /// The replica that leads, when one that answered does.
    pub leader: Option<u64>,
    /// Its term.
    pub term: u64,
    /// The replicas that answered, in order.
    pub replicas: Vec<ReplicaView>,
    /// The voters that did not answer.
    pub silent: Vec<u64>,
    /// How many VMs there are.
    pub vms: u64,
    /// How many hosts there are.
    pub hosts: u64,
    /// How many of them are heard of.
    pub hosts_alive: u64,
    /// Whether the replicas that have applied equally much hold the same; absent when it was not asked, or no
    /// two could be compared.
    pub equal: Option<bool>,
}

/// One replica for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReplicaView {
    replica: u64,
    role: String,
    term: u64,
    applied_seq: u64,
    lag: u64,
    last_log_index: u64,
    applied_index: u64,
    version: String,
    digest: Option<String>,
}

impl StatusView {
    /// Puts the answers together; `None` when there are none.
    pub(crate) fn new(mut answers: Vec<v1::ReplicaStatus>) -> Option<Self> {
        answers.sort_by_key(|answer| answer.replica);
        let leader = answers
            .iter()
            .filter(|answer| answer.role == "leader")
            .max_by_key(|answer| answer.term);
        // Who leads knows best how things are; without a leader, who has applied most.
        let best = leader.or_else(|| answers.iter().max_by_key(|answer| answer.applied_seq))?;
        let head = answers.iter().map(|answer| answer.applied_seq).max()?;
        let answered: BTreeSet<u64> = answers.iter().map(|answer| answer.replica).collect();
        let voters: BTreeSet<u64> = best.voters.iter().copied().collect();
        Some(Self {
            cluster: best.cluster.clone(),
            leader: leader.map(|answer| answer.replica),
            term: best.term,
            silent: voters.difference(&answered).copied().collect(),
            vms: best.vms,
            hosts: best.hosts,
            hosts_alive: best.hosts_alive,
            equal: equal(&answers),
            replicas: answers
                .iter()
                .map(|answer| ReplicaView::new(answer, head))
                .collect(),
        })
    }

    /// For people.
    pub(crate) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        writeln!(to, "cluster  {}", self.cluster)?;
        match self.leader {
            Some(leader) => writeln!(to, "leader   replica {leader}, term {}", self.term)?,
            None => writeln!(to, "leader   none that answers")?,
        }
        writeln!(to, "hosts    {} of {} alive", self.hosts_alive, self.hosts)?;
        writeln!(to, "VMs      {}", self.vms)?;
        if let Some(equal) = self.equal {
            let text = if equal { "hold the same" } else { "DIFFER" };
            writeln!(to, "replicas {text}")?;
        }
        writeln!(to)?;
        let digests = self.replicas.iter().any(|replica| replica.digest.is_some());
        let mut table = Table::new(if digests {
            &["REPLICA", "ROLE", "TERM", "APPLIED", "LAG", "VERSION", "DIGEST"]
        } else {
            &["REPLICA", "ROLE", "TERM", "APPLIED", "LAG", "VERSION"]
        });
        for replica in &self.replicas {
            let cells = [
                replica.replica.to_string(),
                replica.role.clone(),
                replica.term.to_string(),
                replica.applied_seq.to_string(),
                replica.lag.to_string(),
                replica.version.clone(),
            ];
            let digest = replica.digest.as_deref().unwrap_or_default();
            let digest = digests.then(|| digest.chars().take(16).collect());
            table.row(cells.into_iter().chain(digest));
        }
        for silent in &self.silent {
            let empty = std::iter::repeat_n(String::new(), if digests { 5 } else { 4 });
            table.row(
                [silent.to_string(), "no answer".to_owned()]
                    .into_iter()
                    .chain(empty),
            );
        }
        table.write(to)
    }
}

impl ReplicaView {
    fn new(answer: &v1::ReplicaStatus, head: u64) -> Self {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Self {
            replica: answer.replica,
            role: answer.role.clone(),
            term: answer.term,
            applied_seq: answer.applied_seq,
            lag: head - answer.applied_seq,
            last_log_index: answer.last_log_index,
            applied_index: answer.applied_index,
            version: answer.version.clone(),
            digest: (!answer.digest.is_empty()).then(|| hex(&answer.digest)),
        }
    }
}

/// Only replicas at the same event can be compared.
fn equal(answers: &[v1::ReplicaStatus]) -> Option<bool> {
    let mut compared = None;
    for (index, one) in answers.iter().enumerate() {
        for other in &answers[index + 1..] {
            let asked = !one.digest.is_empty() && !other.digest.is_empty();
            if asked && one.applied_seq == other.applied_seq {
                compared = Some(compared.unwrap_or(true) && one.digest == other.digest);
            }
        }
    }
    compared
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(replica: u64, role: &str, applied_seq: u64, digest: &[u8]) -> v1::ReplicaStatus {
        v1::ReplicaStatus {
            cluster: "C".to_owned(),
            replica,
            role: role.to_owned(),
            term: 3,
            leader: 1,
            applied_seq,
            voters: vec![1, 2, 3],
            vms: 2,
            hosts: 2,
            hosts_alive: 1,
            version: "0.1.0".to_owned(),
            digest: digest.to_vec(),
            ..Default::default()
        }
    }

    #[test]
    fn given_a_silent_voter_when_shown_then_it_is_named() {
        let answers = vec![answer(3, "follower", 40, &[]), answer(1, "leader", 42, &[])];
        let status = StatusView::new(answers).unwrap();
        let mut text = Vec::new();
        status.write(&mut text).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "cluster  C\n\
             leader   replica 1, term 3\n\
             hosts    1 of 2 alive\n\
             VMs      2\n\
             \n\
             REPLICA  ROLE       TERM  APPLIED  LAG  VERSION\n\
             1        leader     3     42       0    0.1.0\n\
             3        follower   3     40       2    0.1.0\n\
             2        no answer  -     -        -    -\n"
        );
    }

    #[test]
    fn given_digests_then_only_those_at_one_event_are_compared() {
        let of = |answers: Vec<v1::ReplicaStatus>| StatusView::new(answers).unwrap().equal;
        assert_eq!(
            of(vec![answer(1, "leader", 9, &[1]), answer(2, "follower", 8, &[2])]),
            None
        );
        assert_eq!(
            of(vec![answer(1, "leader", 9, &[]), answer(2, "follower", 9, &[])]),
            None
        );
        assert_eq!(
            of(vec![answer(1, "leader", 9, &[1]), answer(2, "follower", 9, &[1])]),
            Some(true)
        );
        assert_eq!(
            of(vec![
                answer(1, "leader", 9, &[1]),
                answer(2, "follower", 9, &[1]),
                answer(3, "follower", 9, &[2])
            ]),
            Some(false)
        );
    }

    #[test]
    fn given_no_leader_then_who_applied_most_speaks_and_none_leads() {
        let status = StatusView::new(vec![
            answer(1, "candidate", 4, &[]),
            answer(2, "follower", 5, &[]),
        ])
        .unwrap();
        assert_eq!((status.leader, status.silent.as_slice()), (None, [3].as_slice()));
        assert_eq!(StatusView::new(vec![]), None);
    }
}
