//! What the tests append, the registrations of hosts, and where their replicas are reached. The tests of this crate use it,
//! and those in `tests/cluster`.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex;

use chv_domain::{
    Capacity, Command, CommandId, Context, Decided, HostFacts, HostId, Projection, Record, ReplicaId,
    Replicas, Submission, Term, Timestamp, decide,
};
use tokio::net::TcpSocket;

/// Ports that are held.
static HELD: Mutex<Vec<TcpSocket>> = Mutex::new(Vec::new());

/// An address that nobody else is given while this process lives, so that a replica can listen there, end, and listen
/// again: it is bound, and connections are refused where nobody listens.
pub(crate) fn address() -> SocketAddr {
    let socket = TcpSocket::new_v4().unwrap();
    // With it, as listeners have it, another socket of this process may bind the port by its number.
    socket.set_reuseaddr(true).unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let address = socket.local_addr().unwrap();
    HELD.lock().unwrap().push(socket);
    address
}

pub(crate) fn host(number: u8) -> HostId {
    HostId::from_bytes([number; 16])
}

/// The record of host `number`'s registration, decided on `state` in `term`.
pub(crate) fn record(state: &Projection, term: Term, number: u8) -> Record {
    let facts = HostFacts {
        capacity: Capacity {
            vcpus: 1,
            memory_mib: 1024,
        },
        hypervisors: vec![],
        daemon: "test".to_owned(),
        missing: Vec::new(),
    };
    let submission = Submission::new(
        CommandId::from_bytes([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, number]),
        format!("host/h{number}").parse().unwrap(),
        Command::RegisterHost {
            host: host(number),
            facts,
        },
    );
    let replicas = Replicas::alone(ReplicaId::new(1).unwrap());
    let context = Context {
        now: Timestamp(1),
        term,
        alive: &BTreeSet::new(),
        replicas: &replicas,
    };
    match decide(state, &submission, context) {
        Ok(Decided::Record(record)) => record,
        other => panic!("{other:?}"),
    }
}
