//! Places VMs elsewhere whose host's lease is over. Which are due follows from the state and from what was granted
//! ([`due`], pure); where to is decided like any command, by the domain's rule.

use std::time::{Duration, Instant};

use chv_domain::{Command, Epoch, HostId, Projection, VmId};
use futures::future::join_all;
use tokio::sync::mpsc;
use tracing::warn;

use super::intake::Waiting;
use super::leases::Leases;
use super::{Office, own};

/// How often it is looked whether something is due.
const LOOK: Duration = Duration::from_millis(500);

/// How many VMs are placed elsewhere at a look: others' commands have their turn, too.
const MOST: usize = 256;

/// A VM that is to leave its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    /// The host, whose lease is over.
    pub from: HostId,
    /// The VM, which asks for failover.
    pub vm: VmId,
    /// The grant that the host has lost.
    pub epoch: Epoch,
}

impl Move {
    /// The command that moves it.
    pub const fn command(self) -> Command {
        Command::FailOverVm {
            vm: self.vm,
            epoch: self.epoch,
        }
    }
}

/// At most `most` of the VMs that are to leave their hosts, by host and id, the first of them behind `after`.
pub fn due(
    state: &Projection,
    leases: &Leases,
    now: Instant,
    after: Option<(HostId, VmId)>,
    most: usize,
) -> Vec<Move> {
    let is_lost = |host: HostId| leases.is_over(host, now) && !leases.asks(host, now);
    let lost = state.hosts_by_name().filter(|host| is_lost(host.id));
    let mut due: Vec<Move> = lost
        .flat_map(|host| host.vms.iter().map(|vm| (host.id, *vm)))
        .filter_map(|(from, vm)| {
            let placement = state.vm(vm).filter(|vm| vm.fails_over())?.placement?;
            let epoch = placement.epoch;
            Some(Move { from, vm, epoch })
        })
        .collect();
    due.sort_unstable_by_key(|due| (due.from, due.vm));
    let begin = after.map_or(0, |after| due.partition_point(|due| (due.from, due.vm) <= after));
    if begin < due.len() {
        due.rotate_left(begin);
    }
    due.truncate(most);
    due
}

/// Looks for as long as the term lasts.
pub(super) async fn run(office: Office, queue: mpsc::Sender<Waiting>) {
    let mut after = None;
    loop {
        tokio::select! {
            () = office.stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        let state = office.reader.log.projection();
        let moves = {
            let mut leases = office.leases();
            let moves = due(&state, &leases, Instant::now(), after, MOST);
            moves.iter().for_each(|due| leases.begin_moving(due.from));
            moves
        };
        let Some(last) = moves.last() else { continue };
        after = Some((last.from, last.vm));
        let recorded = moves.into_iter().map(|due| {
            warn!(vm = %due.vm, host = %due.from, epoch = %due.epoch, "the host's lease is over");
            own::record(&office, &queue, due.command())
        });
        // Until it is known what became of all of them their hosts are granted nothing. Should that never be known,
        // the office ends, and the next one begins anew. That a move is refused says its VM, which stays.
        if join_all(recorded).await.iter().any(Option::is_none) {
            return;
        }
        office.leases().end_moving();
    }
}
