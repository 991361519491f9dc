//! Runs machines on this host: one trait, a driver for each hypervisor, one process for each machine. A process
//! outlives this daemon and is found again by the next one; nothing about it is kept in memory here.
//!
//! What this layer doesn't do: decide. It launches, looks, presses and kills when it is told to.

mod agent;
mod binary;
mod changing;
pub mod cloud_hypervisor;
mod console;
mod console_tail;
mod error;
pub mod firecracker;
mod instance;
mod lock;
mod machine;
mod making;
mod process;
pub mod qemu;
mod run_dir;
pub(crate) mod socket;
mod spawn;
mod status;

#[cfg(test)]
pub(crate) mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chv_domain::HypervisorKind;

pub use agent::{AgentChannel, AgentError, FromGuest, ToGuest};
pub use binary::Binary;
pub use changing::Changing;
pub(crate) use console::ConsoleOutput;
pub use console::{ConsoleClosed, ConsoleInput, ConsolePump};
pub(crate) use console_tail::console_tail;
pub use error::{HypervisorError, Operation, Part, Remedy};
pub use instance::Instance;
pub(crate) use instance::{Held, last_lines, marked};
pub(crate) use lock::take as take_lock;
pub(crate) use machine::openable;
pub use machine::{Attached, Machine, MachineFiles, Payload};
pub use making::Making;
pub(crate) use making::Makings;
pub(crate) use process::KILL_LIMIT;
pub use process::{Exit, Process};
pub use run_dir::{RunDir, RunDirError};
pub use status::Status;

/// Something that runs machines, each in a process of its own that outlives this daemon. Holds no state about
/// the machines: after a restart, [`Instance::find`] gives back what every method here takes.
#[async_trait]
pub trait Hypervisor: std::fmt::Debug + Send + Sync {
    /// Which hypervisor it is.
    fn kind(&self) -> HypervisorKind;

    /// Its program.
    fn binary(&self) -> &Binary;

    /// Creates the machine and boots it. Returns when the hypervisor itself says that its vCPUs run.
    ///
    /// Never gives a VM a second process: that is [`HypervisorError::AlreadyRunning`]. After any other error no
    /// process is left; when the future is dropped it is killed, and gone a moment later.
    async fn launch(&self, machine: &Machine) -> Result<Instance, HypervisorError>;

    /// Asks the hypervisor how the machine is. A fault on the way is [`Status::Unknown`], never a state.
    async fn status(&self, instance: &Instance) -> Status;

    /// Presses the machine's power button. The guest may not have heard, when it is still booting: press again
    /// until it is gone, or the caller's patience is. Pressing for a machine that is gone is an error.
    async fn press_power_button(&self, instance: &Instance) -> Result<(), HypervisorError>;

    /// Holds the machine's vCPUs, with its memory as it is; done already, when they are.
    async fn pause(&self, instance: &Instance) -> Result<(), HypervisorError>;

    /// Lets the machine's vCPUs run on, of one that is [`Status::Paused`] or [`Status::Stalled`]; the latter may be held
    /// again at once. Done already, when they run.
    async fn resume(&self, instance: &Instance) -> Result<(), HypervisorError>;

    /// Presses the machine's reset button: it boots anew in the process that it has, and its vCPUs run.
    async fn reset(&self, instance: &Instance) -> Result<(), HypervisorError>;

    /// Makes something else of the machine while it runs. Returns when it is so; done already, when it is. The guest has a
    /// part in some changes: one that does nothing about it makes this fail, and it can be tried again.
    async fn change(&self, instance: &Instance, changing: &Changing<'_>) -> Result<(), HypervisorError>;

    /// Ends the machine's process at once, and waits until it is gone; done already, when it is.
    async fn kill(&self, instance: &Instance) -> Result<Exit, HypervisorError> {
        let vm = instance.vm;
        let failed = |error: std::io::Error| HypervisorError::Api {
            operation: Operation::Kill,
            vm,
            why: error.to_string(),
        };
        instance.process.kill().map_err(failed)?;
        match tokio::time::timeout(KILL_LIMIT, instance.exited()).await {
            Ok(exit) => exit.map_err(failed),
            Err(_) => Err(HypervisorError::Timeout {
                operation: Operation::Kill,
                vm,
                after: KILL_LIMIT,
            }),
        }
    }

    /// Resolves when the machine's process has ended. May be dropped and called again.
    async fn exited(&self, instance: &Instance) -> std::io::Result<Exit> {
        instance.exited().await
    }
}

/// Finds the driver for `kind`: whether its program is here, and which. Whether it runs guests here is not looked
/// at. Where it boots uncompressed kernels alone, they are kept in the directory `kernels`.
pub async fn find(kind: HypervisorKind, kernels: &Path) -> Result<Arc<dyn Hypervisor>, HypervisorError> {
    Ok(match kind {
        HypervisorKind::CloudHypervisor => Arc::new(cloud_hypervisor::CloudHypervisor::find().await?),
        HypervisorKind::QemuKvm => Arc::new(qemu::Qemu::kvm().await?),
        HypervisorKind::QemuTcg => Arc::new(qemu::Qemu::tcg().await?),
        HypervisorKind::Firecracker => Arc::new(firecracker::Firecracker::find(kernels).await?),
    })
}

/// Explains an error of a control socket during `operation`: when the process has ended, that is the reason, and
/// its log says more.
async fn explain(instance: &Instance, operation: Operation, why: String) -> HypervisorError {
    /// A process that closed its socket because it ends is gone this soon.
    const ENDING: Duration = Duration::from_millis(500);
    let vm = instance.vm;
    match tokio::time::timeout(ENDING, instance.exited()).await {
        Ok(Ok(exit)) => HypervisorError::Exited {
            operation,
            vm,
            exit,
            last_words: instance.last_words().await,
        },
        Ok(Err(_)) | Err(_) => HypervisorError::Api { operation, vm, why },
    }
}
