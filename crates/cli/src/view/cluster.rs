//! The cluster, as it is shown.

use std::io::{self, Write};

use chv_domain::{KeepFor, KeepSize, Retention, Timestamp};
use chv_proto::{convert, v1};
use serde::Serialize;

use super::garbled;
use crate::failure::Failure;
use crate::output::{Table, age, printable, rfc3339};

/// The cluster for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClusterView {
    id: String,
    leader: Option<u64>,
    term: u64,
    format: u32,
    retention: RetentionView,
    /// The first event that is kept.
    oldest_seq: u64,
    /// When it was decided; absent while nothing is forgotten.
    oldest_time: Option<String>,
    /// The last event that the answering replica had applied.
    last_seq: u64,
    replicas: Vec<ReplicaView>,
    left: Vec<u64>,
    revision: u64,
}

/// How much of history is kept; without either, all of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct RetentionView {
    keep_for: Option<KeepFor>,
    keep_size: Option<KeepSize>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct ReplicaView {
    replica: u64,
    address: String,
    /// In the log's own membership.
    member: String,
    /// What is wanted of it.
    standing: Option<String>,
    instead_of: Option<u64>,
    since: Option<String>,
    #[serde(skip)]
    since_us: u64,
}

impl ClusterView {
    pub(crate) fn new(state: v1::ClusterState, last_seq: u64) -> Result<Self, Failure> {
        let retention = convert::retention_from_wire(state.retention).map_err(|error| garbled(&error))?;
        let forgotten = state
            .forgotten
            .map(|forgotten| convert::forgotten_from_wire(Some(forgotten)))
            .transpose()
            .map_err(|error| garbled(&error))?;
        Ok(Self {
            id: state.cluster,
            leader: (state.leader != 0).then_some(state.leader),
            term: state.term,
            format: state.format,
            retention: RetentionView {
                keep_for: retention.keep_for,
                keep_size: retention.keep_size,
            },
            oldest_seq: forgotten.map_or(1, |forgotten| forgotten.upto.next().0),
            oldest_time: forgotten.map(|forgotten| rfc3339(forgotten.kept_from)),
            last_seq,
            replicas: state.replicas.into_iter().map(ReplicaView::new).collect(),
            left: state.left,
            revision: state.revision,
        })
    }

    /// For people.
    pub(crate) fn describe(&self, now: Timestamp, to: &mut impl Write) -> io::Result<()> {
        let mut line =
            |field: &str, value: &str| writeln!(to, "{:<11}{}", format!("{field}:"), printable(value));
        let retention = Retention {
            keep_for: self.retention.keep_for,
            keep_size: self.retention.keep_size,
        };
        line("cluster", &self.id)?;
        match self.leader {
            Some(leader) => line("leader", &format!("replica {leader}, term {}", self.term))?,
            None => line("leader", "none that the answering replica knows")?,
        }
        line("format", &self.format.to_string())?;
        line("retention", &retention.to_string())?;
        let since = self
            .oldest_time
            .as_ref()
            .map_or_else(String::new, |time| format!(", from {time}"));
        line(
            "events",
            &format!("{} to {}{since}", self.oldest_seq, self.last_seq),
        )?;
        if !self.left.is_empty() {
            let left: Vec<String> = self.left.iter().map(u64::to_string).collect();
            line("left", &left.join(", "))?;
        }
        line("revision", &self.revision.to_string())?;
        writeln!(to)?;
        let mut table = Table::new(&["REPLICA", "ADDRESS", "MEMBER", "WANTED", "SINCE"]);
        for replica in &self.replicas {
            let instead = replica
                .instead_of
                .map_or_else(String::new, |old| format!(" instead of {old}"));
            let since = replica
                .since
                .as_ref()
                .map_or_else(String::new, |_| age(Timestamp(replica.since_us), now));
            table.row([
                replica.replica.to_string(),
                replica.address.clone(),
                replica.member.clone(),
                format!("{}{instead}", replica.standing.as_deref().unwrap_or_default()),
                since,
            ]);
        }
        table.write(to)
    }
}

impl ReplicaView {
    fn new(replica: v1::ClusterReplica) -> Self {
        let recorded = replica.since_us != 0;
        Self {
            replica: replica.replica,
            address: replica.address,
            member: replica.member,
            standing: recorded.then_some(replica.standing),
            instead_of: (replica.instead_of != 0).then_some(replica.instead_of),
            since: recorded.then(|| rfc3339(Timestamp(replica.since_us))),
            since_us: replica.since_us,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(replica: u64, member: &str, standing: &str, instead_of: u64) -> v1::ClusterReplica {
        v1::ClusterReplica {
            replica,
            address: format!("127.0.0.1:710{replica}"),
            member: member.to_owned(),
            standing: standing.to_owned(),
            instead_of,
            since_us: 1_000_000,
        }
    }

    #[test]
    fn given_a_change_under_way_and_a_limit_then_both_are_shown() {
        let state = v1::ClusterState {
            cluster: "C".to_owned(),
            revision: 90,
            retention: Some(v1::Retention {
                keep_for_s: 7_776_000,
                keep_size_bytes: 20 << 30,
            }),
            forgotten: Some(v1::Forgotten {
                upto: 40,
                kept_from_us: 1_000_000,
            }),
            replicas: vec![
                replica(2, "voter", "voting", 0),
                replica(4, "learner", "joining", 3),
            ],
            left: vec![1],
            leader: 2,
            term: 7,
            format: 1,
        };
        let mut text = Vec::new();
        let view = ClusterView::new(state, 95).unwrap();
        view.describe(Timestamp(61_000_000), &mut text).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "cluster:   C\n\
             leader:    replica 2, term 7\n\
             format:    1\n\
             retention: 90d, at most 20GiB\n\
             events:    41 to 95, from 1970-01-01T00:00:01.000Z\n\
             left:      1\n\
             revision:  90\n\
             \n\
             REPLICA  ADDRESS         MEMBER   WANTED                SINCE\n\
             2        127.0.0.1:7102  voter    voting                1m0s\n\
             4        127.0.0.1:7104  learner  joining instead of 3  1m0s\n"
        );
    }
}
