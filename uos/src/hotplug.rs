//! Takes into use what comes while the guest runs: processors, of which the kernel only says that they are there, and memory.

use std::fs;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use std::os::fd::{AsRawFd, OwnedFd};

/// The group to which the kernel itself tells what happens to devices.
const KERNEL: u32 = 1;

/// The longest message of the kernel's: `UEVENT_BUFFER_SIZE`, and the path before it.
const LONGEST: usize = 4096;

/// Lets the kernel take memory into use as it comes.
pub(crate) fn take_memory() {
    let file = "/sys/devices/system/memory/auto_online_blocks";
    // A kernel that can't add memory has no such file.
    if Path::new(file).exists()
        && let Err(error) = fs::write(file, "online_movable")
    {
        say!("can't set {file}: {error}");
    }
}

/// Takes processors into use as they come, for as long as the guest runs.
pub(crate) fn take_processors() {
    let heard = match listen() {
        Ok(heard) => heard,
        Err(error) => return say!("can't hear of new processors: {error}"),
    };
    // One may have come before anybody listened.
    take_all();
    let mut message = [0; LONGEST];
    loop {
        match recv(heard.as_raw_fd(), &mut message, MsgFlags::empty()) {
            Ok(length) => {
                if let Some(path) = new_processor(&message[..length]) {
                    take(&format!("/sys{path}"));
                }
            }
            // Messages were lost; what they said is not known.
            Err(Errno::ENOBUFS | Errno::EINTR) => take_all(),
            Err(error) => return say!("can't hear of new processors any more: {error}"),
        }
    }
}

/// Takes every processor into use that is there.
fn take_all() {
    let cpus = fs::read_dir("/sys/devices/system/cpu").into_iter().flatten();
    for cpu in cpus.flatten() {
        take(&cpu.path().display().to_string());
    }
}

fn listen() -> nix::Result<OwnedFd> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkKObjectUEvent,
    )?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, KERNEL))?;
    Ok(socket)
}

/// The path of a processor that the kernel says has come. The message is words that each end in a zero, the first of which is
/// not a `KEY=value`.
fn new_processor(message: &[u8]) -> Option<&str> {
    let words = || {
        message
            .split(|byte| *byte == 0)
            .filter_map(|word| std::str::from_utf8(word).ok())
    };
    let value = |key: &str| words().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    let path = value("DEVPATH")?;
    let came = value("ACTION") == Some("add") && value("SUBSYSTEM") == Some("cpu");
    (came && path.starts_with("/devices/system/cpu/cpu") && !path.contains("..")).then_some(path)
}

fn take(dir: &str) {
    let file = format!("{dir}/online");
    if fs::read_to_string(&file).is_ok_and(|online| online.trim() == "0")
        && let Err(error) = fs::write(&file, "1")
    {
        say!("can't take {dir} into use: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_what_the_kernel_says_then_only_a_processor_that_came_is_one() {
        let cpu = b"add@/devices/system/cpu/cpu3\0ACTION=add\0DEVPATH=/devices/system/cpu/cpu3\0SUBSYSTEM=cpu\0SEQNUM=7\0";
        assert_eq!(new_processor(cpu), Some("/devices/system/cpu/cpu3"));
        for other in [
            &b"remove@/devices/system/cpu/cpu3\0ACTION=remove\0DEVPATH=/devices/system/cpu/cpu3\0SUBSYSTEM=cpu\0"[..],
            b"add@/devices/x\0ACTION=add\0DEVPATH=/devices/x\0SUBSYSTEM=pci\0",
            b"add@/d\0ACTION=add\0DEVPATH=/devices/system/cpu/cpu3/../../x\0SUBSYSTEM=cpu\0",
            b"",
            b"\xff\0",
        ] {
            assert_eq!(new_processor(other), None);
        }
    }
}
