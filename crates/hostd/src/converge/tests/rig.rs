//! One host on this machine: real processes and locks, a hypervisor that fails on request, and a leader that
//! accepts whatever it is told.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chv_domain::{
    Capacity, Command as DomainCommand, CommandId, DesiredVm, Epoch, HostFacts, HostId, HypervisorFacts,
    HypervisorKind, Observation, Power, Run, Seq, Submission, VmId,
};
use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::{FdFlags, fcntl_setfd};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::converge::{Converge, Here, Hypervisors, Slots, Wish};
use crate::data_dir::DataDir;
use crate::files::Files;
use crate::hypervisor::{
    Binary, Changing, Exit, Hypervisor, HypervisorError, Instance, Machine, Operation, Payload, Process,
    Status,
};
use crate::leader::{Answer, Leader};
use crate::lease::Lease;
use crate::ledger::Ledger;
use crate::plan::Change;
use crate::report::Reporter;
use crate::stock;

pub(crate) const VM: VmId = VmId::from_bytes([1; 16]);
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How one launch goes, instead of well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    Fails,
    Hangs,
    /// Begins only when told to, by [`Fake::goes_on`].
    Stands,
}

/// A hypervisor whose machines are `cat`: they end in order when their input does.
#[derive(Debug)]
pub(crate) struct Fake {
    binary: Binary,
    pub(crate) troubles: Mutex<VecDeque<Trouble>>,
    pub(crate) deaf: Mutex<bool>,
    /// Why it holds its machines, while it does.
    pub(crate) held: Mutex<Option<String>>,
    /// Whether it answers no question.
    pub(crate) mute: Mutex<bool>,
    pub(crate) resumed: Mutex<u32>,
    /// Whether its machines are paused.
    pub(crate) paused: Mutex<bool>,
    pub(crate) resets: Mutex<u32>,
    /// What was made of a guest while it ran.
    pub(crate) changes: Mutex<Vec<Change>>,
    /// Whether a reset is done, and never returns.
    pub(crate) reset_hangs: Mutex<bool>,
    /// Kills that fail.
    pub(crate) unkillable: Mutex<u32>,
    pub(crate) launches: Mutex<u32>,
    /// The VMs whose launch has begun, in that order.
    pub(crate) begun: Mutex<Vec<VmId>>,
    pub(crate) goes_on: Semaphore,
    inputs: Mutex<BTreeMap<VmId, ChildStdin>>,
}

impl Fake {
    fn new() -> Self {
        Self {
            binary: Binary {
                path: "/bin/cat".into(),
                version: "1".to_owned(),
            },
            troubles: Mutex::default(),
            deaf: Mutex::default(),
            held: Mutex::default(),
            mute: Mutex::default(),
            resumed: Mutex::default(),
            paused: Mutex::default(),
            resets: Mutex::default(),
            changes: Mutex::default(),
            reset_hangs: Mutex::default(),
            unkillable: Mutex::default(),
            launches: Mutex::default(),
            begun: Mutex::default(),
            goes_on: Semaphore::new(0),
            inputs: Mutex::default(),
        }
    }

    fn spawn(&self, machine: &Machine) -> Instance {
        let kind = self.kind();
        #[expect(clippy::zombie_processes, reason = "the daemon under test waits for it")]
        let mut child = holder(machine.run_dir.path(), &format!("chv-{}-{kind}", machine.vm));
        self.inputs
            .lock()
            .unwrap()
            .insert(machine.vm, child.stdin.take().unwrap());
        let process = Process::of(child.id()).unwrap().unwrap();
        Instance {
            vm: machine.vm,
            kind,
            run_dir: machine.run_dir.clone(),
            process,
        }
    }
}

/// A process that holds a run directory, called `name`.
pub(crate) fn holder(dir: &Path, name: &str) -> Child {
    let lock = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(dir.join("lock"))
        .unwrap();
    let fd = lock.as_raw_fd();
    let own = dir.join("own");
    std::fs::create_dir_all(&own).unwrap();
    let mut command = Command::new("cat");
    command
        .arg0(name)
        .current_dir(own)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // SAFETY: system calls only; the descriptor is open until the process was started.
    unsafe {
        command.pre_exec(move || {
            let fd = BorrowedFd::borrow_raw(fd);
            fcntl_lock(fd, FlockOperation::NonBlockingLockExclusive)?;
            fcntl_setfd(fd, FdFlags::empty())?;
            Ok(())
        })
    };
    command.spawn().unwrap()
}

/// A process that holds the VM's directory and is no machine; ends when dropped.
pub(crate) struct Stranger(Child);

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[async_trait]
impl Hypervisor for Fake {
    fn kind(&self) -> HypervisorKind {
        HypervisorKind::QemuTcg
    }

    fn binary(&self) -> &Binary {
        &self.binary
    }

    async fn launch(&self, machine: &Machine) -> Result<Instance, HypervisorError> {
        let vm = machine.vm;
        let Payload::Kernel { kernel, .. } = &machine.files.payload else {
            panic!("no test boots firmware here");
        };
        std::fs::read(kernel).map_err(|source| HypervisorError::Unreadable {
            part: crate::hypervisor::Part::Kernel,
            path: kernel.clone(),
            source,
        })?;
        if let Some(running) = Instance::find(machine.run_dir.clone()).await.unwrap() {
            let run_dir = machine.run_dir.path().to_owned();
            return Err(HypervisorError::AlreadyRunning {
                vm,
                pid: running.process.pid,
                run_dir,
            });
        }
        *self.launches.lock().unwrap() += 1;
        self.begun.lock().unwrap().push(vm);
        let trouble = self.troubles.lock().unwrap().pop_front();
        match trouble {
            Some(Trouble::Fails) => Err(HypervisorError::Api {
                operation: Operation::Launch,
                vm,
                why: format!("no luck at try {}", self.launches.lock().unwrap()),
            }),
            Some(Trouble::Hangs) => std::future::pending().await,
            Some(Trouble::Stands) => {
                self.goes_on.acquire().await.unwrap().forget();
                Ok(self.spawn(machine))
            }
            None => Ok(self.spawn(machine)),
        }
    }

    async fn status(&self, _: &Instance) -> Status {
        if *self.mute.lock().unwrap() {
            return Status::Unknown("nothing for five seconds".to_owned());
        }
        match &*self.held.lock().unwrap() {
            Some(why) => Status::Stalled(why.clone()),
            None if *self.paused.lock().unwrap() => Status::Paused,
            None => Status::Running,
        }
    }

    async fn pause(&self, _: &Instance) -> Result<(), HypervisorError> {
        *self.paused.lock().unwrap() = true;
        Ok(())
    }

    async fn resume(&self, _: &Instance) -> Result<(), HypervisorError> {
        *self.resumed.lock().unwrap() += 1;
        *self.paused.lock().unwrap() = false;
        Ok(())
    }

    async fn change(&self, instance: &Instance, changing: &Changing<'_>) -> Result<(), HypervisorError> {
        if let Some(Trouble::Fails) = self.troubles.lock().unwrap().pop_front() {
            return Err(HypervisorError::Api {
                operation: Operation::Change,
                vm: instance.vm,
                why: "the guest does not do its part".to_owned(),
            });
        }
        self.changes.lock().unwrap().push(changing.change.clone());
        Ok(())
    }

    async fn reset(&self, _: &Instance) -> Result<(), HypervisorError> {
        *self.resets.lock().unwrap() += 1;
        if *self.reset_hangs.lock().unwrap() {
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn kill(&self, instance: &Instance) -> Result<Exit, HypervisorError> {
        let fails = {
            let mut left = self.unkillable.lock().unwrap();
            let fails = *left > 0;
            *left = left.saturating_sub(1);
            fails
        };
        if fails {
            return Err(HypervisorError::Api {
                operation: Operation::Kill,
                vm: instance.vm,
                why: "no luck".to_owned(),
            });
        }
        instance.process.kill().unwrap();
        Ok(instance.process.exited().await.unwrap())
    }

    async fn press_power_button(&self, instance: &Instance) -> Result<(), HypervisorError> {
        if !*self.deaf.lock().unwrap() {
            self.inputs.lock().unwrap().remove(&instance.vm);
        }
        Ok(())
    }
}

struct Listener {
    told: mpsc::UnboundedSender<(Epoch, Option<Seq>, Observation)>,
}

#[async_trait]
impl Leader for Listener {
    async fn send(&self, submission: &Submission) -> Answer {
        let DomainCommand::ReportVm {
            epoch, observation, ..
        } = &submission.command
        else {
            panic!("no report")
        };
        let _ = self.told.send((*epoch, submission.follows, observation.clone()));
        Answer::Accepted
    }

    fn new_id(&self) -> CommandId {
        CommandId::from_bytes([9; 16])
    }
}

/// A host, on which daemons can be started one after the other.
pub(crate) struct Rig {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) fake: Arc<Fake>,
}

/// A daemon's converging part.
pub(crate) struct Daemon {
    pub(crate) converge: Converge,
    pub(crate) here: Arc<Here>,
    told: mpsc::UnboundedReceiver<(Epoch, Option<Seq>, Observation)>,
    pub(crate) tasks: TaskTracker,
    stop: CancellationToken,
    _facts: watch::Sender<HostFacts>,
}

impl Rig {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("images")).unwrap();
        std::fs::write(dir.path().join("images/vmlinuz"), "a kernel").unwrap();
        Self {
            dir,
            fake: Arc::new(Fake::new()),
        }
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    /// A daemon whose leader accepts whatever it is told.
    pub(crate) async fn daemon(&self) -> Daemon {
        let (sender, told) = mpsc::unbounded_channel();
        let daemon = self.daemon_of(Arc::new(Listener { told: sender })).await;
        Daemon { told, ..daemon }
    }

    /// A daemon with this leader.
    pub(crate) async fn daemon_of(&self, leader: Arc<dyn Leader>) -> Daemon {
        let data = DataDir::open(&self.path("h1"), || HostId::from_bytes([2; 16])).unwrap();
        let lease = Arc::new(Lease::begin(data.lease(), None).unwrap());
        let (ledger, _) = Ledger::open(&data.ledger()).unwrap();
        let clock = Clock::new();
        let stock = stock::take(&data, &ledger, clock).await.unwrap();
        let (facts, facts_seen) = watch::channel(HostFacts {
            capacity: Capacity {
                vcpus: 8,
                memory_mib: 8192,
            },
            hypervisors: vec![HypervisorFacts {
                kind: HypervisorKind::QemuTcg,
                version: "1".to_owned(),
            }],
            daemon: "test".to_owned(),
            missing: Vec::new(),
        });
        let here = Arc::new(Here {
            data,
            ledger,
            files: Files::new(self.path("images"), vec![]),
            clock,
            lease,
            walls: crate::wall::Walls::none(),
            hypervisors: Hypervisors::from_iter([self.fake.clone() as Arc<dyn Hypervisor>]),
            facts: facts_seen,
            slots: Slots::new(2, || false),
        });
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let reporter = Reporter::new("h1".parse().unwrap(), leader, tasks.clone(), stop.clone());
        let converge = Converge::start(here.clone(), reporter, stock, tasks.clone(), stop.clone());
        Daemon {
            converge,
            here,
            told: mpsc::unbounded_channel().1,
            tasks,
            stop,
            _facts: facts,
        }
    }

    /// The process that runs the VM; `None` when nothing does.
    pub(crate) async fn process(&self) -> Option<Process> {
        let run_dir = crate::hypervisor::RunDir::new(self.path("h1/vms").join(VM.to_string())).unwrap();
        Instance::find(run_dir)
            .await
            .unwrap()
            .map(|instance| instance.process)
    }

    pub(crate) fn stranger(&self) -> Stranger {
        Stranger(holder(&self.path("h1/vms").join(VM.to_string()), "stranger"))
    }

    pub(crate) fn has_dir(&self) -> bool {
        Path::new(&self.path("h1/vms")).join(VM.to_string()).exists()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // Their machines end with their input.
        self.fake.inputs.lock().unwrap().clear();
    }
}

impl Daemon {
    /// What is told next.
    pub(crate) async fn told(&mut self) -> Observation {
        self.told_fully().await.2
    }

    /// What is told next, without how long it ran.
    pub(crate) async fn told_fully(&mut self) -> (Epoch, Option<Seq>, Observation) {
        let (epoch, follows, told) = self.told_exactly().await;
        let told = match told {
            Observation::Exited(reason, console, _) => Observation::Exited(reason, console, Run::default()),
            other => other,
        };
        (epoch, follows, told)
    }

    pub(crate) async fn told_exactly(&mut self) -> (Epoch, Option<Seq>, Observation) {
        tokio::time::timeout(PATIENCE, self.told.recv())
            .await
            .expect("nothing is told")
            .expect("the leader is there")
    }

    pub(crate) fn told_nothing_more(&mut self) -> bool {
        self.told.try_recv().is_err()
    }

    /// Wants the VM to be so, in the grant 5 and since the event `revision`.
    pub(crate) fn want(&self, power: Power, revision: u64) {
        self.converge
            .wish(Wish::Vm(Arc::new(desired(power, 5, revision))));
    }

    /// Ends as on SIGTERM.
    pub(crate) async fn end(self) {
        self.stop.cancel();
        self.tasks.close();
        tokio::time::timeout(PATIENCE, self.tasks.wait())
            .await
            .expect("a task does not end");
    }
}

pub(crate) fn desired(power: Power, epoch: u64, revision: u64) -> DesiredVm {
    let spec = r#"{"cpu":1,"memory":"64MiB","boot":{"kernel":"vmlinuz"},"stopTimeout":1}"#;
    DesiredVm {
        vm: VM,
        project: "default".parse().unwrap(),
        name: "web".parse().unwrap(),
        spec: serde_json::from_str(spec).unwrap(),
        power,
        epoch: Epoch(Seq(epoch)),
        revision: Seq(revision),
        changed: Seq::ZERO,
        trace: None,
    }
}

/// Waits until `condition` holds.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let holds = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, holds)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}
