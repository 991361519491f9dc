//! Going down: the ACPI power button, and the power off itself.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::mpsc::SyncSender;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::reboot::{RebootMode, reboot};

use crate::event::{Down, Event, Why, tell};
use crate::mount;

/// `struct input_event` on a 64-bit kernel: a time of 16 bytes, a type, a code and a value.
const EVENT_SIZE: usize = 24;
const EV_KEY: u16 = 1;
const KEY_POWER: u16 = 116;

/// Watches the power keys, as long as there is one.
pub(crate) fn watch_button(events: &SyncSender<Event>) {
    let mut devices = devices();
    if devices.is_empty() {
        say!("no power button found");
    }
    while !devices.is_empty() {
        let mut waiting: Vec<PollFd<'_>> = devices
            .iter()
            .map(|device| PollFd::new(device.as_fd(), PollFlags::POLLIN))
            .collect();
        if poll(&mut waiting, PollTimeout::NONE).is_err() {
            continue;
        }
        let awake: Vec<bool> = waiting.iter().map(|fd| fd.any().unwrap_or(false)).collect();
        let mut bytes = [0; EVENT_SIZE * 16];
        let mut index = 0;
        devices.retain_mut(|device| {
            let ready = awake[index];
            index += 1;
            if !ready {
                return true;
            }
            match device.read(&mut bytes) {
                Ok(count) if count > 0 => {
                    if is_power_pressed(&bytes[..count]) {
                        tell(events, Event::PowerOff(Why::PowerButton));
                    }
                    true
                }
                _ => false,
            }
        });
    }
}

/// The devices that have a power key. The others stay closed: opening a keyboard talks to it, which takes time.
fn devices() -> Vec<File> {
    let Ok(entries) = fs::read_dir("/sys/class/input") else {
        return Vec::new();
    };
    let with_key = entries.flatten().filter(|entry| {
        let keys = fs::read_to_string(entry.path().join("device/capabilities/key"));
        entry.file_name().as_encoded_bytes().starts_with(b"event")
            && keys.is_ok_and(|keys| has_key(&keys, KEY_POWER))
    });
    with_key
        .filter_map(|entry| File::open(Path::new("/dev/input").join(entry.file_name())).ok())
        .collect()
}

/// Whether a key is in sysfs's bitmap: words of 64 bits in hexadecimal, the highest first.
fn has_key(bitmap: &str, key: u16) -> bool {
    let word = bitmap.split_ascii_whitespace().rev().nth(usize::from(key / 64));
    word.and_then(|word| u64::from_str_radix(word, 16).ok())
        .is_some_and(|bits| bits >> (key % 64) & 1 == 1)
}

/// Whether the power key goes down in these `struct input_event`s.
fn is_power_pressed(events: &[u8]) -> bool {
    events.chunks_exact(EVENT_SIZE).any(|event| {
        let kind = u16::from_ne_bytes([event[16], event[17]]);
        let code = u16::from_ne_bytes([event[18], event[19]]);
        let value = i32::from_ne_bytes([event[20], event[21], event[22], event[23]]);
        (kind, code, value) == (EV_KEY, KEY_POWER, 1)
    })
}

/// Whether Firecracker runs this guest, as its ACPI tables say. It has no power to switch off: a machine that resets
/// itself ends there.
fn ends_by_reset() -> bool {
    const MAKER: std::ops::Range<usize> = 10..16;
    fs::read("/sys/firmware/acpi/tables/FACP")
        .is_ok_and(|table| table.get(MAKER) == Some(b"FIRECK".as_slice()))
}

/// Powers the guest off, or boots it anew. Should the kernel refuse, the guest stays up, idle, for its host to end.
pub(crate) fn go(down: Down, why: Why) -> ! {
    match down {
        Down::Off => say!("powering off ({why})"),
        Down::Reboot => say!("rebooting ({why})"),
    }
    nix::unistd::sync();
    let mode = match down == Down::Reboot || ends_by_reset() {
        true => RebootMode::RB_AUTOBOOT,
        false => RebootMode::RB_POWER_OFF,
    };
    mount::undo();
    nix::unistd::sync();
    let Err(error) = reboot(mode);
    say!("can't go down: {error}");
    loop {
        std::thread::park();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: u16, code: u16, value: i32) -> Vec<u8> {
        let mut bytes = vec![0; 16];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(code.to_ne_bytes());
        bytes.extend(value.to_ne_bytes());
        bytes
    }

    #[test]
    fn given_a_bitmap_of_keys_when_asked_then_it_has_those_alone() {
        let button = "10000000000000 0\n";
        assert!(has_key(button, KEY_POWER));
        assert!(!has_key(button, 115));
        assert!(!has_key("10000000000000", KEY_POWER));
        assert!(!has_key("", KEY_POWER));
        assert!(!has_key("zz 0", KEY_POWER));
    }

    #[test]
    fn given_input_events_when_read_then_only_the_power_key_going_down_counts() {
        let down = event(EV_KEY, KEY_POWER, 1);
        let up = event(EV_KEY, KEY_POWER, 0);
        let sync = event(0, 0, 0);
        let other = event(EV_KEY, 30, 1);
        assert!(is_power_pressed(&[sync.clone(), down.clone()].concat()));
        assert!(!is_power_pressed(&[up, sync, other].concat()));
        assert!(!is_power_pressed(&down[..23]));
    }
}
