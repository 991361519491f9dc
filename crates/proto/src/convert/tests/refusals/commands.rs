//! Commands.

use super::{ID, Wire, create, decode, envelope, spec};
use crate::convert::refused_decode;
use crate::v1;

fn report(observation: Option<v1::report_vm::Observation>) -> Wire {
    Wire::ReportVm(v1::ReportVm {
        vm: ID.into(),
        epoch: 1,
        observation,
    })
}

fn verb_of(command: &Wire) -> &'static str {
    match command {
        Wire::CreateVm(_) => "vm.create",
        Wire::StartVm(_) => "vm.start",
        Wire::StopVm(_) => "vm.stop",
        Wire::KillVm(_) => "vm.kill",
        Wire::PauseVm(_) => "vm.pause",
        Wire::ResumeVm(_) => "vm.resume",
        Wire::RebootVm(_) => "vm.reboot",
        Wire::ResetVm(_) => "vm.reset",
        Wire::RenameVm(_) => "vm.rename",
        Wire::LabelVm(_) => "vm.label",
        Wire::AnnotateVm(_) => "vm.annotate",
        Wire::ProtectVm(_) => "vm.protect",
        Wire::ChangeVm(_) => "vm.change",
        Wire::UndeleteVm(_) => "vm.undelete",
        Wire::PurgeVm(_) => "vm.purge",
        Wire::DeleteVm(_) => "vm.delete",
        Wire::RegisterHost(_) => "host.register",
        Wire::CordonHost(_) => "host.cordon",
        Wire::UncordonHost(_) => "host.uncordon",
        Wire::ReportVm(_) => "host.report",
        Wire::AddReplica(_) => "cluster.add-replica",
        Wire::RemoveReplica(_) => "cluster.remove-replica",
        Wire::ReplaceReplica(_) => "cluster.replace-replica",
        Wire::StepDown(_) => "cluster.step-down",
        Wire::ReportReplicas(_) => "cluster.report",
        Wire::IntroduceReplicas(_) => "cluster.introduce",
        Wire::FailOverVm(_) => "vm.fail-over",
        Wire::SetRetention(_) => "cluster.set-retention",
        Wire::ForgetHistory(_) => "cluster.forget-history",
    }
}

#[test]
fn a_wrong_field_is_named_by_its_path() {
    let with = |change: fn(&mut v1::VmSpec)| {
        let mut spec = spec();
        change(&mut spec);
        create(spec)
    };
    let boot = |kernel: &str, cmdline: &str| {
        create(v1::VmSpec {
            boot: Some(v1::Boot {
                kernel: kernel.into(),
                cmdline: cmdline.into(),
                ..v1::Boot::default()
            }),
            ..spec()
        })
    };
    let nic = |backend: Option<v1::nic::Backend>, mac: &str| {
        create(v1::VmSpec {
            nics: vec![v1::Nic {
                id: "lan".into(),
                backend,
                mac: mac.into(),
                ..v1::Nic::default()
            }],
            ..spec()
        })
    };
    let disk = |path: &str, format: i32| {
        create(v1::VmSpec {
            disks: vec![v1::Disk {
                id: "root".into(),
                path: path.into(),
                format,
                ..v1::Disk::default()
            }],
            ..spec()
        })
    };
    let named = |project: &str, name: &str| v1::VmRef {
        vm: Some(v1::vm_ref::Vm::Named(v1::ProjectAndName {
            project: project.into(),
            name: name.into(),
        })),
    };
    let exited = |kind| {
        report(Some(v1::report_vm::Observation::Exited(v1::report_vm::Exited {
            reason: Some(v1::ExitReason {
                kind,
                detail: String::new(),
            }),
            ..v1::report_vm::Exited::default()
        })))
    };
    let register = |facts| {
        Wire::RegisterHost(v1::RegisterHost {
            host: ID.into(),
            facts,
        })
    };
    let user = v1::nic::Backend::User(v1::UserNetwork {});
    let cases = [
        (with(|spec| spec.cpu = None), "create_vm.spec.cpu"),
        (
            with(|spec| spec.cpu = Some(v1::Cpu::default())),
            "create_vm.spec.cpu.vcpus",
        ),
        (
            with(|spec| spec.memory = Some(v1::Memory::default())),
            "create_vm.spec.memory.size_mib",
        ),
        (
            with(|spec| spec.disks = vec![v1::Disk::default()]),
            "create_vm.spec.disks[0].format",
        ),
        (
            with(|spec| {
                spec.nics = vec![v1::Nic {
                    backend: Some(v1::nic::Backend::Tap("t".into())),
                    id: "a".into(),
                    rate_limit: Some(v1::RateLimit {
                        ops: Some(v1::TokenBucket::default()),
                        ..v1::RateLimit::default()
                    }),
                    ..v1::Nic::default()
                }];
            }),
            "create_vm.spec.nics[0].rate_limit.ops.size",
        ),
        (with(|spec| spec.boot = None), "create_vm.spec.boot"),
        (
            with(|spec| spec.hypervisor = "xen".into()),
            "create_vm.spec.hypervisor",
        ),
        (
            with(|spec| spec.stop_timeout_s = 3601),
            "create_vm.spec.stop_timeout_s",
        ),
        (boot("../shadow", ""), "create_vm.spec.boot.kernel"),
        (boot("k", "naïve"), "create_vm.spec.boot.cmdline"),
        (disk("d", 0), "create_vm.spec.disks[0].format"),
        (disk("d", 77), "create_vm.spec.disks[0].format"),
        (disk("", 1), "create_vm.spec.disks[0].path"),
        (nic(None, ""), "create_vm.spec.nics[0].backend"),
        (nic(Some(user), "01:00:00:00:00:00"), "create_vm.spec.nics[0].mac"),
        (
            nic(Some(v1::nic::Backend::Tap("a b".into())), ""),
            "create_vm.spec.nics[0].tap",
        ),
        (Wire::CreateVm(v1::CreateVm::default()), "create_vm.spec"),
        (
            Wire::CreateVm(v1::CreateVm {
                spec: Some(spec()),
                ..v1::CreateVm::default()
            }),
            "create_vm.project",
        ),
        (Wire::StartVm(v1::StartVm { vm: None }), "start_vm.vm"),
        (
            Wire::StartVm(v1::StartVm {
                vm: Some(v1::VmRef { vm: None }),
            }),
            "start_vm.vm",
        ),
        (
            Wire::KillVm(v1::KillVm {
                vm: Some(v1::VmRef {
                    vm: Some(v1::vm_ref::Vm::Id("x".into())),
                }),
            }),
            "kill_vm.vm.id",
        ),
        (
            Wire::DeleteVm(v1::DeleteVm {
                vm: Some(named("default", "Web_1")),
                force: false,
                keep_s: 0,
            }),
            "delete_vm.vm.named.name",
        ),
        (
            Wire::StopVm(v1::StopVm {
                vm: Some(named("default", "web")),
                timeout_s: 9999,
            }),
            "stop_vm.timeout_s",
        ),
        (
            Wire::CordonHost(v1::CordonHost { host: "H*".into() }),
            "cordon_host.host",
        ),
        (
            Wire::UncordonHost(v1::UncordonHost { host: "a.b".into() }),
            "uncordon_host.host",
        ),
        (register(None), "register_host.facts"),
        (
            register(Some(v1::HostFacts::default())),
            "register_host.facts.capacity",
        ),
        (
            register(Some(v1::HostFacts {
                capacity: Some(v1::Capacity::default()),
                hypervisors: vec![v1::Hypervisor::default()],
                daemon: String::new(),
                missing: Vec::new(),
            })),
            "register_host.facts.hypervisors[0].kind",
        ),
        (report(None), "report_vm.observation"),
        (
            report(Some(v1::report_vm::Observation::Started(
                v1::report_vm::Started::default(),
            ))),
            "report_vm.started.hypervisor",
        ),
        (
            report(Some(v1::report_vm::Observation::Exited(v1::report_vm::Exited {
                reason: None,
                ..v1::report_vm::Exited::default()
            }))),
            "report_vm.exited.reason",
        ),
        (Wire::AddReplica(v1::AddReplica::default()), "add_replica.replica"),
        (
            Wire::AddReplica(v1::AddReplica {
                replica: 4,
                address: "localhost".into(),
            }),
            "add_replica.address",
        ),
        (
            Wire::RemoveReplica(v1::RemoveReplica::default()),
            "remove_replica.replica",
        ),
        (
            Wire::ReplaceReplica(v1::ReplaceReplica {
                old: 1,
                ..v1::ReplaceReplica::default()
            }),
            "replace_replica.new",
        ),
        (
            Wire::ReportReplicas(v1::ReportReplicas {
                voters: vec![v1::ReplicaAddress::default()],
                learners: vec![],
            }),
            "report_replicas.voters[0].replica",
        ),
        (
            Wire::IntroduceReplicas(v1::IntroduceReplicas {
                introduced: vec![v1::ReplicaIntroduction::default()],
            }),
            "introduce_replicas.introduced[0].directory",
        ),
        (Wire::FailOverVm(v1::FailOverVm::default()), "fail_over_vm.vm"),
        (
            Wire::SetRetention(v1::SetRetention::default()),
            "set_retention.retention",
        ),
        (
            Wire::ForgetHistory(v1::ForgetHistory::default()),
            "forget_history.forgotten",
        ),
        (exited(0), "report_vm.exited.reason.kind"),
        (exited(99), "report_vm.exited.reason.kind"),
    ];
    for (command, field) in cases {
        let error = decode(&envelope(command.clone()), verb_of(&command)).unwrap_err();
        assert_eq!((error.code, error.field.as_str()), ("invalid", field), "{error}");
        assert_eq!(error.id, ID.parse().ok());
        assert!(error.message.starts_with(field), "{error}");
        let refused = refused_decode(&error);
        assert_eq!(
            (refused.code.as_str(), refused.field.as_str()),
            ("invalid", field)
        );
    }
}

#[test]
fn the_same_command_without_the_fault_is_read() {
    assert!(decode(&envelope(create(spec())), "vm.create").is_ok());
}
