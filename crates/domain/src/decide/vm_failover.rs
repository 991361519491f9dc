//! Placing a VM elsewhere whose host's lease is over. That it is over the leader knows, whose word this is; here it
//! is only looked at whether the VM asks for it, and who can take it.

use super::{Context, Finding};
use crate::event::{Event, ExitReason, Resource};
use crate::ids::VmId;
use crate::placement::place;
use crate::projection::Projection;
use crate::rejection::{Rejection, RejectionCode};
use crate::seq::Epoch;
use crate::vm::Vm;

/// How the trouble of a VM begins that should be elsewhere, and that no host can take.
const LOST: &str = "its host is lost, and ";

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
            });
            let placed = Event::VmPlaced { vm: id, placed };
            Finding::Events(ended.into_iter().chain([placed]).collect())
        }
        Err(_) if told(vm) => Finding::Already(Resource::Vm(id), vm.revision()),
        Err(rejection) => Finding::Events(vec![Event::VmBlocked {
            vm: id,
            epoch,
            reason: format!("{LOST}{}", rejection.message),
        }]),
    })
}

/// Whether it was told already that no host can take it.
fn told(vm: &Vm) -> bool {
    let trouble = vm.trouble.as_ref();
    trouble.is_some_and(|trouble| trouble.reason.starts_with(LOST))
}
