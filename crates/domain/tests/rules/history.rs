//! A small cluster in a test's hand: it sends commands, keeps every record, and can replay them.

use std::collections::{BTreeMap, BTreeSet};

use chv_domain::*;
use ulid::Ulid;

pub const START: Timestamp = Timestamp(1_800_000_000_000_000);
pub const TERM: Term = Term(3);

/// The state, and all that led to it.
pub struct Cluster {
    pub state: Projection,
    pub records: Vec<Record>,
    pub alive: BTreeSet<HostId>,
    pub replicas: Replicas,
    pub now: Timestamp,
    next_id: u128,
}

pub fn host_id(number: u128) -> HostId {
    HostId::from_ulid(Ulid::from_parts(1, number))
}

pub fn replica(number: u64) -> ReplicaId {
    ReplicaId::new(number).unwrap()
}

pub fn facts(vcpus: u32, memory_mib: u64) -> HostFacts {
    let tcg = HypervisorFacts {
        kind: HypervisorKind::QemuTcg,
        version: "7.2".to_owned(),
    };
    HostFacts {
        capacity: Capacity { vcpus, memory_mib },
        hypervisors: vec![tcg],
        daemon: "test".to_owned(),
        missing: Vec::new(),
    }
}

pub fn spec(vcpus: u32, memory_mib: u32) -> VmSpec {
    serde_json::from_value(serde_json::json!({
        "cpu": vcpus, "memory": format!("{memory_mib}MiB"), "boot": {"kernel": "uos/vmlinuz"}
    }))
    .unwrap()
}

pub fn create(name: &str, spec: VmSpec) -> Command {
    let (project, name) = (ProjectName::default(), name.parse().unwrap());
    Command::CreateVm {
        project,
        name,
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        protected: false,
        spec: spec.into(),
        start: true,
    }
}

pub fn named(name: &str) -> VmRef {
    VmRef::Name(ProjectName::default(), name.parse().unwrap())
}

impl Cluster {
    pub fn empty() -> Self {
        Self {
            state: Projection::default(),
            records: Vec::new(),
            alive: BTreeSet::new(),
            replicas: Replicas::alone(replica(1)),
            now: START,
            next_id: 0,
        }
    }

    /// Hosts `h1`, `h2`, … alive, each with 8 vCPUs and 4 GiB.
    pub fn with_hosts(count: u128) -> Self {
        let mut cluster = Self::empty();
        for number in 1..=count {
            let actor = format!("host/h{number}");
            let register = Command::RegisterHost {
                host: host_id(number),
                facts: facts(8, 4096),
            };
            cluster.send(&actor, register).unwrap();
            cluster.alive.insert(host_id(number));
        }
        cluster
    }

    pub fn submission(&mut self, actor: &str, command: Command) -> Submission {
        self.next_id += 1;
        let id = CommandId::from_ulid(Ulid::from_parts(self.now.as_millis(), self.next_id));
        let actor = actor.parse().unwrap();
        Submission::new(id, actor, command)
    }

    pub fn submit(&mut self, submission: &Submission) -> Result<Decided, Rejection> {
        let context = Context {
            now: self.now,
            term: TERM,
            alive: &self.alive,
            replicas: &self.replicas,
        };
        let decided = decide(&self.state, submission, context)?;
        if let Decided::Record(record) = &decided {
            let batch = Batch {
                published: self.state.published(),
                records: vec![record.clone()],
            };
            let outcome = self.state.apply_batch(TERM, &batch);
            assert_eq!(outcome, BatchOutcome::Applied { last: record.last() });
            self.records.push(record.clone());
            assert_eq!(invariants::violations(&self.state), Vec::<String>::new());
        }
        Ok(decided)
    }

    pub fn send(&mut self, actor: &str, command: Command) -> Result<Decided, Rejection> {
        let submission = self.submission(actor, command);
        self.submit(&submission)
    }

    /// Sends a report of the host that `vm` is placed on, under its current epoch.
    pub fn report(&mut self, vm: VmId, observation: Observation) -> Result<Decided, Rejection> {
        let placement = self.state.vm(vm).unwrap().placement.unwrap();
        let host = self.state.host(placement.host).unwrap().name.clone();
        let report = Command::ReportVm {
            vm,
            epoch: placement.epoch,
            observation,
        };
        let follows = self.state.vm(vm).unwrap().revision();
        let mut submission = self.submission(&format!("host/{host}"), report);
        submission.follows = Some(follows);
        self.submit(&submission)
    }

    /// Creates a VM that its host then says is running.
    pub fn running(&mut self, name: &str) -> VmId {
        self.send("alice", create(name, spec(1, 128))).unwrap();
        let vm = self.state.resolve(&named(name)).unwrap().id;
        self.report(vm, started(100)).unwrap();
        vm
    }
}

pub fn started(pid: u32) -> Observation {
    Observation::Started {
        hypervisor: HypervisorKind::QemuTcg,
        pid,
        took_us: 1000,
    }
}

/// The kinds of the events that were decided.
pub fn kinds(decided: &Decided) -> Vec<&'static str> {
    match decided {
        Decided::Record(record) => record.events.iter().map(Event::kind).collect(),
        Decided::Repeat(_) | Decided::Unchanged { .. } => Vec::new(),
    }
}

pub fn refused(answer: Result<Decided, Rejection>) -> (RejectionCode, String) {
    let rejection = answer.expect_err("should have been refused");
    (rejection.code, rejection.message)
}
