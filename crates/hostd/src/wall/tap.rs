//! Makes a TAP device a user's, so that the user's hypervisor can open it without any capability. The device stays where
//! and as it is.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Makes the TAP device `name` of this network namespace `user`'s.
pub(crate) fn give(name: &str, user: u32) -> io::Result<()> {
    let tun = File::options().read(true).write(true).open("/dev/net/tun")?;
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    // One that was made for several queues is opened only as such.
    attach(&tun, name, flags).or_else(|_| attach(&tun, name, flags | libc::IFF_MULTI_QUEUE))?;
    // SAFETY: takes a number, and no pointer.
    done(unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETOWNER, libc::c_ulong::from(user)) })
}

fn attach(tun: &File, name: &str, flags: libc::c_int) -> io::Result<()> {
    // SAFETY: all zeros is a request with an empty name.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero.
    if name.len() >= request.ifr_name.len() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "too long for a device's name",
        ));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(flags).map_err(io::Error::other)?;
    // SAFETY: the request is a valid one, and outlives the call.
    done(unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })
}

fn done(returned: libc::c_int) -> io::Result<()> {
    match returned {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
