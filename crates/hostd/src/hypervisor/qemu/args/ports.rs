//! QEMU's options for where the serial port and the virtio console lead.

use std::path::Path;

use chv_domain::spec::Port;

use super::quoted::quoted;
use crate::hypervisor::run_dir::{CONSOLE_LOG, CONSOLE_SOCKET, SERIAL_SOCKET, VIRTIO_SOCKET};

/// The serial port.
pub(super) fn serial(port: &Port, file: Option<&Path>) -> Vec<(&'static str, String)> {
    // The fake hypervisor of tests, and this daemon, know it by this name.
    const ID: &str = "console";
    let chardev = match port {
        Port::Log => format!(
            "socket,id={ID},path={CONSOLE_SOCKET},server=on,wait=off,logfile={CONSOLE_LOG},logappend=on"
        ),
        other => match chardev(other, file, ID, SERIAL_SOCKET) {
            Some(chardev) => chardev,
            None => return Vec::new(),
        },
    };
    vec![("-chardev", chardev), ("-serial", format!("chardev:{ID}"))]
}

/// The virtio console, on the bus of the agent's port.
pub(super) fn console(port: &Port, file: Option<&Path>) -> Vec<(&'static str, String)> {
    const ID: &str = "virtual";
    let device = format!("virtconsole,bus=ports.0,chardev={ID}");
    match chardev(port, file, ID, VIRTIO_SOCKET) {
        Some(chardev) => vec![("-chardev", chardev), ("-device", device)],
        None => Vec::new(),
    }
}

fn chardev(port: &Port, file: Option<&Path>, id: &str, socket: &str) -> Option<String> {
    match (port, file) {
        (Port::Null, _) => Some(format!("null,id={id}")),
        (Port::Socket, _) => Some(format!("socket,id={id},path={socket},server=on,wait=off")),
        (Port::File(_), Some(file)) => Some(format!("file,id={id},path={},append=on", quoted(file))),
        (Port::File(_), None) | (Port::Log | Port::Off | Port::Pty | Port::Tty, _) => None,
    }
}
