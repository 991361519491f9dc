//! The guest's network: loopback, and the first NIC with one IPv4 address. Further NICs stay down, and names are not
//! resolved.

mod client;
mod dhcp;
mod link;

use std::fs;
use std::path::Path;
use std::sync::mpsc::SyncSender;

use crate::cmdline::NetMode;
use crate::event::{Event, tell};
use link::Link;

const INTERFACES: &str = "/sys/class/net";

/// Brings the network up and keeps it so. Tells the address, or that there is none, as soon as that is known.
pub(crate) fn run(mode: NetMode, events: &SyncSender<Event>) {
    if let Err(error) = Link::new("lo").up() {
        say!("can't bring up lo: {error}");
    }
    let nic = match (mode, first_nic(Path::new(INTERFACES))) {
        (NetMode::Off, _) | (_, None) => return tell(events, Event::Address(None)),
        (_, Some(name)) => Link::new(&name),
    };
    if let Err(error) = nic.up() {
        say!("can't bring up {nic}: {error}");
        return tell(events, Event::Address(None));
    }
    match mode {
        NetMode::Static(net) => match nic.set_address(net.address, net.gateway) {
            Ok(()) => tell(events, Event::Address(Some(net.address))),
            Err(error) => {
                say!("can't give {nic} the address {}: {error}", net.address);
                tell(events, Event::Address(None));
            }
        },
        NetMode::Dhcp => client::run(&nic, events),
        NetMode::Off => {}
    }
}

/// The first interface by name that has a device behind it.
fn first_nic(interfaces: &Path) -> Option<String> {
    let names = fs::read_dir(interfaces).ok()?.flatten();
    let nics = names.filter(|entry| entry.path().join("device").exists());
    nics.filter_map(|entry| entry.file_name().into_string().ok())
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_interfaces_when_looked_for_then_the_first_with_a_device_is_the_nic() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("lo")).unwrap();
        assert_eq!(first_nic(dir.path()), None);
        for name in ["eth1", "eth0"] {
            fs::create_dir_all(dir.path().join(name).join("device")).unwrap();
        }
        assert_eq!(first_nic(dir.path()).as_deref(), Some("eth0"));
    }
}
