//! Placing a VM elsewhere whose host's lease is over. That it is over the leader knows, whose word this is; here it
//! is only looked at whether the VM asks for it, and who can take it.

use std::collections::BTreeSet;

use super::{Context, Finding};
use crate::event::{Event, ExitReason, Resource};
use crate::ids::{HostId, VmId};
use crate::placement::{Refusal, obstacles, place};
use crate::projection::Projection;
use crate::rejection::{Rejection, RejectionCode};
use crate::restart::Aftermath;
use crate::seq::Epoch;

pub(super) fn fail_over(
    state: &Projection,
    context: Context<'_>,
    id: VmId,
    epoch: Epoch,
) -> Result<Finding, Rejection> {
    let vm = state
        .vm(id)
        .ok_or_else(|| Rejection::new(RejectionCode::NotFound, format!("there is no VM {id}")))?;
    let Some(placement) = vm.placement.filter(|placement| placement.epoch == epoch) else {
        let message = format!("VM {id} is no longer placed under epoch {epoch}");
        return Err(Rejection::new(RejectionCode::StaleEpoch, message));
    };
    if !vm.fails_over() {
        let message = format!("VM {id} does not ask for failover, or is not to run; it stays where it is");
        return Err(Rejection::new(RejectionCode::State, message));
    }
    let mut others = context.alive.clone();
    others.remove(&placement.host);
    Ok(match place(state, &vm.spec, &others) {
        Ok(placed) => {
            let ended = vm.is_running().then_some(Event::VmExited {
                vm: id,
                epoch,
                reason: ExitReason::LeaseEnded,
                console: String::new(),
                then: Aftermath::Again(0),
            });
            let placed = Event::VmPlaced { vm: id, placed };
            Finding::Events(ended.into_iter().chain([placed]).collect())
        }
        Err(_) => {
            let reason = stranded(obstacles(state, &vm.spec, &others), placement.host);
            match &vm.trouble {
                Some(trouble) if trouble.reason == reason => {
                    Finding::Already(Resource::Vm(id), vm.revision())
                }
                Some(_) | None => Finding::Events(vec![Event::VmBlocked {
                    vm: id,
                    epoch,
                    reason,
                }]),
            }
        }
    })
}

/// Why a VM stays on its lost host. It says what stands in the way on the other hosts, without names and figures: the
/// VM is tried twice a second, and each change of this is an event.
fn stranded(obstacles: impl Iterator<Item = (HostId, Refusal)>, lost: HostId) -> String {
    let others = obstacles.filter(|(host, _)| *host != lost);
    let obstacles: BTreeSet<&str> = others.map(|(_, obstacle)| obstacle.in_general()).collect();
    if obstacles.is_empty() {
        return "its host is lost, and there is no other one".to_owned();
    }
    let obstacles: Vec<&str> = obstacles.into_iter().collect();
    format!(
        "its host is lost, and no other one can take it: each is {}",
        obstacles.join(", or ")
    )
}
