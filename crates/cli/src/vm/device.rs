//! Disks and network cards as they are written in options of `chv vm create` and `chv vm attach`.

use chv_domain::spec::{DeviceId, Disk, DiskFormat, HostPath, IfName, MacAddress, Nic, NicBackend};

/// A disk of an option.
#[derive(Debug, Clone)]
pub(super) struct AskedDisk {
    id: Option<DeviceId>,
    path: HostPath,
    format: DiskFormat,
    read_only: bool,
}

impl AskedDisk {
    /// With an id that says its place, where it was given none.
    pub(super) fn at(self, place: usize) -> Disk {
        let id = self.id.unwrap_or_else(|| numbered("disk", place));
        Disk {
            read_only: self.read_only,
            ..Disk::new(id, self.path, self.format)
        }
    }
}

/// A network card of an option.
#[derive(Debug, Clone)]
pub(super) struct AskedNic {
    id: Option<DeviceId>,
    backend: NicBackend,
    mac: Option<MacAddress>,
}

impl AskedNic {
    /// With an id that says its place, where it was given none.
    pub(super) fn at(self, place: usize) -> Nic {
        let id = self.id.unwrap_or_else(|| numbered("nic", place));
        Nic {
            mac: self.mac,
            ..Nic::new(id, self.backend)
        }
    }
}

/// The id of a device that was given none.
fn numbered(kind: &str, place: usize) -> DeviceId {
    let id = format!("{kind}{place}").parse();
    id.expect("a word and a number that a command line has room for")
}

pub(super) fn host_path(text: &str) -> Result<HostPath, String> {
    HostPath::try_from(text.to_owned()).map_err(|error| error.to_string())
}

pub(super) fn disk(text: &str) -> Result<AskedDisk, String> {
    let (mut id, mut path, mut format, mut read_only) = (None, None, None, false);
    for part in text.split(',') {
        match part.split_once('=').unwrap_or((part, "")) {
            ("id", value) => id = Some(device_id(value)?),
            ("path", value) => path = Some(host_path(value)?),
            ("format", "raw") => format = Some(DiskFormat::Raw),
            ("format", "qcow2") => format = Some(DiskFormat::Qcow2),
            ("format", other) => return Err(format!("the format is raw or qcow2, not `{other}`")),
            ("readonly", "") => read_only = true,
            _ => {
                return Err(format!(
                    "`{part}` is none of path=FILE, format=raw|qcow2, id=NAME, readonly"
                ));
            }
        }
    }
    Ok(AskedDisk {
        id,
        path: path.ok_or("it needs a path=FILE")?,
        format: format.ok_or("it needs a format=raw or format=qcow2; guessing would let a guest forge it")?,
        read_only,
    })
}

pub(super) fn device_id(text: &str) -> Result<DeviceId, String> {
    text.parse()
        .map_err(|error: chv_domain::spec::DeviceIdError| error.to_string())
}

pub(super) fn nic(text: &str) -> Result<AskedNic, String> {
    let (mut id, mut backend, mut mac) = (None, None, None);
    for part in text.split(',') {
        match part.split_once('=').unwrap_or((part, "")) {
            ("id", value) => id = Some(device_id(value)?),
            ("user", "") => backend = Some(NicBackend::User),
            ("tap", device) => {
                let device = IfName::try_from(device.to_owned()).map_err(|error| error.to_string())?;
                backend = Some(NicBackend::Tap(device));
            }
            ("mac", address) => {
                mac = Some(address.parse::<MacAddress>().map_err(|error| error.to_string())?);
            }
            _ => {
                return Err(format!(
                    "`{part}` is none of user, tap=DEVICE, id=NAME, mac=ADDRESS"
                ));
            }
        }
    }
    Ok(AskedNic {
        id,
        backend: backend.ok_or("it needs user or tap=DEVICE")?,
        mac,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_always_says_its_format() {
        let read = disk("path=a.qcow2,format=qcow2,readonly").unwrap();
        assert_eq!(
            (read.path.as_str(), read.format, read.read_only),
            ("a.qcow2", DiskFormat::Qcow2, true)
        );
        for (text, expected) in [
            ("path=a", "format"),
            ("format=raw", "path"),
            ("path=a,format=vhd", "raw or qcow2"),
            ("path=../a,format=raw", ".."),
            ("path=a,format=raw,size=3", "size=3"),
            ("", "none of"),
        ] {
            let error = disk(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn devices_are_numbered_unless_they_have_ids() {
        let asked = [
            disk("path=a,format=raw").unwrap(),
            disk("id=data,path=b,format=raw").unwrap(),
        ];
        let ids: Vec<_> = asked
            .into_iter()
            .enumerate()
            .map(|(place, disk)| disk.at(place).id)
            .collect();
        assert_eq!(
            ids.iter().map(DeviceId::as_str).collect::<Vec<_>>(),
            ["disk0", "data"]
        );
        assert_eq!(nic("user").unwrap().at(3).id.as_str(), "nic3");
    }

    #[test]
    fn a_nic_says_what_it_is_plugged_into() {
        assert_eq!(nic("user").unwrap().backend, NicBackend::User);
        let tap = nic("tap=tap0,mac=52:54:00:00:00:01").unwrap();
        assert_eq!(tap.mac.unwrap().to_string(), "52:54:00:00:00:01");
        for text in [
            "",
            "mac=52:54:00:00:00:01",
            "tap=",
            "tap=a/b",
            "user,mac=x",
            "bridge",
        ] {
            assert!(nic(text).is_err(), "{text}");
        }
    }
}
