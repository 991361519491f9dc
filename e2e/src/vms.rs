//! VMs for tests: what they are, how they are asked for, and how one looks at them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use chv_domain::spec::{Boot, CpuSpec, HostPath, MemorySpec};
use chv_domain::{Actor, Command, CommandId, Memory, Submission, UserName, Vcpus, VmRef, VmSpec};
use chv_proto::client::{Client, CommandError, new_command_id};
use chv_proto::subject::Audience;
use chv_proto::v1::{self, query_envelope::Query, query_reply, vm_ref};

use crate::cluster::{Cluster, PATIENCE};

/// A VM that boots the uOS guest.
pub fn uos() -> VmSpec {
    spec("uos/vmlinuz", Some("uos/initramfs.cpio"), 128)
}

/// A VM that boots the [tiny kernel](crate::tiny_kernel).
pub fn tiny() -> VmSpec {
    spec("tiny", None, 16)
}

fn spec(kernel: &str, initramfs: Option<&str>, memory_mib: u32) -> VmSpec {
    let path = |text: &str| HostPath::try_from(text.to_owned()).expect("a relative path");
    let vcpus = Vcpus::new(1).expect("one is enough");
    let memory = Memory::from_mib(memory_mib).expect("more than none");
    let boot = Boot {
        initramfs: initramfs.map(path),
        ..Boot::kernel(path(kernel))
    };
    VmSpec::new(CpuSpec::of(vcpus), MemorySpec::of(memory), boot)
}

/// The command to create a VM in the default project.
pub fn create(name: &str, spec: VmSpec, start: bool) -> Command {
    Command::CreateVm {
        project: "default".parse().expect("a project's name"),
        name: name.parse().expect("a VM's name"),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        protected: false,
        spec: spec.into(),
        start,
    }
}

/// A VM of the default project, as commands name it.
pub fn by_name(name: &str) -> VmRef {
    VmRef::Name(
        "default".parse().expect("a project's name"),
        name.parse().expect("a VM's name"),
    )
}

/// A VM of the default project, as queries name it.
pub fn named(name: &str) -> v1::VmRef {
    v1::VmRef {
        vm: Some(vm_ref::Vm::Named(v1::ProjectAndName {
            project: "default".to_owned(),
            name: name.to_owned(),
        })),
    }
}

/// A command of `user`, sent with this id.
pub fn submission(user: &UserName, id: CommandId, command: Command) -> Submission {
    Submission::new(id, Actor::User(user.clone()), command)
}

/// Sends a command as the client's user, and waits for its answer.
///
/// # Errors
/// Those of the client.
pub async fn submit(
    client: &Client,
    command: Command,
    patience: Duration,
) -> Result<v1::Accepted, CommandError> {
    let user: UserName = client
        .user()
        .parse()
        .expect("a person's NATS user is a user's name");
    let submission = submission(&user, new_command_id(), command);
    client.submit(&submission, patience, None).await
}

/// A VM as the leader knows it; `None` when there is none of this name.
///
/// # Errors
/// When nobody answers.
pub async fn find(client: &Client, name: &str) -> Result<Option<v1::Vm>> {
    let query = Query::GetVm(v1::GetVm {
        vm: Some(named(name)),
    });
    match client.query(Audience::Leader, query, None, PATIENCE).await {
        Ok(reply) => match reply.result {
            Some(query_reply::Result::Vm(vm)) => Ok(Some(vm)),
            other => bail!("that is no VM: {other:?}"),
        },
        Err(chv_proto::client::QueryError::Refused(refusal)) if refusal.code == "not_found" => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// All VMs, as a replica knows them that has applied `min_seq`.
///
/// # Errors
/// When nobody answers.
pub async fn list(client: &Client, min_seq: u64) -> Result<Vec<v1::Vm>> {
    let mut vms: Vec<v1::Vm> = Vec::new();
    loop {
        let after = vms.last().map(|vm| v1::ProjectAndName {
            project: vm.project.clone(),
            name: vm.name.clone(),
        });
        let query = Query::ListVms(v1::ListVms {
            after,
            ..v1::ListVms::default()
        });
        let min_seq = Some(chv_domain::Seq(min_seq));
        let reply = client.query(Audience::Any, query, min_seq, PATIENCE).await?;
        let Some(query_reply::Result::Vms(page)) = reply.result else {
            bail!("that is no page of VMs: {:?}", reply.result);
        };
        let more = page.more && !page.vms.is_empty();
        vms.extend(page.vms);
        if !more {
            return Ok(vms);
        }
    }
}

impl Cluster {
    /// Waits until a VM is in this state, in one word.
    ///
    /// # Errors
    /// When that takes too long; says the state that it is in instead, and what stands in its way.
    pub async fn wait_for_status(&mut self, name: &str, status: &str) -> Result<v1::Vm> {
        let alice = self.client("alice").await?;
        self.wait(&format!("{name} is {status}"), PATIENCE, async || {
            match find(&alice, name).await? {
                Some(vm) if vm.status == status => Ok(vm),
                Some(vm) => Err(anyhow!("it is {} {}{}", vm.status, vm.trouble, vm.exit)),
                None => Err(anyhow!("there is no such VM")),
            }
        })
        .await
    }

    /// Waits until nothing of a VM is left, in the log.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn wait_until_gone(&mut self, name: &str) -> Result<()> {
        let alice = self.client("alice").await?;
        self.wait(&format!("{name} is gone"), PATIENCE, async || {
            match find(&alice, name).await? {
                Some(vm) => Err(anyhow!("it is {} {}", vm.status, vm.trouble)),
                None => Ok(()),
            }
        })
        .await
    }
}
