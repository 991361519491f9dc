//! Where a QEMU's vCPUs run: each is a thread of it, which the host's scheduler is told to keep on some processors.

use chv_domain::spec::CpuSpec;
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};

use super::qmp::{Qmp, QmpError};
use crate::hypervisor::process::Process;

/// Sets where the vCPUs of `process` run that there are now.
pub(super) async fn set(qmp: &mut Qmp, process: Process, cpu: &CpuSpec) -> Result<(), QmpError> {
    if cpu.affinity.is_empty() {
        return Ok(());
    }
    let answer = qmp.execute("query-cpus-fast").await?;
    for vcpu in answer.as_array().into_iter().flatten() {
        let (Some(index), Some(thread)) = (vcpu["cpu-index"].as_u64(), vcpu["thread-id"].as_i64()) else {
            return Err(QmpError::Malformed(vcpu.to_string()));
        };
        let Some(affinity) = cpu.affinity.iter().find(|affinity| affinity.vcpu.get() == index) else {
            continue;
        };
        let host_cpus: Vec<_> = affinity.host_cpus.iter().map(|cpu| cpu.get()).collect();
        // A number that QEMU says is some thread's; only its own are touched.
        let own = std::path::Path::new("/proc").join(format!("{}/task/{thread}", process.pid));
        let thread = i32::try_from(thread).ok().filter(|_| own.exists());
        let Some(thread) = thread.and_then(Pid::from_raw) else {
            return Err(QmpError::Malformed(vcpu.to_string()));
        };
        sched_setaffinity(Some(thread), &cpus(&host_cpus)?)
            .map_err(|error| refused(&format!("the host's processors {host_cpus:?}: {error}")))?;
    }
    Ok(())
}

fn cpus(numbers: &[u64]) -> Result<CpuSet, QmpError> {
    let mut cpus = CpuSet::new();
    for &number in numbers {
        let number = usize::try_from(number)
            .ok()
            .filter(|number| *number < CpuSet::MAX_CPU);
        cpus.set(
            number
                .ok_or_else(|| refused(&format!("at most {} processors are told apart", CpuSet::MAX_CPU)))?,
        );
    }
    Ok(cpus)
}

fn refused(why: &str) -> QmpError {
    QmpError::Io(std::io::Error::other(format!("its vCPUs can't be kept on {why}")))
}
