//! Firecracker, one process for each machine, driven by its REST API.
//!
//! It has no button that a guest could tell from a reboot, and its process ends when the guest reboots. It boots
//! uncompressed kernels alone, so those of distributions are unpacked first.

mod api;
mod config;
mod kernels;
pub(super) mod serial;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use api::{ApiError, Ask, ask};
use async_trait::async_trait;
use chv_domain::HypervisorKind;
use kernels::{Kernels, NoKernel};
use serde_json::Value;

use super::binary::Binary;
use super::changing::Changing;
use super::error::{HypervisorError, Operation};
use super::instance::Instance;
use super::machine::{Machine, Payload};
use super::run_dir::API_SOCKET;
use super::spawn::spawn;
use super::status::Status;
use super::{Hypervisor, explain};

/// Names the program, instead of the first `firecracker` on the PATH.
pub const BINARY_VARIABLE: &str = "CHV_FIRECRACKER";

/// How long making or booting a machine may take: the host may be busy.
const LAUNCH_LIMIT: Duration = Duration::from_secs(30);

/// How long Firecracker may take to answer a question.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// What it writes of itself, in its own directory.
const OWN_LOG: &str = "firecracker.log";

/// Between two looks whether a new process listens already.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Firecracker, over KVM.
#[derive(Debug, Clone)]
pub struct Firecracker {
    binary: Binary,
    kernels: Kernels,
}

impl Firecracker {
    /// Finds Firecracker, which is given uncompressed kernels from the directory `kernels`. Whether it runs guests here
    /// is not looked at: the probe shows it.
    pub async fn find(kernels: &Path) -> Result<Self, HypervisorError> {
        let kind = HypervisorKind::Firecracker;
        Ok(Self {
            binary: Binary::find(kind, BINARY_VARIABLE, "firecracker").await?,
            kernels: Kernels::new(kernels),
        })
    }

    /// The machine with an uncompressed kernel.
    async fn with_kernel(&self, machine: &Machine) -> Result<Machine, HypervisorError> {
        let mut machine = machine.clone();
        let Payload::Kernel { kernel, .. } = &mut machine.files.payload else {
            return Ok(machine);
        };
        match self.kernels.uncompressed(kernel).await {
            Ok(uncompressed) => *kernel = uncompressed,
            Err(NoKernel::Compression(error)) => {
                return Err(config::lacks(format!("the kernel {}: {error}", kernel.display())));
            }
            // A kernel that can't be read is told with the machine's other files.
            Err(NoKernel::Io(error)) if machine.check_files().is_ok() => {
                return Err(HypervisorError::Api {
                    operation: Operation::Launch,
                    vm: machine.vm,
                    why: format!("its kernel can't be unpacked: {error}"),
                });
            }
            Err(NoKernel::Io(_)) => {}
        }
        Ok(machine)
    }
}

#[async_trait]
impl Hypervisor for Firecracker {
    fn kind(&self) -> HypervisorKind {
        HypervisorKind::Firecracker
    }

    fn binary(&self) -> &Binary {
        &self.binary
    }

    #[tracing::instrument(name = "launch", skip_all, fields(vm = %machine.vm, hypervisor = %self.kind()))]
    async fn launch(&self, machine: &Machine) -> Result<Instance, HypervisorError> {
        let machine = self.with_kernel(machine).await?;
        let requests = config::requests(&machine)?;
        let id = machine.vm.to_string();
        let fledgling = spawn(&machine, self.kind(), self.binary.path.clone(), move |_| {
            let log = ["--log-path", OWN_LOG, "--level", "Warning"];
            let words = ["--id", &id, "--api-sock", API_SOCKET].into_iter().chain(log);
            words.map(OsString::from).collect()
        })
        .await?;
        let instance = fledgling.instance();
        let launch = async {
            listens(instance).await?;
            for request in requests.iter().chain([&config::start()]) {
                call(instance, Operation::Launch, LAUNCH_LIMIT, request).await?;
            }
            Ok(())
        };
        match launch.await {
            // The start was answered when the vCPUs ran.
            Ok(()) => Ok(fledgling.proven()),
            Err(error) => Err(fledgling.given_up(error).await),
        }
    }

    async fn status(&self, instance: &Instance) -> Status {
        match instance.process.has_ended() {
            Ok(None) => {}
            Ok(Some(exit)) => return Status::Gone(exit),
            Err(error) => return Status::Unknown(error.to_string()),
        }
        let socket = instance.run_dir.own_api_socket();
        match tokio::time::timeout(ANSWER_LIMIT, ask(&socket, &Ask::get("/"))).await {
            Ok(Ok(answer)) => status(&answer),
            Ok(Err(error)) => match instance.process.has_ended() {
                Ok(Some(exit)) => Status::Gone(exit),
                Ok(None) | Err(_) => Status::Unknown(error.to_string()),
            },
            Err(_) => Status::Unknown(format!("Firecracker did not answer within {ANSWER_LIMIT:?}")),
        }
    }

    async fn press_power_button(&self, instance: &Instance) -> Result<(), HypervisorError> {
        let operation = Operation::PowerButton;
        call(instance, operation, ANSWER_LIMIT, &config::press()).await
    }

    async fn pause(&self, instance: &Instance) -> Result<(), HypervisorError> {
        // It holds what is held, and lets run what runs, once more.
        call(instance, Operation::Pause, ANSWER_LIMIT, &config::pause()).await
    }

    async fn resume(&self, instance: &Instance) -> Result<(), HypervisorError> {
        call(instance, Operation::Resume, ANSWER_LIMIT, &config::resume()).await
    }

    /// It has nothing that changes while it runs.
    async fn change(&self, _: &Instance, changing: &Changing<'_>) -> Result<(), HypervisorError> {
        Err(HypervisorError::Unsupported {
            kind: HypervisorKind::Firecracker,
            feature: format!("{} while it runs", changing.change),
        })
    }

    /// It has no reset: its process ends, as it does when a guest resets itself, and what should run is started again.
    async fn reset(&self, instance: &Instance) -> Result<(), HypervisorError> {
        self.kill(instance).await.map(drop)
    }
}

fn status(answer: &Value) -> Status {
    match answer.get("state").and_then(Value::as_str) {
        Some("Not started") => Status::Booting,
        Some("Running") => Status::Running,
        Some("Paused") => Status::Paused,
        other => Status::Unknown(format!("Firecracker says that the machine is {other:?}")),
    }
}

/// Waits until a new process takes requests.
async fn listens(instance: &Instance) -> Result<(), HypervisorError> {
    let socket = instance.run_dir.own_api_socket();
    let listening = async {
        while let Err(error) = ask(&socket, &Ask::get("/")).await {
            if matches!(error, ApiError::Refused { .. }) || !matches!(instance.process.has_ended(), Ok(None))
            {
                return Err(explain(instance, Operation::Launch, error.to_string()).await);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(())
    };
    let listening = tokio::time::timeout(LAUNCH_LIMIT, listening).await;
    listening.unwrap_or_else(|_| Err(late(instance, Operation::Launch, LAUNCH_LIMIT)))
}

async fn call(
    instance: &Instance,
    operation: Operation,
    limit: Duration,
    request: &Ask,
) -> Result<(), HypervisorError> {
    let socket = instance.run_dir.own_api_socket();
    match tokio::time::timeout(limit, ask(&socket, request)).await {
        Ok(Ok(_)) => Ok(()),
        // It answered, so it lives: what it says is the reason.
        Ok(Err(error @ ApiError::Refused { .. })) => Err(HypervisorError::Api {
            operation,
            vm: instance.vm,
            why: error.to_string(),
        }),
        Ok(Err(error)) => Err(explain(instance, operation, error.to_string()).await),
        Err(_) => Err(late(instance, operation, limit)),
    }
}

fn late(instance: &Instance, operation: Operation, after: Duration) -> HypervisorError {
    HypervisorError::Timeout {
        operation,
        vm: instance.vm,
        after,
    }
}
