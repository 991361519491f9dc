//! cloud-hypervisor, one process for each machine, driven by its REST API.

mod config;
mod hotplug;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;
use chv_domain::{HypervisorKind, VmId};
use cloud_hypervisor_sdk::apis::{DefaultApi, Error as ApiError};
use cloud_hypervisor_sdk::models::VmState;
use cloud_hypervisor_sdk::{SocketBasedApiClient, socket_based_api_client};

use super::binary::Binary;
use super::changing::Changing;
use super::error::{HypervisorError, Operation};
use super::instance::Instance;
use super::machine::Machine;
use super::spawn::spawn;
use super::status::Status;
use super::{Hypervisor, explain};

/// Names the program, instead of the first `cloud-hypervisor` on the PATH.
pub const BINARY_VARIABLE: &str = "CHV_CLOUD_HYPERVISOR";

/// How long creating or booting a machine may take: the host may be busy.
const LAUNCH_LIMIT: Duration = Duration::from_secs(30);

/// How long cloud-hypervisor may take to answer a question.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// cloud-hypervisor, over KVM.
#[derive(Debug, Clone)]
pub struct CloudHypervisor {
    binary: Binary,
}

impl CloudHypervisor {
    /// Finds cloud-hypervisor. Whether it runs guests here is not looked at: the probe shows it.
    pub async fn find() -> Result<Self, HypervisorError> {
        let kind = HypervisorKind::CloudHypervisor;
        Ok(Self {
            binary: Binary::find(kind, BINARY_VARIABLE, "cloud-hypervisor").await?,
        })
    }
}

#[async_trait]
impl Hypervisor for CloudHypervisor {
    fn kind(&self) -> HypervisorKind {
        HypervisorKind::CloudHypervisor
    }

    fn binary(&self) -> &Binary {
        &self.binary
    }

    #[tracing::instrument(name = "launch", skip_all, fields(vm = %machine.vm, hypervisor = %self.kind()))]
    async fn launch(&self, machine: &Machine) -> Result<Instance, HypervisorError> {
        let config = config::config(machine)?;
        let fledgling = spawn(machine, self.kind(), self.binary.path.clone(), |api_fd| {
            ["--api-socket".to_owned(), format!("fd={api_fd}")]
                .map(OsString::from)
                .to_vec()
        })
        .await?;
        let instance = fledgling.instance();
        let client = client(instance);
        let launch = async {
            call(
                instance,
                Operation::Launch,
                LAUNCH_LIMIT,
                client.create_vm(config),
            )
            .await?;
            // Answered when the vCPUs run.
            call(instance, Operation::Launch, LAUNCH_LIMIT, client.boot_vm()).await
        };
        match launch.await {
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
        match tokio::time::timeout(ANSWER_LIMIT, client(instance).vm_info_get()).await {
            Ok(Ok(info)) => match info.state {
                VmState::Created => Status::Booting,
                VmState::Running => Status::Running,
                VmState::Paused => Status::Paused,
                VmState::Shutdown => Status::ShuttingDown,
            },
            // Also when it answered with a state that the client's closed list lacks.
            Ok(Err(error)) => match instance.process.has_ended() {
                Ok(Some(exit)) => Status::Gone(exit),
                Ok(None) | Err(_) => Status::Unknown(words(&error)),
            },
            Err(_) => Status::Unknown(format!("cloud-hypervisor did not answer within {ANSWER_LIMIT:?}")),
        }
    }

    async fn press_power_button(&self, instance: &Instance) -> Result<(), HypervisorError> {
        call(
            instance,
            Operation::PowerButton,
            ANSWER_LIMIT,
            client(instance).power_button_vm(),
        )
        .await
    }

    async fn pause(&self, instance: &Instance) -> Result<(), HypervisorError> {
        // It refuses what is so already.
        match self.status(instance).await {
            Status::Paused => Ok(()),
            _ => {
                call(
                    instance,
                    Operation::Pause,
                    ANSWER_LIMIT,
                    client(instance).pause_vm(),
                )
                .await
            }
        }
    }

    async fn resume(&self, instance: &Instance) -> Result<(), HypervisorError> {
        match self.status(instance).await {
            Status::Running => Ok(()),
            _ => {
                call(
                    instance,
                    Operation::Resume,
                    ANSWER_LIMIT,
                    client(instance).resume_vm(),
                )
                .await
            }
        }
    }

    async fn reset(&self, instance: &Instance) -> Result<(), HypervisorError> {
        call(
            instance,
            Operation::Reset,
            LAUNCH_LIMIT,
            client(instance).reboot_vm(),
        )
        .await
    }

    async fn change(&self, instance: &Instance, changing: &Changing<'_>) -> Result<(), HypervisorError> {
        hotplug::change(instance, changing).await
    }
}

fn client(instance: &Instance) -> SocketBasedApiClient {
    socket_based_api_client(instance.run_dir.api_socket())
}

/// Makes a request, which by itself would wait for ever.
async fn call<T>(
    instance: &Instance,
    operation: Operation,
    limit: Duration,
    request: impl Future<Output = Result<T, ApiError>>,
) -> Result<T, HypervisorError> {
    let vm: VmId = instance.vm;
    match tokio::time::timeout(limit, request).await {
        Ok(Ok(answer)) => Ok(answer),
        // It answered, so it lives: what it says is the reason.
        Ok(Err(error @ ApiError::Api(_))) => Err(HypervisorError::Api {
            operation,
            vm,
            why: words(&error),
        }),
        Ok(Err(error)) => Err(explain(instance, operation, words(&error)).await),
        Err(_) => Err(HypervisorError::Timeout {
            operation,
            vm,
            after: limit,
        }),
    }
}

/// What an error says, without the names of types.
fn words(error: &ApiError) -> String {
    match error {
        ApiError::Api(answer) => format!(
            "cloud-hypervisor answered {}: {}",
            answer.code,
            answer.body.trim()
        ),
        other => {
            let mut text = other.to_string();
            let mut source = std::error::Error::source(other);
            while let Some(error) = source {
                text = format!("{text}: {error}");
                source = error.source();
            }
            text
        }
    }
}
