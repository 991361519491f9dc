//! Every wrong field is refused, and named by its path.

use chv_domain::*;
use prost::Message;

use crate::convert::*;
use crate::v1;
use crate::v1::command_envelope::Command as Wire;

const ID: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

fn spec() -> v1::VmSpec {
    v1::VmSpec {
        vcpus: 1,
        memory_mib: 128,
        boot: Some(v1::Boot {
            kernel: "k".into(),
            ..v1::Boot::default()
        }),
        ..v1::VmSpec::default()
    }
}

fn create(spec: v1::VmSpec) -> Wire {
    Wire::CreateVm(v1::CreateVm {
        project: "default".into(),
        name: "web".into(),
        spec: Some(spec),
        ..v1::CreateVm::default()
    })
}

fn report(observation: Option<v1::report_vm::Observation>) -> Wire {
    Wire::ReportVm(v1::ReportVm {
        vm: ID.into(),
        epoch: 1,
        observation,
    })
}

fn envelope(command: Wire) -> v1::CommandEnvelope {
    v1::CommandEnvelope {
        version: 1,
        id: ID.into(),
        command: Some(command),
        ..v1::CommandEnvelope::default()
    }
}

fn decode(envelope: &v1::CommandEnvelope, verb: &str) -> Result<Submission, DecodeError> {
    decode_envelope(&envelope.encode_to_vec(), "alice".parse().unwrap(), verb, None)
}

fn verb_of(command: &Wire) -> &'static str {
    match command {
        Wire::CreateVm(_) => "vm.create",
        Wire::StartVm(_) => "vm.start",
        Wire::StopVm(_) => "vm.stop",
        Wire::KillVm(_) => "vm.kill",
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
                initramfs: String::new(),
                cmdline: cmdline.into(),
            }),
            ..spec()
        })
    };
    let nic = |backend: Option<v1::nic::Backend>, mac: &str| {
        create(v1::VmSpec {
            nic: Some(v1::Nic {
                backend,
                mac: mac.into(),
            }),
            ..spec()
        })
    };
    let disk = |path: &str, format: i32| {
        create(v1::VmSpec {
            disk: Some(v1::Disk {
                path: path.into(),
                format,
                read_only: false,
            }),
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
        (with(|spec| spec.vcpus = 0), "create_vm.spec.vcpus"),
        (with(|spec| spec.memory_mib = 0), "create_vm.spec.memory_mib"),
        (with(|spec| spec.boot = None), "create_vm.spec.boot"),
        (
            with(|spec| spec.hypervisor = "xen".into()),
            "create_vm.spec.hypervisor",
        ),
        (
            with(|spec| spec.stop_timeout_s = 3601),
            "create_vm.spec.stop_timeout_s",
        ),
        (boot("", ""), "create_vm.spec.boot.kernel"),
        (boot("../shadow", ""), "create_vm.spec.boot.kernel"),
        (boot("k", "naïve"), "create_vm.spec.boot.cmdline"),
        (disk("d", 0), "create_vm.spec.disk.format"),
        (disk("d", 77), "create_vm.spec.disk.format"),
        (disk("", 1), "create_vm.spec.disk.path"),
        (nic(None, ""), "create_vm.spec.nic.backend"),
        (nic(Some(user), "01:00:00:00:00:00"), "create_vm.spec.nic.mac"),
        (
            nic(Some(v1::nic::Backend::Tap("a b".into())), ""),
            "create_vm.spec.nic.tap",
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

#[test]
fn an_envelope_of_another_version_is_refused_before_it_is_looked_into() {
    for version in [0, 2, u32::MAX] {
        let envelope = v1::CommandEnvelope {
            version,
            command: None,
            ..envelope(create(spec()))
        };
        let error = decode(&envelope, "vm.create").unwrap_err();
        assert_eq!((error.code, error.id), ("unsupported_version", ID.parse().ok()));
    }
}

#[test]
fn an_envelope_without_a_command_or_a_readable_id_is_refused() {
    let without = v1::CommandEnvelope {
        command: None,
        ..envelope(create(spec()))
    };
    let error = decode(&without, "vm.create").unwrap_err();
    assert_eq!((error.code, error.field.as_str()), ("invalid", "command"));
    let nameless = v1::CommandEnvelope {
        id: "1".into(),
        ..envelope(create(spec()))
    };
    let error = decode(&nameless, "vm.create").unwrap_err();
    assert_eq!(
        (error.code, error.field.as_str(), error.id),
        ("invalid", "id", None)
    );
}

#[test]
fn a_truncated_envelope_is_malformed() {
    let bytes = envelope(create(spec())).encode_to_vec();
    let error = decode_envelope(
        &bytes[..bytes.len() - 1],
        "alice".parse().unwrap(),
        "vm.create",
        None,
    );
    assert_eq!(error.unwrap_err().code, "malformed");
}

#[test]
fn a_verb_that_is_not_known_is_a_mismatch_not_a_panic() {
    let error = decode(&envelope(create(spec())), "vm.explode").unwrap_err();
    assert_eq!(error.code, "subject_mismatch");
    assert!(error.message.contains("vm.explode") && error.message.contains("vm.create"));
}

#[test]
fn an_unreadable_trace_in_the_envelope_is_refused() {
    let envelope = v1::CommandEnvelope {
        traceparent: "junk".into(),
        ..envelope(create(spec()))
    };
    assert_eq!(decode(&envelope, "vm.create").unwrap_err().field, "traceparent");
}

#[test]
fn a_query_of_another_kind_or_version_or_without_content_is_refused() {
    let asked = Asked {
        query: v1::query_envelope::Query::GetStatus(v1::GetStatus { digest: true }),
        min_seq: Seq(7),
        at: None,
        trace: None,
    };
    let envelope = encode_query(&asked);
    let decode = |envelope: &v1::QueryEnvelope, kind| decode_query(&envelope.encode_to_vec(), kind);
    assert_eq!(decode(&envelope, "status.get"), Ok(asked));
    assert_eq!(decode(&envelope, "vm.get").unwrap_err().code, "subject_mismatch");
    let newer = v1::QueryEnvelope {
        version: 2,
        ..envelope.clone()
    };
    assert_eq!(
        decode(&newer, "status.get").unwrap_err().code,
        "unsupported_version"
    );
    let empty = v1::QueryEnvelope {
        query: None,
        ..envelope
    };
    assert_eq!(decode(&empty, "status.get").unwrap_err().field, "query");
    assert_eq!(decode_query(&[0xff], "status.get").unwrap_err().code, "malformed");
}

#[test]
fn a_wrong_event_is_refused_with_its_field() {
    let record = Record::new(RecordBody {
        first: Seq(1),
        term: Term(1),
        time: Timestamp(1),
        actor: "alice".parse().unwrap(),
        cause: Cause {
            command: ID.parse().unwrap(),
            verb: Verb::VmStart,
            follows: None,
        },
        trace: None,
        prev: RecordHash::ZERO,
        events: vec![Event::VmStartRequested {
            vm: VmId::from_bytes([1; 16]),
        }],
    });
    let good = || event_to_wire(&record, 0, &Projection::default());
    assert!(event_from_wire(good()).is_ok());
    type Break = fn(&mut v1::EventMessage);
    let refusals: [(Break, &str); 9] = [
        (|event| event.version = 2, "version"),
        (|event| event.kind = "stopped".into(), "kind"),
        (|event| event.verb = "vm.explode".into(), "verb"),
        (|event| event.actor = "host/".into(), "actor"),
        (|event| event.command = String::new(), "command"),
        (|event| event.prev_hash = vec![0; 31], "prev_hash"),
        (|event| event.project = "a.b".into(), "project"),
        (|event| event.event = None, "event"),
        (
            |event| {
                event.event = Some(v1::event_message::Event::VmStartRequested(
                    v1::VmStartRequested::default(),
                ));
            },
            "vm_start_requested.vm",
        ),
    ];
    for (break_it, field) in refusals {
        let mut event = good();
        break_it(&mut event);
        assert_eq!(event_from_wire(event).unwrap_err().field, field);
    }
    // An index that the record does not have.
    let beyond = event_to_wire(&record, 1, &Projection::default());
    assert_eq!(event_from_wire(beyond).unwrap_err().field, "event");
}
