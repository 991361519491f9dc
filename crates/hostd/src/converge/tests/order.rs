//! Where more guests are to be started than may be at once.

use std::sync::Arc;

use chv_domain::{DesiredVm, Power, Seq, VmId};

use super::rig::{Rig, Trouble, desired, until};
use crate::converge::Wish;

/// A VM that should run, told apart by its number.
fn numbered(number: u8, priority: i32) -> Arc<DesiredVm> {
    let vm = desired(Power::Running, 5, 6);
    let mut spec = vm.spec.as_ref().clone();
    spec.start_priority = priority.try_into().unwrap();
    Arc::new(DesiredVm {
        vm: VmId::from_bytes([number; 16]),
        name: format!("vm{number}").parse().unwrap(),
        spec: Arc::new(spec),
        ..vm
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn given_more_guests_than_may_be_started_at_once_then_the_higher_priority_is_first_and_the_limit_is_kept()
 {
    // Given a host that starts two at once, and seven that should run, which wait at their start.
    let rig = Rig::new();
    let mut daemon = rig.daemon().await;
    rig.fake.troubles.lock().unwrap().extend([Trouble::Stands; 7]);
    let priorities = [0, -5, 10, 0, 1000, 3, 10];
    let all = (1..)
        .zip(priorities)
        .map(|(number, priority)| numbered(number, priority));

    // When all of them are wanted, then two begin, and each next one when one of them runs.
    daemon.converge.wish(Wish::All(all.collect(), Seq(6)));
    for running in 0..5 {
        until("two are being started", async || {
            rig.fake.begun.lock().unwrap().len() >= 2 + running
        })
        .await;
        rig.fake.goes_on.add_permits(1);
        daemon.told().await;
        assert!(rig.fake.begun.lock().unwrap().len() <= 3 + running);
    }
    rig.fake.goes_on.add_permits(2);
    daemon.told().await;
    daemon.told().await;

    // Then they began in the order of their priorities. Of the two that were let through in one go either may be first.
    let begun = rig.fake.begun.lock().unwrap().clone();
    let mut order: Vec<i32> = begun
        .iter()
        .map(|vm| priorities[usize::from(vm.to_bytes()[0]) - 1])
        .collect();
    order[..2].sort_unstable_by(|one, other| other.cmp(one));
    assert_eq!(order, [1000, 10, 10, 3, 0, 0, -5]);
    daemon.end().await;
}
