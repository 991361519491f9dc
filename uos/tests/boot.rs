//! Boots the guest for real, under QEMU without hardware virtualisation, and talks to it as a host would.
//!
//! Needs what `deploy/guest/build.sh` builds and qemu-system-x86_64; without them these tests fail.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, also in the functions that it shares"
)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use chv_uos::protocol::{FromGuest, PORT_NAME, Ready};
use tempfile::TempDir;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

const NO_NIC: &[&str] = &["-nic", "none"];
/// A network with QEMU's own DHCP server, which gives 10.0.2.15/24.
const USER_NIC: &[&str] = &["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net"];
/// A network with nobody in it.
const DEAD_NIC: &[&str] = &[
    "-netdev",
    "hubport,id=net,hubid=0",
    "-device",
    "virtio-net-pci,netdev=net",
];

/// A running guest. Dropped, it ends.
struct Guest {
    qemu: Child,
    dir: TempDir,
}

impl Guest {
    fn boot(kernel: &str, nic: &[&str], words: &str) -> Self {
        let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/guest");
        let file = |name: &str| {
            let path = built.join(name);
            assert!(
                path.exists(),
                "{} is missing; run deploy/guest/build.sh",
                path.display()
            );
            path
        };
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let qemu = Command::new("qemu-system-x86_64")
            .args([
                "-accel",
                "tcg",
                "-cpu",
                "max",
                "-m",
                "128M",
                "-M",
                "q35,sata=off,smbus=off,i8042=off",
            ])
            .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
            .arg("-kernel")
            .arg(file(kernel))
            .arg("-initrd")
            .arg(file("initramfs.cpio"))
            .args([
                "-append",
                &format!("console=ttyS0 quiet panic=-1 cryptomgr.notests noreplace-smp {words}"),
            ])
            .args(["-qmp", &format!("unix:{},server=on,wait=off", at("qmp"))])
            .args([
                "-chardev",
                &format!(
                    "socket,id=tty,path={},logfile={},server=on,wait=off",
                    at("tty"),
                    at("log")
                ),
            ])
            .args(["-serial", "chardev:tty"])
            .args(["-device", "virtio-serial-pci"])
            .args([
                "-chardev",
                &format!("socket,id=agent,path={},server=on,wait=off", at("agent")),
            ])
            .args([
                "-device",
                &format!("virtserialport,chardev=agent,name={PORT_NAME}"),
            ])
            .args(nic)
            .stdin(Stdio::null())
            .spawn()
            .expect("qemu-system-x86_64 is missing; install Debian's qemu-system-x86");
        Self { qemu, dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn connect(&self, name: &str) -> Link {
        let stream = until("QEMU listens", || UnixStream::connect(self.path(name)).ok());
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Link {
            lines: BufReader::new(stream.try_clone().unwrap()),
            stream,
        }
    }

    fn agent(&self) -> Link {
        self.connect("agent")
    }

    /// Waits until the console has shown these words.
    fn wait_for_console(&self, words: &str) {
        until(words, || self.console().contains(words).then_some(()));
    }

    fn console(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.path("log")).unwrap_or_default()).into_owned()
    }

    fn wait_for_end(&mut self) -> ExitStatus {
        until("the guest powers off", || self.qemu.try_wait().unwrap())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
        if std::thread::panicking() {
            eprintln!("the guest's console:\n{}", self.console());
        }
    }
}

/// One end of a socket that carries lines.
struct Link {
    stream: UnixStream,
    lines: BufReader<UnixStream>,
}

impl Link {
    fn say(&mut self, line: &str) {
        self.stream.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Reads on until a line has these words; the other end stalls if nobody reads.
    fn hear_until(&mut self, words: &str) {
        until(words, || self.hear().contains(words).then_some(()));
    }

    fn message(&mut self) -> FromGuest {
        self.hear().parse().unwrap()
    }

    fn ready(&mut self) -> Ready {
        match self.message() {
            FromGuest::Ready(ready) => ready,
            other => panic!("`{other}` is not ready"),
        }
    }
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            Instant::now() < deadline,
            "waited {} s in vain: {what}",
            PATIENCE.as_secs()
        );
        sleep(Duration::from_millis(10));
    }
}

fn addresses(ready: &Ready) -> Vec<String> {
    ready.addresses.iter().map(ToString::to_string).collect()
}

mod needs_guest {
    use super::*;

    #[test]
    fn given_a_nic_when_booted_then_it_has_an_address_by_dhcp_and_the_power_button_ends_it() {
        let mut guest = Guest::boot("vmlinux", USER_NIC, "");
        let ready = guest.agent().ready();
        assert_eq!(addresses(&ready), ["10.0.2.15/24"]);
        assert_eq!(ready.version, env!("CARGO_PKG_VERSION"));
        assert!(ready.uptime_ms > 0);
        guest.wait_for_console("chv-uos: ready uptime_ms=");
        guest.wait_for_console(&format!(" kernel={} address=10.0.2.15/24", ready.kernel));

        let mut qmp = guest.connect("qmp");
        assert!(qmp.hear().contains("QMP"));
        qmp.say(r#"{"execute":"qmp_capabilities"}"#);
        qmp.say(r#"{"execute":"system_powerdown"}"#);
        assert!(guest.wait_for_end().success());
        assert!(guest.console().contains("chv-uos: powering off (power button)"));
    }

    #[test]
    fn given_no_nic_when_asked_to_power_off_on_the_channel_then_it_says_bye_and_ends() {
        let mut guest = Guest::boot("vmlinux", NO_NIC, "");
        let mut agent = guest.agent();
        assert_eq!(addresses(&agent.ready()), [""; 0]);
        agent.say("dance");
        assert_eq!(
            agent.message(),
            FromGuest::Error("unknown message `dance`".into())
        );
        agent.say("poweroff");
        assert_eq!(agent.message(), FromGuest::Bye);
        assert!(guest.wait_for_end().success());
        assert!(guest.console().contains("chv-uos: powering off (the host asked)"));
    }

    #[test]
    fn given_a_static_address_when_a_host_comes_back_and_asks_then_the_guest_has_been_up_longer() {
        let guest = Guest::boot(
            "vmlinux",
            USER_NIC,
            "chv.net=static,addr=10.0.2.77/24,gw=10.0.2.2 chv.name=hello",
        );
        let agent = guest.agent();
        let mut first = agent;
        let before = first.ready();
        assert_eq!(addresses(&before), ["10.0.2.77/24"]);
        first.stream.shutdown(Shutdown::Both).unwrap();
        drop(first);

        let mut second = guest.agent();
        second.say("status");
        let after = second.ready();
        assert_eq!(addresses(&after), ["10.0.2.77/24"]);
        assert!(
            after.uptime_ms > before.uptime_ms,
            "{} is not after {}",
            after.uptime_ms,
            before.uptime_ms
        );
    }

    #[test]
    fn given_a_console_when_commands_are_typed_then_they_are_answered_and_poweroff_ends_the_guest() {
        let mut guest = Guest::boot("vmlinux", NO_NIC, "chv.nett=off chv.name=hello");
        guest.wait_for_console("chv-uos: ready ");
        assert!(guest.console().contains("chv-uos: chv.nett=off: unknown setting"));
        let mut tty = guest.connect("tty");
        for (typed, answer) in [
            ("help", "chv-uos: help, hostname, uptime, machine, echo"),
            ("hostname", "chv-uos: hello"),
            ("uptime", "chv-uos: up "),
            ("echo hello there", "chv-uos: hello there"),
            ("dance", "chv-uos: unknown command \"dance\""),
        ] {
            tty.say(typed);
            tty.hear_until(answer);
        }
        tty.say("poweroff");
        tty.hear_until("chv-uos: powering off (asked on the console)");
        assert!(guest.wait_for_end().success());
    }

    #[test]
    fn given_a_network_without_dhcp_when_booted_then_it_is_ready_without_an_address_after_a_while() {
        let guest = Guest::boot("vmlinux", DEAD_NIC, "");
        let ready = guest.agent().ready();
        assert_eq!(addresses(&ready), [""; 0]);
        assert!(
            ready.uptime_ms > 5_000,
            "ready after {} ms, before DHCP had its time",
            ready.uptime_ms
        );
        assert!(guest.console().contains("chv-uos: no address after 5 s"));
    }
}
