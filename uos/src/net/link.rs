//! One network interface and what the kernel does with it on request. Decides nothing.

use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use libc::{ifreq, rtentry, sockaddr, sockaddr_in};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::cidr::Cidr;

nix::ioctl_write_ptr_bad!(set_flags, libc::SIOCSIFFLAGS, ifreq);
nix::ioctl_write_ptr_bad!(set_address, libc::SIOCSIFADDR, ifreq);
nix::ioctl_write_ptr_bad!(set_netmask, libc::SIOCSIFNETMASK, ifreq);
nix::ioctl_write_ptr_bad!(add_route, libc::SIOCADDRT, rtentry);

/// An interface by its name.
#[derive(Debug)]
pub(crate) struct Link {
    name: String,
}

impl Link {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The interface's hardware address.
    pub(crate) fn mac(&self) -> io::Result<[u8; 6]> {
        let text = std::fs::read_to_string(Path::new("/sys/class/net").join(&self.name).join("address"))?;
        parse_mac(text.trim())
            .ok_or_else(|| io::Error::other(format!("{:?} is no Ethernet address", text.trim())))
    }

    /// Brings it up. Idempotent.
    pub(crate) fn up(&self) -> io::Result<()> {
        let mut request = self.request();
        request.ifr_ifru.ifru_flags = libc::IFF_UP as i16;
        let socket = control()?;
        // SAFETY: the descriptor is open and the request is a whole ifreq whose flags are set.
        unsafe { set_flags(socket.as_raw_fd(), &request) }?;
        Ok(())
    }

    /// Gives it this address instead of the one that it has, and routes everything else through the gateway.
    pub(crate) fn set_address(&self, cidr: Cidr, gateway: Option<Ipv4Addr>) -> io::Result<()> {
        let socket = control()?;
        self.put_address(&socket, cidr.address())?;
        let mut request = self.request();
        request.ifr_ifru.ifru_netmask = socket_address(cidr.netmask());
        // SAFETY: as in `up`, with the netmask set.
        unsafe { set_netmask(socket.as_raw_fd(), &request) }?;
        if let Some(gateway) = gateway {
            // SAFETY: every field of a route may be zero.
            let mut route: rtentry = unsafe { std::mem::zeroed() };
            route.rt_dst = socket_address(Ipv4Addr::UNSPECIFIED);
            route.rt_genmask = socket_address(Ipv4Addr::UNSPECIFIED);
            route.rt_gateway = socket_address(gateway);
            route.rt_flags = libc::RTF_UP | libc::RTF_GATEWAY;
            // SAFETY: the descriptor is open and the route names no device, so holds no pointer.
            unsafe { add_route(socket.as_raw_fd(), &route) }?;
        }
        Ok(())
    }

    /// Takes its address away, and with it the routes.
    pub(crate) fn clear_address(&self) -> io::Result<()> {
        self.put_address(&control()?, Ipv4Addr::UNSPECIFIED)
    }

    fn put_address(&self, socket: &OwnedFd, address: Ipv4Addr) -> io::Result<()> {
        let mut request = self.request();
        request.ifr_ifru.ifru_addr = socket_address(address);
        // SAFETY: as in `up`, with the address set.
        unsafe { set_address(socket.as_raw_fd(), &request) }?;
        Ok(())
    }

    fn request(&self) -> ifreq {
        // SAFETY: every field of an ifreq may be zero.
        let mut request: ifreq = unsafe { std::mem::zeroed() };
        // The last byte stays zero: a name that is too long meets no interface.
        for (to, from) in request.ifr_name[..libc::IFNAMSIZ - 1]
            .iter_mut()
            .zip(self.name.bytes())
        {
            *to = from as libc::c_char;
        }
        request
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

fn control() -> io::Result<OwnedFd> {
    Ok(socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?)
}

fn socket_address(address: Ipv4Addr) -> sockaddr {
    let inet = sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 0,
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes(address.octets()),
        },
        sin_zero: [0; 8],
    };
    // SAFETY: both are plain data of the same size; the family says which of the two it is.
    unsafe { std::mem::transmute::<sockaddr_in, sockaddr>(inet) }
}

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    parts.next().is_none().then_some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_hardware_address_when_parsed_then_all_six_bytes_are_there() {
        assert_eq!(
            parse_mac("52:54:00:12:34:5f"),
            Some([0x52, 0x54, 0, 0x12, 0x34, 0x5f])
        );
        assert_eq!(parse_mac("52:54:00:12:34"), None);
        assert_eq!(parse_mac("52:54:00:12:34:56:78"), None);
        assert_eq!(parse_mac(""), None);
    }

    #[test]
    fn given_an_address_when_laid_out_then_it_is_in_network_order() {
        let laid_out = socket_address(Ipv4Addr::new(10, 0, 2, 15));
        assert_eq!(laid_out.sa_data[2..6], [10, 0, 2, 15]);
    }
}
