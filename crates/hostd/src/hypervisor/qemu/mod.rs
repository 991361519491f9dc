//! QEMU, one process for each machine, driven by QMP; with KVM, or emulating the processor.

mod affinity;
mod args;
mod hotplug;
mod qmp;
#[cfg(test)]
mod tests;

use std::time::Duration;

use async_trait::async_trait;
use chv_domain::HypervisorKind;

use self::args::Accelerator;
use self::hotplug::ChangeError;
use self::qmp::{Qmp, QmpError};
use super::binary::{self, Binary};
use super::changing::Changing;
use super::error::{HypervisorError, Operation};
use super::instance::Instance;
use super::machine::Machine;
use super::spawn::spawn;
use super::status::Status;
use super::{Hypervisor, explain};

/// Names the program, instead of the first `qemu-system-x86_64` on the PATH.
pub const BINARY_VARIABLE: &str = "CHV_QEMU";

/// How long QEMU may take to set a machine up. It allocates no memory for it, but the host may be busy.
const LAUNCH_LIMIT: Duration = Duration::from_secs(30);

/// How long a guest may take for its part in a change of its machine; then it is tried again.
const CHANGE_LIMIT: Duration = Duration::from_secs(10);

/// How long QEMU may take to answer a question.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// QEMU with one accelerator.
#[derive(Debug, Clone)]
pub struct Qemu {
    binary: Binary,
    accelerator: Accelerator,
    /// Whether this QEMU was built with seccomp.
    sandbox: bool,
}

impl Qemu {
    /// Finds QEMU, to be used with KVM. Whether KVM runs guests here is not looked at: the probe shows it.
    pub async fn kvm() -> Result<Self, HypervisorError> {
        Self::find(Accelerator::Kvm).await
    }

    /// Finds QEMU, to emulate the processor.
    pub async fn tcg() -> Result<Self, HypervisorError> {
        Self::find(Accelerator::Tcg).await
    }

    async fn find(accelerator: Accelerator) -> Result<Self, HypervisorError> {
        let binary = Binary::find(accelerator.kind(), BINARY_VARIABLE, "qemu-system-x86_64").await?;
        Ok(Self::of(binary, accelerator).await)
    }

    /// The program `path`, to emulate the processor.
    #[cfg(test)]
    pub(super) async fn tcg_at(path: std::path::PathBuf) -> Result<Self, HypervisorError> {
        let binary = Binary::at(path.clone()).await;
        let binary = binary.map_err(|why| HypervisorError::NotInstalled {
            kind: HypervisorKind::QemuTcg,
            looked_for: format!("{}: {why}", path.display()),
        })?;
        Ok(Self::of(binary, Accelerator::Tcg).await)
    }

    async fn of(binary: Binary, accelerator: Accelerator) -> Self {
        let sandbox = binary::version(&binary.path, &["-sandbox", "on", "--version"])
            .await
            .is_ok();
        Self {
            binary,
            accelerator,
            sandbox,
        }
    }
}

#[async_trait]
impl Hypervisor for Qemu {
    fn kind(&self) -> HypervisorKind {
        self.accelerator.kind()
    }

    fn binary(&self) -> &Binary {
        &self.binary
    }

    #[tracing::instrument(name = "launch", skip_all, fields(vm = %machine.vm, hypervisor = %self.kind()))]
    async fn launch(&self, machine: &Machine) -> Result<Instance, HypervisorError> {
        // Built here for its errors, and once more when the descriptor's number is known.
        args::args(machine, self.accelerator, self.sandbox, 0)?;
        let (of, accelerator, sandbox) = (machine.clone(), self.accelerator, self.sandbox);
        let fledgling = spawn(machine, self.kind(), self.binary.path.clone(), move |qmp_fd| {
            args::args(&of, accelerator, sandbox, qmp_fd).unwrap_or_default()
        })
        .await?;
        let instance = fledgling.instance();
        // The greeting comes when QEMU has set the machine up and let its vCPUs run.
        let running = async {
            let mut qmp = Qmp::connect(&instance.run_dir.api_socket()).await?;
            if let Some(left) = args::memory::after_balloon(&machine.spec.memory) {
                qmp.execute_with("balloon", serde_json::json!({"value": left}))
                    .await?;
            }
            wait_until_running(&mut qmp).await?;
            affinity::set(&mut qmp, instance.process, &machine.spec.cpu).await
        };
        let vm = machine.vm;
        let error = match tokio::time::timeout(LAUNCH_LIMIT, running).await {
            Ok(Ok(())) => return Ok(fledgling.proven()),
            Ok(Err(error)) => explain(instance, Operation::Launch, error.to_string()).await,
            Err(_) => HypervisorError::Timeout {
                operation: Operation::Launch,
                vm,
                after: LAUNCH_LIMIT,
            },
        };
        Err(fledgling.given_up(error).await)
    }

    async fn status(&self, instance: &Instance) -> Status {
        // Whoever has ended doesn't answer: whether it has is looked at when it doesn't.
        let asked = async { query_status(&mut Qmp::connect(&instance.run_dir.api_socket()).await?).await };
        match tokio::time::timeout(ANSWER_LIMIT, asked).await {
            Ok(Ok(status)) => status,
            Ok(Err(error)) => match instance.has_ended() {
                Ok(Some(exit)) => Status::Gone(exit),
                Ok(None) | Err(_) => Status::Unknown(error.to_string()),
            },
            Err(_) => Status::Unknown(format!("QEMU did not answer within {ANSWER_LIMIT:?}")),
        }
    }

    async fn press_power_button(&self, instance: &Instance) -> Result<(), HypervisorError> {
        order(instance, Operation::PowerButton, "system_powerdown").await
    }

    async fn pause(&self, instance: &Instance) -> Result<(), HypervisorError> {
        order(instance, Operation::Pause, "stop").await
    }

    async fn resume(&self, instance: &Instance) -> Result<(), HypervisorError> {
        order(instance, Operation::Resume, "cont").await
    }

    async fn reset(&self, instance: &Instance) -> Result<(), HypervisorError> {
        order(instance, Operation::Reset, "system_reset").await?;
        // One that was held stays so otherwise.
        order(instance, Operation::Reset, "cont").await
    }

    async fn change(&self, instance: &Instance, changing: &Changing<'_>) -> Result<(), HypervisorError> {
        let operation = Operation::Change;
        let done = async {
            let mut qmp = Qmp::connect(&instance.run_dir.api_socket()).await?;
            hotplug::change(&mut qmp, instance.vm, instance.kind, changing).await
        };
        match tokio::time::timeout(CHANGE_LIMIT, done).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(ChangeError::Machine(error))) => Err(error),
            Ok(Err(error)) => Err(explain(instance, operation, error.to_string()).await),
            Err(_) => Err(HypervisorError::Api {
                operation,
                vm: instance.vm,
                why: format!(
                    "{} was not done by its guest within {CHANGE_LIMIT:?}: it may still be booting, or can't do it",
                    changing.change
                ),
            }),
        }
    }
}

/// Executes one command that returns nothing.
async fn order(
    instance: &Instance,
    operation: Operation,
    command: &'static str,
) -> Result<(), HypervisorError> {
    let done = async {
        let mut qmp = Qmp::connect(&instance.run_dir.api_socket()).await?;
        qmp.execute(command).await
    };
    match tokio::time::timeout(ANSWER_LIMIT, done).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(explain(instance, operation, error.to_string()).await),
        Err(_) => Err(HypervisorError::Timeout {
            operation,
            vm: instance.vm,
            after: ANSWER_LIMIT,
        }),
    }
}

async fn wait_until_running(qmp: &mut Qmp) -> Result<(), QmpError> {
    loop {
        match query_status(qmp).await? {
            Status::Running => return Ok(()),
            // Not seen so far: vCPUs run before the greeting. A question takes longer than this pause.
            Status::Booting => tokio::time::sleep(Duration::from_millis(1)).await,
            other => {
                return Err(QmpError::Malformed(format!(
                    "a machine that was just made is {other:?}"
                )));
            }
        }
    }
}

async fn query_status(qmp: &mut Qmp) -> Result<Status, QmpError> {
    let reply = qmp.execute("query-status").await?;
    match reply["status"].as_str() {
        Some(state) => Ok(status(state)),
        None => Err(QmpError::Malformed(reply.to_string())),
    }
}

/// QEMU's run state, in our words.
fn status(state: &str) -> Status {
    match state {
        "running" => Status::Running,
        "prelaunch" | "inmigrate" | "preconfig" => Status::Booting,
        "paused" | "suspended" | "debug" | "save-vm" | "restore-vm" | "postmigrate" | "finish-migrate" => {
            Status::Paused
        }
        "shutdown" => Status::ShuttingDown,
        // QEMU paused the guest in the middle of a write, which it does again when the guest goes on.
        "io-error" => Status::Stalled("the host's disk refused a write; make room".to_owned()),
        "internal-error" | "guest-panicked" | "watchdog" => Status::Broken(state.to_owned()),
        other => Status::Unknown(format!(
            "QEMU is in a state that this daemon doesn't know: {other}"
        )),
    }
}
