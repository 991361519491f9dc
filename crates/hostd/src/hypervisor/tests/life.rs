//! What every driver must do with a machine, from its launch to its end; the fake hypervisor must do the same.

use std::path::PathBuf;
use std::time::Duration;

use super::{Leash, On, ready, soon};
use crate::hypervisor::{
    AgentChannel, ConsolePump, Exit, FromGuest, HypervisorError, Instance, Operation, Part, Payload, Remedy,
    Status, ToGuest,
};

/// Launch, running, ready, power button, gone.
pub(super) async fn lives_and_stops(on: &On) {
    let hypervisor = on.hypervisor();
    let dir = tempfile::tempdir().unwrap();
    let machine = on.machine(dir.path());

    let instance = hypervisor.launch(&machine).await.unwrap();
    let _leash = Leash(instance.clone());
    assert_eq!(hypervisor.status(&instance).await, Status::Running);
    let mut channel = AgentChannel::open(&instance).await.unwrap();
    let (pump, input) = ConsolePump::open(&instance).await.unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let pump = tokio::spawn(pump.run(stop.clone()));
    ready(&mut channel).await;

    input
        .send(bytes::Bytes::from_static(b"echo typed by a person\n"))
        .await
        .unwrap();
    soon("an answer on the console", async {
        let log = || std::fs::read_to_string(instance.run_dir.console_log()).unwrap_or_default();
        while !log().contains("chv-uos: typed by a person") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;

    soon("gone after the power button", async {
        hypervisor.press_power_button(&instance).await.unwrap();
        assert_eq!(hypervisor.exited(&instance).await.unwrap(), Exit::Code(0));
    })
    .await;
    assert!(matches!(hypervisor.status(&instance).await, Status::Gone(_)));
    soon("no more words", async { while channel.next().await.is_ok() {} }).await;
    soon("the console's end", pump).await.unwrap().ok();
    let console = std::fs::read_to_string(instance.run_dir.console_log()).unwrap();
    assert!(console.contains("chv-uos: ready"), "{console}");
    assert_eq!(Instance::find(instance.run_dir).await.unwrap(), None);
}

/// What a restarted daemon finds, and how it goes on with it.
pub(super) async fn is_adopted_and_killed(on: &On) {
    let hypervisor = on.hypervisor();
    let dir = tempfile::tempdir().unwrap();
    let machine = on.machine(dir.path());
    let instance = hypervisor.launch(&machine).await.unwrap();
    let _leash = Leash(instance.clone());
    let mut channel = AgentChannel::open(&instance).await.unwrap();
    ready(&mut channel).await;
    drop(channel);

    let found = Instance::find(machine.run_dir.clone()).await.unwrap().unwrap();
    assert_eq!(found, instance);
    assert_eq!(hypervisor.status(&found).await, Status::Running);
    let mut channel = AgentChannel::open(&found).await.unwrap();
    ready(&mut channel).await;

    let again = hypervisor.launch(&machine).await.unwrap_err();
    assert!(
        matches!(again, HypervisorError::AlreadyRunning { pid, .. } if pid == instance.process.pid),
        "{again}"
    );
    assert_eq!(
        hypervisor.status(&found).await,
        Status::Running,
        "the refused launch harmed it"
    );

    assert_eq!(hypervisor.kill(&found).await.unwrap(), Exit::Signal(9));
    assert_eq!(hypervisor.kill(&found).await.unwrap(), Exit::Signal(9));
    assert_eq!(Instance::find(machine.run_dir.clone()).await.unwrap(), None);
    soon("the channel's end", async {
        while channel.next().await.is_ok() {}
    })
    .await;
    assert!(matches!(
        hypervisor.press_power_button(&found).await.unwrap_err(),
        HypervisorError::Exited {
            operation: Operation::PowerButton,
            ..
        }
    ));

    // What the killed one left behind is in nobody's way.
    let second = hypervisor.launch(&machine).await.unwrap();
    hypervisor.kill(&second).await.unwrap();
}

/// The agent's way to power off, after the daemon that heard `ready` has ended.
pub(super) async fn powers_off_when_the_agent_is_asked(on: &On) {
    let hypervisor = on.hypervisor();
    let dir = tempfile::tempdir().unwrap();
    let instance = hypervisor.launch(&on.machine(dir.path())).await.unwrap();
    let _leash = Leash(instance.clone());
    let mut channel = AgentChannel::open(&instance).await.unwrap();
    ready(&mut channel).await;
    drop(channel);
    let mut channel = AgentChannel::open(&instance).await.unwrap();
    channel.send(ToGuest::PowerOff).await.unwrap();
    soon("bye", async {
        while channel.next().await.unwrap() != FromGuest::Bye {}
    })
    .await;
    assert_eq!(
        soon("gone", hypervisor.exited(&instance)).await.unwrap(),
        Exit::Code(0)
    );
}

/// Files that the host can't read, and files that are no kernel.
pub(super) async fn refuses_what_can_not_boot(on: &On) {
    let hypervisor = on.hypervisor();
    let dir = tempfile::tempdir().unwrap();
    let mut machine = on.machine(dir.path());
    let kernel = dir.path().join("absent");
    machine.files.payload = Payload::Kernel {
        kernel: kernel.clone(),
        initramfs: None,
    };
    let error = hypervisor.launch(&machine).await.unwrap_err();
    assert!(
        matches!(&error, HypervisorError::Unreadable { part: Part::Kernel, path, .. } if *path == kernel)
    );
    assert_eq!(error.remedy(), Remedy::WaitForHost);
    assert!(
        !machine.run_dir.path().exists(),
        "something was made for a machine that can't boot"
    );

    std::fs::write(&kernel, "no kernel").unwrap();
    let error = hypervisor.launch(&machine).await.unwrap_err();
    assert!(
        matches!(
            &error,
            HypervisorError::Exited { .. } | HypervisorError::Api { .. }
        ),
        "{error}: a file that is no kernel was booted"
    );
    assert_eq!(error.remedy(), Remedy::Retry);
    assert_eq!(Instance::find(machine.run_dir.clone()).await.unwrap(), None);
}

/// A launch that is given up leaves nothing running.
pub(super) async fn a_dropped_launch_leaves_no_process(on: &On) {
    let hypervisor = on.hypervisor();
    let dir = tempfile::tempdir().unwrap();
    let machine = on.never_running(dir.path());
    let find = || async { Instance::find(machine.run_dir.clone()).await.unwrap() };
    let started = async {
        loop {
            if let Some(instance) = find().await {
                return instance;
            }
        }
    };
    let instance = tokio::select! {
        biased;
        instance = started => instance,
        launched = hypervisor.launch(&machine) => panic!("launched before it could be dropped: {launched:?}"),
    };
    soon("gone", instance.process.ended()).await.unwrap();
    assert_eq!(find().await, None);
}

/// The process is cut loose from its daemon.
pub(super) async fn is_independent_of_the_daemon(on: &On) {
    let hypervisor = on.hypervisor();
    let dir = tempfile::tempdir().unwrap();
    let leaked = dir.path().join("leaked");
    // A file that this process inherited open, as from a shell or from make.
    let file = std::fs::File::create(&leaked).unwrap();
    rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).unwrap();
    let instance = hypervisor.launch(&on.machine(dir.path())).await.unwrap();
    let _leash = Leash(instance.clone());
    let pid = instance.process.pid;

    let session = rustix::process::getsid(rustix::process::Pid::from_raw(pid.cast_signed())).unwrap();
    assert_eq!(session.as_raw_nonzero().get().unsigned_abs(), pid);
    let open: Vec<PathBuf> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .collect();
    assert!(open.contains(&instance.run_dir.hypervisor_log()), "{open:?}");
    assert!(!open.contains(&leaked), "{open:?}");
    assert!(std::fs::read(format!("/proc/{pid}/environ")).unwrap().is_empty());
    let words = instance.process.command_line().unwrap().join(" ");
    assert!(words.contains(&instance.vm.to_string()), "{words}");
    hypervisor.kill(&instance).await.unwrap();
}
