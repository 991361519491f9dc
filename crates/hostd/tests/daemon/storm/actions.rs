//! What can happen to a host: what people order, what its daemon suffers, and what its hypervisors do.

use chv_domain::spec::StopTimeout;
use chv_domain::{Command, VmRef, VmSpec};
use proptest::prelude::*;

/// How many VMs there may be at once.
pub(super) const VMS: usize = 4;

/// How long a guest may take to power off when it is asked to.
const STOP_SECONDS: u32 = 2;

/// Something that happens.
#[derive(Debug, Clone)]
pub(super) enum Action {
    /// Somebody orders this of a VM. It may be refused.
    Order(usize, Order),
    /// The script of a VM's hypervisor is this from now on.
    Script(usize, Vec<&'static str>),
    /// The process of a VM is killed behind the daemon's back.
    KillGuest(usize),
    /// The daemon is killed, and started again.
    KillDaemon,
    /// The daemon is ended in order, and started again.
    EndDaemon,
    /// What the daemon should hear of changes is lost, or is not any more.
    LoseFeed(bool),
    /// So many milliseconds pass.
    Pass(u64),
}

/// What is ordered.
#[derive(Debug, Clone, Copy)]
pub(super) enum Order {
    Create { start: bool },
    Start,
    Stop,
    Kill,
    Pause,
    Resume,
    Reboot,
    Reset,
    Delete,
}

impl Order {
    /// The command that orders it of the VM with this number.
    pub(super) fn command(self, number: usize) -> Command {
        let vm = named(number);
        let timeout = Some(StopTimeout::try_from(STOP_SECONDS).unwrap());
        match self {
            Self::Create { start } => create(number, start),
            Self::Start => Command::StartVm { vm },
            Self::Stop => Command::StopVm { vm, timeout },
            Self::Kill => Command::KillVm { vm },
            Self::Pause => Command::PauseVm { vm },
            Self::Resume => Command::ResumeVm { vm },
            Self::Reboot => Command::RebootVm { vm, timeout },
            Self::Reset => Command::ResetVm { vm },
            Self::Delete => Command::DeleteVm {
                vm,
                force: true,
                keep: None,
            },
        }
    }
}

fn named(number: usize) -> VmRef {
    VmRef::Name("default".parse().unwrap(), name(number).parse().unwrap())
}

/// The name of the VM with this number, and of the directory with its script.
pub(super) fn name(number: usize) -> String {
    format!("vm{number}")
}

fn create(number: usize, start: bool) -> Command {
    let spec: VmSpec = serde_json::from_value(serde_json::json!({
        "cpu": 1,
        "memory": "32MiB",
        "boot": {"kernel": format!("{}/kernel", name(number)), "initramfs": "uos/initramfs.cpio"},
    }))
    .unwrap();
    Command::CreateVm {
        project: "default".parse().unwrap(),
        name: name(number).parse().unwrap(),
        labels: Default::default(),
        annotations: Default::default(),
        protected: false,
        spec: spec.into(),
        start,
    }
}

/// Any of it.
pub(super) fn any() -> impl Strategy<Value = Action> {
    let vm = 0..VMS;
    prop_oneof![
        14 => (vm.clone(), order()).prop_map(|(vm, order)| Action::Order(vm, order)),
        4 => (vm.clone(), proptest::collection::vec(line(), 0..3)).prop_map(|(vm, lines)| Action::Script(vm, lines)),
        2 => vm.prop_map(Action::KillGuest),
        2 => Just(Action::KillDaemon),
        1 => Just(Action::EndDaemon),
        1 => any_bool().prop_map(Action::LoseFeed),
        8 => (0_u64..150).prop_map(Action::Pass),
    ]
}

fn any_bool() -> impl Strategy<Value = bool> {
    proptest::bool::ANY
}

fn order() -> impl Strategy<Value = Order> {
    prop_oneof![
        4 => any_bool().prop_map(|start| Order::Create { start }),
        3 => Just(Order::Start),
        2 => Just(Order::Stop),
        1 => Just(Order::Kill),
        2 => Just(Order::Pause),
        2 => Just(Order::Resume),
        2 => Just(Order::Reboot),
        2 => Just(Order::Reset),
        1 => Just(Order::Delete),
    ]
}

/// A line of a script.
fn line() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "die start",
        "die greeting",
        "half greeting",
        "hang greeting",
        "die status",
        "half status",
        "refuse status",
        "hang status",
        "state nonsense",
        "state prelaunch",
        "state internal-error",
        "die pause",
        "lost pause",
        "refuse pause",
        "die resume",
        "half resume",
        "lost resume",
        "die reset",
        "half reset",
        "lost reset",
        "hang reset",
        "die power-button",
        "refuse power-button",
        "lost power-button",
        "deaf",
        "mute",
        "boot-ms 300",
    ])
}
