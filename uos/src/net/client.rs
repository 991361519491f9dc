//! The DHCP client: asks on the wire, waits, and puts on the NIC what it gets. What the messages say is in `dhcp`.

use std::fs::File;
use std::io::{self, Read};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::mpsc::SyncSender;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket,
    sockopt::{BindToDevice, Broadcast, ReuseAddr},
};

use super::dhcp::{Answer, Ask, Exchange, Lease};
use super::link::Link;
use crate::event::{Event, tell};

const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
const WAIT_FIRST: Duration = Duration::from_millis(500);
const WAIT_MOST: Duration = Duration::from_secs(16);
/// How soon a renewal that wasn't answered is tried again.
const RENEW_AGAIN: Duration = Duration::from_secs(30);

/// Gets a lease, keeps it for as long as the server lets, and starts again when it doesn't.
pub(crate) fn run(nic: &Link, events: &SyncSender<Event>) {
    loop {
        if let Err(error) = hold_one_lease(nic, events) {
            say!("DHCP on {nic} failed: {error}; trying again");
            sleep(WAIT_FIRST);
        }
    }
}

fn hold_one_lease(nic: &Link, events: &SyncSender<Event>) -> io::Result<()> {
    let exchange = Exchange {
        transaction: random()?,
        mac: nic.mac()?,
    };
    let socket = open(nic)?;
    let mut lease = get(&exchange, &socket)?;
    let mut given = Instant::now();
    nic.set_address(lease.address, lease.gateway)?;
    tell(events, Event::Address(Some(lease.address)));

    sleep(lease.lasts / 2);
    while given.elapsed() < lease.lasts {
        let asked = Instant::now();
        match ask(
            &exchange,
            &socket,
            Ask::Renew(lease.address.address()),
            WAIT_FIRST,
        )? {
            Some(Answer::Granted(renewed)) if renewed.address == lease.address => {
                (lease, given) = (renewed, asked);
                sleep(lease.lasts / 2);
            }
            Some(Answer::Granted(_) | Answer::Refused) => break,
            Some(Answer::Offered(_)) | None => sleep(RENEW_AGAIN.min(lease.lasts / 8)),
        }
    }
    nic.clear_address()?;
    tell(events, Event::Address(None));
    Ok(())
}

/// Asks until a server has given a lease.
fn get(exchange: &Exchange, socket: &UdpSocket) -> io::Result<Lease> {
    let mut patience = WAIT_FIRST;
    loop {
        if let Some(Answer::Offered(offer)) = ask(exchange, socket, Ask::Discover, patience)?
            && let Some(Answer::Granted(lease)) = ask(exchange, socket, Ask::Request(offer), patience)?
        {
            return Ok(lease);
        }
        patience = (patience * 2).min(WAIT_MOST);
    }
}

/// Asks once. The answer, or nothing if none that fits came in time.
fn ask(exchange: &Exchange, socket: &UdpSocket, ask: Ask, patience: Duration) -> io::Result<Option<Answer>> {
    let deadline = Instant::now() + patience;
    if let Err(error) = socket.send_to(&exchange.packet(ask), (Ipv4Addr::BROADCAST, SERVER_PORT)) {
        // A link that isn't ready yet says so here; asking again is the answer.
        sleep(patience);
        return if error.raw_os_error() == Some(libc::ENETUNREACH) {
            Ok(None)
        } else {
            Err(error)
        };
    }
    let mut bytes = [0; 1500];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        socket.set_read_timeout(Some(left))?;
        let answer = match socket.recv(&mut bytes) {
            Ok(count) => exchange.read(&bytes[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => return Err(error),
        };
        let fits = match answer {
            Some(Answer::Offered(_)) => ask == Ask::Discover,
            Some(Answer::Granted(_) | Answer::Refused) => ask != Ask::Discover,
            None => false,
        };
        if fits {
            return Ok(answer);
        }
    }
}

/// A socket that sends and receives on this NIC alone, which works before the NIC has an address.
fn open(nic: &Link) -> io::Result<UdpSocket> {
    let socket: OwnedFd = socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    setsockopt(&socket, ReuseAddr, &true)?;
    setsockopt(&socket, Broadcast, &true)?;
    setsockopt(&socket, BindToDevice, &nic.name().into())?;
    let address = SockaddrIn::new(0, 0, 0, 0, CLIENT_PORT);
    bind(std::os::fd::AsRawFd::as_raw_fd(&socket), &address)?;
    Ok(socket.into())
}

fn random() -> io::Result<u32> {
    let mut bytes = [0; 4];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u32::from_ne_bytes(bytes))
}
