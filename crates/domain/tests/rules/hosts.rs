//! What hosts may say, and of what.

use chv_domain::*;

use crate::history::*;

#[test]
fn a_host_is_heard_only_about_its_own_vms_under_their_current_epoch() {
    let mut cluster = Cluster::with_hosts(2);
    let vm = cluster.running("web");
    let placement = cluster.state.vm(vm).unwrap().placement.unwrap();
    let other = if placement.host == host_id(1) {
        "host/h2"
    } else {
        "host/h1"
    };
    let report = |epoch| Command::ReportVm {
        vm,
        epoch,
        observation: Observation::Ready,
    };
    let (code, _) = refused(cluster.send(other, report(placement.epoch)));
    assert_eq!(code, RejectionCode::NotPermitted);
    let stale = cluster.submission("alice", report(placement.epoch));
    assert_eq!(refused(cluster.submit(&stale)).0, RejectionCode::NotPermitted);
    let owner = cluster.state.host(placement.host).unwrap().name.clone();
    let (code, _) = refused(cluster.send(&format!("host/{owner}"), report(Epoch(Seq(1)))));
    assert_eq!(code, RejectionCode::StaleEpoch);
}

#[test]
fn a_host_may_not_send_users_commands() {
    let mut cluster = Cluster::with_hosts(1);
    let (code, _) = refused(cluster.send("host/h1", create("web", spec(1, 128))));
    assert_eq!(code, RejectionCode::NotPermitted);
}

#[test]
fn a_host_that_lost_its_data_directory_does_not_take_over_its_old_name() {
    let mut cluster = Cluster::with_hosts(1);
    let register = Command::RegisterHost {
        host: host_id(77),
        facts: facts(8, 4096),
    };
    let (code, message) = refused(cluster.send("host/h1", register));
    assert_eq!(code, RejectionCode::Exists);
    assert!(message.contains("data directory"), "{message}");
}

#[test]
fn facts_that_no_host_has_are_refused() {
    let mut cluster = Cluster::with_hosts(1);
    let mut huge = facts(8, u64::MAX);
    let register = |facts| Command::RegisterHost {
        host: host_id(1),
        facts,
    };
    assert_eq!(
        refused(cluster.send("host/h1", register(huge.clone()))).0,
        RejectionCode::Invalid
    );
    huge = facts(8, 4096);
    huge.daemon = "x".repeat(1 << 20);
    assert_eq!(
        refused(cluster.send("host/h1", register(huge))).0,
        RejectionCode::Invalid
    );
}

#[test]
fn what_a_host_says_of_a_crash_is_cut_to_a_bound() {
    let mut cluster = Cluster::with_hosts(1);
    let vm = cluster.running("web");
    let crashed = Observation::Exited(
        ExitReason::Crashed("é".repeat(1 << 20)),
        String::new(),
        Run::default(),
    );
    let Decided::Record(record) = cluster.report(vm, crashed).unwrap() else {
        panic!()
    };
    assert!(stored::encode(&record).unwrap().len() < 4096);
}
