//! The channel to the host: finds it, says `ready` on it, and takes requests from it. Prefers the virtio-serial
//! port, takes vsock when there is none, and does without when there is neither.

use std::fs::{self, File, OpenOptions};
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, FromRawFd, IntoRawFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, VsockAddr, connect, socket};

use crate::cidr::Cidr;
use crate::event::{Event, Why, tell};
use crate::init::kernel_release;
use crate::lines::{Line, Lines};
use crate::protocol::{FromGuest, MAX_LINE, PORT_NAME, READY, Ready, Request, VSOCK_PORT};
use crate::uptime::{boot_id, uptime_ms};

const PORTS: &str = "/sys/class/virtio-ports";
const DEVICES: &str = "/sys/bus/virtio/devices";
/// Ids of virtio devices, as the specification numbers them.
const CONSOLE_DEVICE: u32 = 3;
const VSOCK_DEVICE: u32 = 19;
/// The host tells a port's name after its device is there; this is how long that may take.
const PORT_WAIT: Duration = Duration::from_secs(2);
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MOST: Duration = Duration::from_secs(2);

/// The guest's addresses, and a way to wake the channel when they change.
#[derive(Debug, Clone)]
pub(crate) struct Addresses(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    now: Mutex<Vec<Cidr>>,
    wake: Option<(PipeReader, PipeWriter)>,
}

impl Addresses {
    pub(crate) fn new() -> Self {
        // Without a pipe the host learns of a change when it opens the channel the next time.
        Self(Arc::new(Shared {
            now: Mutex::default(),
            wake: io::pipe().ok(),
        }))
    }

    pub(crate) fn get(&self) -> Vec<Cidr> {
        self.0.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set(&self, address: Option<Cidr>) {
        *self.0.now.lock().unwrap_or_else(PoisonError::into_inner) = address.into_iter().collect();
        if let Some((_, writer)) = &self.0.wake {
            // Should it fail, the host learns of the change when it opens the channel the next time.
            let _ = (&mut &*writer).write(&[0]);
        }
    }

    /// For a caller that reads the addresses next: what woke it until now is in them.
    fn forget_wakes(&self) -> io::Result<()> {
        let Some((reader, _)) = &self.0.wake else {
            return Ok(());
        };
        let mut pending = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
        if poll(&mut pending, PollTimeout::ZERO)? > 0 {
            let _ = (&mut &*reader).read(&mut [0; 64])?;
        }
        Ok(())
    }
}

enum Link {
    Port(PathBuf),
    Vsock,
}

/// Serves the channel for as long as the guest runs; returns at once if it has none.
pub(crate) fn serve(addresses: &Addresses, events: &SyncSender<Event>) {
    match find() {
        Some(Link::Port(path)) => match OpenOptions::new().read(true).write(true).open(&path) {
            // The port stays open: a write on it waits until a host opens the other end.
            Ok(port) => retry(|| talk(&port, addresses, events)),
            Err(error) => say!("can't open {}: {error}", path.display()),
        },
        Some(Link::Vsock) => retry(|| talk(&dial()?, addresses, events)),
        None => say!("no channel to the host: neither a virtio-serial port {PORT_NAME} nor vsock"),
    }
}

/// Does it over and over; what fails is tried again, later each time.
fn retry(mut session: impl FnMut() -> io::Result<()>) {
    let mut pause = RETRY_FIRST;
    loop {
        let started = Instant::now();
        if session().is_ok() || started.elapsed() > RETRY_MOST {
            pause = RETRY_FIRST;
        }
        sleep(pause);
        pause = (pause * 2).min(RETRY_MOST);
    }
}

fn find() -> Option<Link> {
    let deadline = Instant::now() + PORT_WAIT;
    let has_console = has_device(CONSOLE_DEVICE);
    loop {
        if let Some(path) = port(Path::new(PORTS)) {
            return Some(Link::Port(path));
        }
        if !has_console || Instant::now() > deadline {
            return has_device(VSOCK_DEVICE).then_some(Link::Vsock);
        }
        sleep(Duration::from_millis(5));
    }
}

/// The device of the port with our name.
fn port(ports: &Path) -> Option<PathBuf> {
    fs::read_dir(ports).ok()?.flatten().find_map(|entry| {
        let name = fs::read_to_string(entry.path().join("name")).ok()?;
        (name.trim() == PORT_NAME).then(|| Path::new("/dev").join(entry.file_name()))
    })
}

fn has_device(id: u32) -> bool {
    let Ok(entries) = fs::read_dir(DEVICES) else {
        return false;
    };
    entries.flatten().any(|entry| {
        fs::read_to_string(entry.path().join("device"))
            .ok()
            .and_then(|text| u32::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok())
            .is_some_and(|found| found == id)
    })
}

fn dial() -> io::Result<File> {
    let socket = socket(
        AddressFamily::Vsock,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    connect(
        std::os::fd::AsRawFd::as_raw_fd(&socket),
        &VsockAddr::new(libc::VMADDR_CID_HOST, VSOCK_PORT),
    )?;
    // SAFETY: the descriptor is open, and `into_raw_fd` made this its only owner.
    Ok(unsafe { File::from_raw_fd(socket.into_raw_fd()) })
}

/// One host's visit: `ready`, then requests until it goes.
fn talk(channel: &File, addresses: &Addresses, events: &SyncSender<Event>) -> io::Result<()> {
    greet(channel, addresses)?;
    let mut lines = Lines::new(MAX_LINE);
    let mut bytes = [0; 512];
    loop {
        if wait(channel, addresses)? {
            greet(channel, addresses)?;
            continue;
        }
        let count = (&mut &*channel).read(&mut bytes)?;
        if count == 0 {
            return Ok(());
        }
        for line in lines.push(&bytes[..count]) {
            answer(channel, line, addresses, events)?;
        }
    }
}

/// Waits for the host or for new addresses. True if it is the addresses.
fn wait(channel: &File, addresses: &Addresses) -> io::Result<bool> {
    let host = PollFd::new(channel.as_fd(), PollFlags::POLLIN);
    let Some((reader, _)) = &addresses.0.wake else {
        return Ok(false);
    };
    let mut waiting = [host, PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
    poll(&mut waiting, PollTimeout::NONE)?;
    Ok(waiting[1].any().unwrap_or(false))
}

fn greet(mut channel: &File, addresses: &Addresses) -> io::Result<()> {
    // On a virtio-serial port this write waits for a host, so the uptime that follows is that of its arrival.
    channel.write_all(READY.as_bytes())?;
    addresses.forget_wakes()?;
    let ready = Ready {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: kernel_release(),
        boot: boot_id(),
        uptime_ms: uptime_ms(),
        addresses: addresses.get(),
    };
    let line = format!("{}\n", FromGuest::Ready(ready));
    channel.write_all(&line.as_bytes()[READY.len()..])
}

fn answer(
    mut channel: &File,
    line: Line,
    addresses: &Addresses,
    events: &SyncSender<Event>,
) -> io::Result<()> {
    let request = match line {
        Line::Text(text) => text
            .parse()
            .map_err(|error: crate::protocol::ProtocolError| error.to_string()),
        Line::TooLong => Err(format!("a line is at most {MAX_LINE} bytes long")),
    };
    match request {
        Ok(Request::Status) => greet(channel, addresses),
        Ok(Request::PowerOff) => {
            channel.write_all(format!("{}\n", FromGuest::Bye).as_bytes())?;
            tell(events, Event::PowerOff(Why::Host));
            Ok(())
        }
        Err(why) => channel.write_all(format!("{}\n", FromGuest::Error(why)).as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc::sync_channel;

    fn lines(host: &mut UnixStream, count: usize) -> Vec<FromGuest> {
        use std::io::BufRead;
        let lines = io::BufReader::new(host).lines().take(count);
        lines.map(|line| line.unwrap().parse().unwrap()).collect()
    }

    fn addresses_of(message: &FromGuest) -> Vec<Cidr> {
        match message {
            FromGuest::Ready(ready) => ready.addresses.clone(),
            other => panic!("{other} is not ready"),
        }
    }

    #[test]
    fn given_a_host_when_it_talks_then_the_guest_answers_and_says_ready_again_for_a_new_address() {
        let (guest, mut host) = UnixStream::pair().unwrap();
        host.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let addresses = Addresses::new();
        addresses.set(None);
        let (events, happened) = sync_channel(8);
        let theirs = addresses.clone();
        let guest = std::thread::spawn(move || talk(&File::from(OwnedFd::from(guest)), &theirs, &events));

        assert_eq!(addresses_of(&lines(&mut host, 1)[0]), []);
        let address: Cidr = "10.0.2.15/24".parse().unwrap();
        addresses.set(Some(address));
        assert_eq!(addresses_of(&lines(&mut host, 1)[0]), [address]);

        host.write_all(b"status\n").unwrap();
        assert_eq!(addresses_of(&lines(&mut host, 1)[0]), [address]);

        host.write_all(b"dance\npoweroff\n").unwrap();
        let answers = lines(&mut host, 2);
        assert_eq!(answers[0], FromGuest::Error("unknown message `dance`".into()));
        assert_eq!(answers[1], FromGuest::Bye);
        let event = happened.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(event, Event::PowerOff(Why::Host));

        drop(host);
        assert!(guest.join().unwrap().is_ok());
    }

    #[test]
    fn given_ports_when_looked_for_then_only_the_one_with_our_name_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(port(dir.path()), None);
        for (device, name) in [
            ("vport1p1", "org.qemu.guest_agent.0\n"),
            ("vport1p2", "org.chronovisor.agent.0\n"),
        ] {
            fs::create_dir(dir.path().join(device)).unwrap();
            fs::write(dir.path().join(device).join("name"), name).unwrap();
        }
        assert_eq!(port(dir.path()), Some(PathBuf::from("/dev/vport1p2")));
    }
}
