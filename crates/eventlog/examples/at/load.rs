//! A realistic past: VMs are created, started, stopped and deleted, and their hosts report what became of that. Decided
//! by the domain, so that every event is one that a cluster could have; the same for the same number of events.

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::Arc;

use std::collections::BTreeMap;

use chv_domain::spec::{Boot, Cmdline, CpuSpec, HostPath, MemorySpec};
use chv_domain::*;

const HOSTS: u64 = 200;
/// How many VMs there are once it has run for a while.
const VMS: usize = 20_000;
/// From one command to the next, by their times: a million events are about two hours.
const MILLIS: u64 = 10;

/// Decides the commands of the load, one batch after the other.
pub(crate) struct Load {
    term: Term,
    alive: BTreeSet<HostId>,
    replicas: Replicas,
    vms: Vec<VmId>,
    commands: u64,
    random: u64,
    created: u64,
}

impl Load {
    pub(crate) fn new(term: Term, replica: ReplicaId) -> Self {
        Self {
            term,
            alive: (1..=HOSTS).map(host_id).collect(),
            replicas: Replicas::alone(replica),
            vms: Vec::new(),
            commands: 0,
            random: 0x9e37_79b9_7f4a_7c15,
            created: 0,
        }
    }

    /// The next commands, decided on `state`.
    pub(crate) fn batch(&mut self, state: &Projection, commands: u64) -> Result<Batch, Box<dyn Error>> {
        let mut state = state.clone();
        let mut records = Vec::new();
        for _ in 0..commands {
            let (actor, command) = self.command(&state)?;
            self.commands += 1;
            let now = Timestamp::from_millis(self.commands * MILLIS);
            let id = (u128::from(now.as_millis()) << 80) | u128::from(self.commands);
            let submission = Submission::new(CommandId::from_bytes(id.to_be_bytes()), actor, command);
            let context = Context {
                now,
                term: self.term,
                alive: &self.alive,
                replicas: &self.replicas,
            };
            let decided = decide_onto(&mut state, &submission, context)
                .map_err(|rejection| format!("{:?}: {}", submission.command, rejection.message))?;
            if let Decided::Record(record) = decided {
                if let Event::VmCreated { vm, .. } = &record.events[0] {
                    self.vms.push(*vm);
                }
                records.push(record);
            }
        }
        Ok(Batch {
            published: Seq::ZERO,
            records,
        })
    }

    fn command(&mut self, state: &Projection) -> Result<(Actor, Command), Box<dyn Error>> {
        if self.commands < HOSTS {
            return register(self.commands + 1);
        }
        let number = self.random();
        // First many are created, then as many as are deleted.
        let create = match self.vms.len() {
            count if count < VMS => number.is_multiple_of(3),
            _ => false,
        };
        if create || self.vms.is_empty() {
            self.created += 1;
            return Ok(("alice".parse()?, vm(self.created)?));
        }
        let at = (self.random() % self.vms.len() as u64) as usize;
        let id = self.vms[at];
        let Some(vm) = state.vm(id) else {
            // It was removed meanwhile.
            self.vms.swap_remove(at);
            return self.command(state);
        };
        let by_id = VmRef::Id(id);
        let report = |observation| -> Result<(Actor, Command), Box<dyn Error>> {
            let placement = vm.placement.ok_or("a VM without a host")?;
            let host = state.host(placement.host).ok_or("no host")?;
            let command = Command::ReportVm {
                vm: id,
                epoch: placement.epoch,
                observation,
            };
            Ok((Actor::Host(host.name.clone()), command))
        };
        match (vm.power, vm.is_running()) {
            (Power::Running, false) => report(Observation::Started {
                hypervisor: HypervisorKind::QemuKvm,
                pid: 42,
                took_us: 900_000,
            }),
            (Power::Stopped(_), true) => report(Observation::Exited(
                ExitReason::PoweredOff,
                String::new(),
                Run::default(),
            )),
            (Power::Deleted, true) => report(Observation::Exited(
                ExitReason::Killed,
                String::new(),
                Run::default(),
            )),
            (Power::Deleted, false) => report(Observation::Removed),
            (Power::Running, true) if number.is_multiple_of(7) && self.vms.len() >= VMS * 9 / 10 => Ok((
                "bob".parse()?,
                Command::DeleteVm {
                    vm: by_id,
                    force: true,
                    keep: None,
                },
            )),
            (Power::Running, true) => Ok((
                "alice".parse()?,
                Command::StopVm {
                    vm: by_id,
                    timeout: None,
                },
            )),
            (Power::Stopped(_), false) => Ok(("alice".parse()?, Command::StartVm { vm: by_id })),
            (Power::Paused | Power::Rebooting(_), _) => Err("nobody asked for that".into()),
        }
    }

    /// Xorshift: the same every time.
    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

fn host_id(number: u64) -> HostId {
    HostId::from_bytes(u128::from(number).to_be_bytes())
}

fn register(number: u64) -> Result<(Actor, Command), Box<dyn Error>> {
    let capacity = Capacity {
        vcpus: 1 << 16,
        memory_mib: 1 << 26,
    };
    let hypervisors = vec![HypervisorFacts {
        kind: HypervisorKind::QemuKvm,
        version: "10.0.3".to_owned(),
    }];
    let facts = HostFacts {
        capacity,
        hypervisors,
        daemon: "chv-hostd 0.1.0".to_owned(),
        missing: Vec::new(),
    };
    let actor = Actor::Host(format!("host-{number}").parse()?);
    Ok((
        actor,
        Command::RegisterHost {
            host: host_id(number),
            facts,
        },
    ))
}

fn vm(number: u64) -> Result<Command, Box<dyn Error>> {
    let path = |text: &str| HostPath::try_from(text.to_owned());
    Ok(Command::CreateVm {
        project: format!("project-{}", number % 20).parse()?,
        name: format!("web-{number}").parse()?,
        labels: [
            ("tier".to_owned(), "front".to_owned()),
            ("owner".to_owned(), "shop".to_owned()),
        ]
        .into(),
        annotations: BTreeMap::new(),
        protected: false,
        spec: Arc::new(VmSpec::new(
            CpuSpec::of(Vcpus::new(2)?),
            MemorySpec::of(Memory::from_mib(2048)?),
            Boot {
                initramfs: Some(path("debian/initrd.img")?),
                cmdline: Cmdline::try_from("root=/dev/vda1 quiet".to_owned())?,
                ..Boot::kernel(path("debian/vmlinuz")?)
            },
        )),
        start: true,
    })
}
