//! How the cluster is, from what its replicas answered: who leads, who lags, who does not answer, and whether
//! they hold the same. Pure.

use std::io::{self, Write};

use chv_proto::client::holds_the_log;
use chv_proto::v1;
use serde::Serialize;

use crate::output::Table;

/// The columns; the last one where digests were asked for.
const HEADING: [&str; 9] = [
    "REPLICA", "ADDRESS", "MEMBER", "ROLE", "TERM", "APPLIED", "LAG", "VERSION", "DIGEST",
];

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
    /// Those that hold the log and did not answer.
    pub silent: Vec<MemberView>,
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

/// One replica, as the cluster knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MemberView {
    replica: u64,
    /// `voter` or `learner`; `none` when it does not hold the log.
    member: String,
    /// Where the others reach it; absent when that is not known.
    address: Option<String>,
}

/// One replica that answered, for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReplicaView {
    #[serde(flatten)]
    member: MemberView,
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
        let member = |answer: &v1::ReplicaStatus| {
            let known = best.replicas.iter().find(|known| known.replica == answer.replica);
            MemberView::new(answer.replica, known)
        };
        let answered = |replica: u64| answers.iter().any(|answer| answer.replica == replica);
        Some(Self {
            cluster: best.cluster.clone(),
            leader: leader.map(|answer| answer.replica),
            term: best.term,
            silent: best
                .replicas
                .iter()
                .filter(|known| holds_the_log(known) && !answered(known.replica))
                .map(|known| MemberView::new(known.replica, Some(known)))
                .collect(),
            vms: best.vms,
            hosts: best.hosts,
            hosts_alive: best.hosts_alive,
            equal: equal(&answers),
            replicas: answers
                .iter()
                .map(|answer| ReplicaView::new(answer, member(answer), head))
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
        let mut table = Table::new(if digests { &HEADING } else { &HEADING[..8] });
        for replica in &self.replicas {
            let [id, address, member] = replica.member.cells();
            let cells = [
                id,
                address,
                member,
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
                silent
                    .cells()
                    .into_iter()
                    .chain(["no answer".to_owned()])
                    .chain(empty),
            );
        }
        table.write(to)
    }
}

impl MemberView {
    fn new(replica: u64, known: Option<&v1::ClusterReplica>) -> Self {
        let address = known.map(|known| known.address.clone());
        Self {
            replica,
            member: known.map_or("none", |known| &known.member).to_owned(),
            address: address.filter(|address| !address.is_empty()),
        }
    }

    fn cells(&self) -> [String; 3] {
        let address = self.address.clone().unwrap_or_default();
        [self.replica.to_string(), address, self.member.clone()]
    }
}

impl ReplicaView {
    fn new(answer: &v1::ReplicaStatus, member: MemberView, head: u64) -> Self {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Self {
            member,
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
            replicas: (1..)
                .zip(["voter", "voter", "voter", "learner", "none"])
                .map(|(replica, member)| v1::ClusterReplica {
                    replica,
                    address: format!("10.0.0.{replica}:7100"),
                    member: member.to_owned(),
                    ..v1::ClusterReplica::default()
                })
                .collect(),
            vms: 2,
            hosts: 2,
            hosts_alive: 1,
            version: "0.1.0".to_owned(),
            digest: digest.to_vec(),
            ..Default::default()
        }
    }

    #[test]
    fn given_a_silent_voter_a_learner_and_one_that_left_when_shown_then_each_is_told_with_its_address() {
        let answers = vec![
            answer(4, "learner", 40, &[]),
            answer(3, "follower", 41, &[]),
            answer(1, "leader", 42, &[]),
            answer(6, "follower", 9, &[]),
        ];
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
             REPLICA  ADDRESS        MEMBER   ROLE       TERM  APPLIED  LAG  VERSION\n\
             1        10.0.0.1:7100  voter    leader     3     42       0    0.1.0\n\
             3        10.0.0.3:7100  voter    follower   3     41       1    0.1.0\n\
             4        10.0.0.4:7100  learner  learner    3     40       2    0.1.0\n\
             6        -              none     follower   3     9        33   0.1.0\n\
             2        10.0.0.2:7100  voter    no answer  -     -        -    -\n"
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
        let silent: Vec<u64> = status.silent.iter().map(|silent| silent.replica).collect();
        assert_eq!((status.leader, silent), (None, vec![3, 4]));
        assert_eq!(StatusView::new(vec![]), None);
    }
}
