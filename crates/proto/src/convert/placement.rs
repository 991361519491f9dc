//! A chosen host, and what was found about it and the others.

use chv_domain::{Placed, Refusal, Verdict, VmId};

use super::error::{WireError, parse};
use crate::v1;
use crate::v1::verdict::{self, Finding};

pub(super) fn placed_to_wire(vm: VmId, placed: &Placed) -> v1::VmPlaced {
    v1::VmPlaced {
        vm: vm.to_string(),
        host: placed.host.to_string(),
        host_name: placed.name.to_string(),
        verdicts: placed.verdicts.iter().map(verdict_to_wire).collect(),
        others: placed.others,
    }
}

pub(super) fn placed_from_wire(placed: v1::VmPlaced) -> Result<Placed, WireError> {
    let each = |(index, verdict)| {
        verdict_from_wire(verdict).map_err(|error: WireError| error.within(format!("verdicts[{index}]")))
    };
    Ok(Placed {
        host: parse("host", &placed.host)?,
        name: parse("host_name", &placed.host_name)?,
        verdicts: placed
            .verdicts
            .into_iter()
            .enumerate()
            .map(each)
            .collect::<Result<_, _>>()?,
        others: placed.others,
    })
}

fn verdict_to_wire(verdict: &Verdict) -> v1::Verdict {
    v1::Verdict {
        host: verdict.host.to_string(),
        finding: Some(finding_to_wire(&verdict.finding)),
    }
}

pub(super) fn finding_to_wire(finding: &Result<u32, Refusal>) -> Finding {
    match finding {
        Ok(score) => Finding::Score(*score),
        Err(Refusal::NotAlive) => Finding::NotAlive(verdict::NotAlive {}),
        Err(Refusal::Cordoned) => Finding::Cordoned(verdict::Cordoned {}),
        Err(Refusal::Vcpus { asked, free }) => Finding::Vcpus(verdict::TooFewVcpus {
            asked: *asked,
            free: *free,
        }),
        Err(Refusal::Memory { asked_mib, free_mib }) => Finding::Memory(verdict::TooLittleMemory {
            asked_mib: *asked_mib,
            free_mib: *free_mib,
        }),
        Err(Refusal::Hypervisor(why)) => Finding::Hypervisor(why.clone()),
    }
}

fn verdict_from_wire(verdict: v1::Verdict) -> Result<Verdict, WireError> {
    let finding = match verdict.finding.ok_or_else(|| WireError::missing("finding"))? {
        Finding::Score(score) => Ok(score),
        Finding::NotAlive(verdict::NotAlive {}) => Err(Refusal::NotAlive),
        Finding::Cordoned(verdict::Cordoned {}) => Err(Refusal::Cordoned),
        Finding::Vcpus(vcpus) => Err(Refusal::Vcpus {
            asked: vcpus.asked,
            free: vcpus.free,
        }),
        Finding::Memory(memory) => Err(Refusal::Memory {
            asked_mib: memory.asked_mib,
            free_mib: memory.free_mib,
        }),
        Finding::Hypervisor(why) => Err(Refusal::Hypervisor(why)),
    };
    Ok(Verdict {
        host: parse("host", &verdict.host)?,
        finding,
    })
}
