//! Real programs behind real walls. Only root can build one: elsewhere these are skipped by their names.

use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::{Duration, Instant};

use super::*;
use crate::hypervisor::Process;

const USER: u32 = 0x7000_0007;
const VM: VmId = VmId::from_bytes([9; 16]);

struct Scene {
    dir: tempfile::TempDir,
    order: Order,
    _lock: std::fs::File,
}

/// An order to run `script` behind a wall, where it finds a file `secret` of root's next to the directory of its own.
fn scene(script: &str, shown: Vec<Shown>) -> Scene {
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join("own");
    std::fs::create_dir(&own).unwrap();
    std::os::unix::fs::chown(&own, Some(USER), Some(USER)).unwrap();
    std::fs::set_permissions(&own, PermissionsExt::from_mode(0o700)).unwrap();
    let program = dir.path().join("program");
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::write(dir.path().join("secret"), "s").unwrap();
    let lock = std::fs::File::create(dir.path().join("lock")).unwrap();
    let order = Order {
        cell: Some(cell(USER, &program, shown, HypervisorKind::QemuTcg, Network::Own, &[]).unwrap()),
        program,
        arg0: "behind".to_owned(),
        args: Vec::new(),
        own,
        lock: lock.as_raw_fd(),
        open: Vec::new(),
        serial: None,
        end: dir.path().join("end"),
        cgroup: None,
        keepers: None,
    };
    Scene {
        dir,
        order,
        _lock: lock,
    }
}

/// Runs the scene's program to its end: how it ended and what it wrote.
fn run(scene: &Scene) -> (Exit, String) {
    let log = scene.dir.path().join("log");
    let process = start(VM, scene.order.clone(), std::fs::File::create(&log).unwrap()).unwrap();
    let until = Instant::now() + Duration::from_secs(30);
    while Instant::now() < until {
        if let Some((ended, exit)) = read_end(&scene.order.end) {
            assert_eq!(ended, process);
            return (exit, std::fs::read_to_string(log).unwrap());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    process.kill().unwrap();
    panic!("not ended");
}

/// What the launcher of these tests is started as.
#[test]
#[ignore = "is no test: it is started by tests"]
fn launcher() {
    if launcher::main() == std::process::ExitCode::SUCCESS {
        std::process::exit(0);
    }
    std::process::exit(1);
}

#[test]
fn needs_root_given_a_wall_then_the_program_finds_its_own_and_nothing_else() {
    let script = "id -u; id -g; id -G; hostname 2>/dev/null || cat /proc/sys/kernel/hostname; echo x > mine; \
                  for path in ../secret /root /home /proc/self /sys/fs /etc/passwd /dev/sda /tmp/other; do \
                  test -e $path && echo finds $path; done; echo x > /new && echo writes /new; \
                  echo x > ../new && echo writes ../new; ls /dev; exit 7";
    let scene = scene(script, Vec::new());
    let (exit, said) = run(&scene);
    assert_eq!(exit, Exit::Code(7), "{said}");
    assert!(said.starts_with(&format!("{USER}\n{USER}\n{USER}\n")), "{said}");
    assert!(!said.contains("finds ") && !said.contains("writes "), "{said}");
    assert!(said.ends_with("null\nrandom\nurandom\nzero\n"), "{said}");
    let mine = std::fs::metadata(scene.order.own.join("mine")).unwrap();
    assert_eq!(mine.uid(), USER);
}

#[test]
fn needs_root_given_files_of_roots_then_each_is_read_or_written_as_it_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, name).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        path
    };
    let (read, write, hidden) = (file("read"), file("write"), file("hidden"));
    let (read_in, write_in) = (read.display(), write.display());
    let script = format!(
        "cat {read_in}; echo no > {read_in} && echo wrote read; echo new > {write_in}; \
         cat {} && echo found; ls -ln {read_in} | cut -d' ' -f3",
        hidden.display()
    );
    let shown = vec![Shown::data(&read, false), Shown::data(&write, true)];
    let (exit, said) = run(&scene(&script, shown));
    assert_eq!(exit, Exit::Code(0), "{said}");
    assert!(
        said.starts_with("read") && !said.contains("wrote read") && !said.contains("found"),
        "{said}"
    );
    assert_eq!(std::fs::read_to_string(&write).unwrap(), "new\n");
    // and on the disk they are root's as before.
    assert_eq!(std::fs::metadata(&write).unwrap().uid(), 0);
}

#[test]
fn needs_root_given_a_program_that_is_not_there_or_can_not_start_then_the_reason_is_told() {
    let mut scene = scene("exit 0", Vec::new());
    scene.order.program = "/none/such".into();
    let log = || std::fs::File::create(scene.dir.path().join("log")).unwrap();
    let error = start(VM, scene.order.clone(), log()).unwrap_err().to_string();
    assert!(
        error.contains("/none/such") && error.contains("No such file"),
        "{error}"
    );
    assert!(!scene.order.own.join("mine").exists());
    scene.order.cgroup = Some("/none/cgroup".into());
    let error = start(VM, scene.order.clone(), log()).unwrap_err().to_string();
    assert!(error.contains("/none/cgroup"), "{error}");
}

#[test]
fn needs_root_given_a_tap_device_then_the_program_opens_it_without_a_capability() {
    // SAFETY: this test is a process of its own, and its network is none that anybody else uses.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }.unwrap();
    for queues in [&[][..], &["multi_queue"]] {
        let name = format!("tap{}", queues.len());
        let ip = |args: &[&str]| std::process::Command::new("ip").args(args).output().unwrap();
        let made = ip(&[&["tuntap", "add", "dev", &name, "mode", "tap"], queues].concat());
        assert!(made.status.success(), "{made:?}");
        let mut scene = scene("test -w /dev/net/tun && exit 7", Vec::new());
        let cell = scene.order.cell.as_mut().unwrap();
        cell.network = Network::Host(vec![name.clone()]);
        cell.devices.push("/dev/net/tun".into());
        assert_eq!(run(&scene).0, Exit::Code(7));
        let shown = String::from_utf8(ip(&["-details", "link", "show", "dev", &name]).stdout).unwrap();
        assert!(shown.contains(&format!("user {USER} ")), "{shown}");
    }
    let mut scene = scene("exit 0", Vec::new());
    scene.order.cell.as_mut().unwrap().network = Network::Host(vec!["x".repeat(16)]);
    let log = std::fs::File::create(scene.dir.path().join("log")).unwrap();
    let error = start(VM, scene.order.clone(), log).unwrap_err().to_string();
    assert!(error.contains("TAP device xxx"), "{error}");
}

/// The next daemon may have looked whether the VM runs before this one's launcher came so far as to hold the lock.
#[test]
fn needs_root_given_a_daemon_that_ends_while_it_launches_then_no_program_is_started() {
    let scene = scene("echo started", Vec::new());
    let mut launcher = std::process::Command::new(start::PROGRAM);
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    launcher
        .args(start::ARGS)
        .stdin(std::os::fd::OwnedFd::from(theirs))
        .stdout(std::process::Stdio::piped());
    let log = scene.dir.path().join("log");
    launcher.stderr(std::fs::File::create(&log).unwrap());
    let mut launcher = launcher.spawn().unwrap();
    // What a program of tests says before it begins one.
    let mut said = launcher.stdout.take().unwrap();
    let mut begins = Vec::new();
    while !begins.ends_with(b"running 1 test\n") {
        let mut byte = [0];
        said.read_exact(&mut byte).unwrap();
        begins.extend(byte);
    }
    drop(said);
    let task = serde_json::to_vec(&order::Task::Launch(Box::new(scene.order.clone()))).unwrap();
    start::hand_over(ours, &task, &scene.order.descriptors()).unwrap();
    launcher.wait().unwrap();
    let until = Instant::now() + Duration::from_secs(30);
    while read_end(&scene.order.end).is_none() {
        assert!(Instant::now() < until, "no end is noted");
        std::thread::sleep(Duration::from_millis(1));
    }
    let (process, exit): (Process, Exit) = read_end(&scene.order.end).unwrap();
    assert_eq!(
        (exit, std::fs::read_to_string(log).unwrap().as_str()),
        (Exit::Code(1), "")
    );
    assert!(process.has_ended().unwrap().is_some());
}

#[test]
fn needs_root_given_a_file_that_comes_later_when_it_is_shown_then_it_is_found_until_it_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("deep/later");
    std::fs::create_dir(dir.path().join("deep")).unwrap();
    std::fs::write(&file, "later").unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    // Waits for each word in its own directory, and says what it finds then.
    let path = file.display();
    let script = format!(
        "for word in one two three; do while ! test -e $word; do sleep 0.01; done; \
         cat {path} 2>/dev/null && echo; echo x > {path} && echo wrote; echo x 2>/dev/null > /new && echo broke; \
         echo $word > said-$word; done"
    );
    let scene = scene(&script, Vec::new());
    let log = scene.dir.path().join("log");
    let process = start(VM, scene.order.clone(), std::fs::File::create(&log).unwrap()).unwrap();
    let wait = |word: &str| {
        std::fs::write(scene.order.own.join(word), "").unwrap();
        let until = Instant::now() + Duration::from_secs(30);
        while !scene.order.own.join(format!("said-{word}")).exists() {
            assert!(
                Instant::now() < until,
                "{}",
                std::fs::read_to_string(&log).unwrap()
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    let showing = |there| Showing {
        process,
        user: USER,
        file: Shown::data(&file, false),
        there,
    };
    // When it is shown twice, then it is there, to be read alone; when it is hidden, it is gone.
    wait("one");
    show(showing(true)).unwrap();
    show(showing(true)).unwrap();
    wait("two");
    show(showing(false)).unwrap();
    wait("three");
    let said = std::fs::read_to_string(&log).unwrap();
    assert_eq!(said.lines().filter(|line| *line == "later").count(), 1, "{said}");
    assert!(!said.contains("wrote") && !said.contains("broke"), "{said}");
    // And a process that is gone is told as that.
    let until = Instant::now() + Duration::from_secs(30);
    while read_end(&scene.order.end).is_none() {
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(1));
    }
    let error = show(showing(true)).unwrap_err().to_string();
    assert!(error.contains("its process"), "{error}");
}
