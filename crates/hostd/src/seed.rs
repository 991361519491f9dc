//! The disk that tells a guest what to do at its first boot, as cloud-init looks for it: a FAT file system with the label
//! CIDATA and a few files. Pure but for the memory that it is made in; the same VM gives the same bytes.
//!
//! <https://cloudinit.readthedocs.io/en/latest/reference/datasources/nocloud.html>

use std::io::{self, Cursor, Write};

use chv_domain::spec::{CloudInit, CloudText};
use chv_domain::{VmId, VmName};
use fatfs::{FileSystem, FormatVolumeOptions, FsOptions, format_volume};

/// The size of the disk, in bytes: room for the texts, whose size is bounded.
const SIZE: usize = 1 << 20;

/// Padded, as FAT has it.
const LABEL: [u8; 11] = *b"CIDATA     ";

/// The disk's bytes.
///
/// # Errors
/// When what the texts need is more than it has room for.
pub(crate) fn image(vm: VmId, name: &VmName, cloud_init: &CloudInit) -> io::Result<Vec<u8>> {
    let mut disk = Cursor::new(vec![0; SIZE]);
    format_volume(
        &mut disk,
        FormatVolumeOptions::new().volume_label(LABEL).volume_id(0),
    )?;
    disk.set_position(0);
    let volume = FileSystem::new(&mut disk, FsOptions::new())?;
    let text = |text: &Option<CloudText>| text.as_ref().map(|text| text.as_str().to_owned());
    for (file, content) in [
        ("meta-data", Some(meta_data(vm, name, cloud_init))),
        // Without it cloud-init takes the disk for none of its own.
        ("user-data", Some(text(&cloud_init.user_data).unwrap_or_default())),
        ("network-config", text(&cloud_init.network_config)),
    ] {
        if let Some(content) = content {
            volume
                .root_dir()
                .create_file(file)?
                .write_all(content.as_bytes())?;
        }
    }
    volume.unmount()?;
    Ok(disk.into_inner())
}

/// A JSON text is YAML, and quotes what has to be.
fn meta_data(vm: VmId, name: &VmName, cloud_init: &CloudInit) -> String {
    let mut text = format!("instance-id: {vm}\nlocal-hostname: {name}\n");
    if !cloud_init.ssh_keys.is_empty() {
        text.push_str("public-keys:\n");
        for key in &cloud_init.ssh_keys {
            text.push_str(&format!("- {}\n", serde_json::Value::from(key.as_str())));
        }
    }
    if let Some(more) = &cloud_init.meta_data {
        text.push_str(more.as_str());
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn read(disk: Vec<u8>) -> (String, Vec<(String, String)>) {
        let volume = FileSystem::new(Cursor::new(disk), FsOptions::new()).unwrap();
        let files = volume.root_dir().iter().map(|entry| {
            let entry = entry.unwrap();
            let mut text = String::new();
            entry.to_file().read_to_string(&mut text).unwrap();
            (entry.file_name(), text)
        });
        (volume.volume_label(), files.collect())
    }

    #[test]
    fn a_guest_is_told_who_it_is_its_keys_and_what_to_do() {
        let vm: VmId = "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap();
        let cloud_init = serde_json::json!({
            "userData": "#cloud-config\npackages: [nginx]\n",
            "networkConfig": "version: 2\n",
            "metaData": "colour: red\n",
            "sshKeys": ["ssh-ed25519 AAAA \"me\": #1"],
        });
        let cloud_init = serde_json::from_value(cloud_init).unwrap();
        let disk = image(vm, &"web".parse().unwrap(), &cloud_init).unwrap();
        assert_eq!(disk, image(vm, &"web".parse().unwrap(), &cloud_init).unwrap());
        let (label, files) = read(disk);
        assert_eq!(label, "CIDATA");
        let file = |name: &str| {
            files
                .iter()
                .find(|(file, _)| file == name)
                .map(|(_, text)| text.as_str())
        };
        assert_eq!(file("user-data"), Some("#cloud-config\npackages: [nginx]\n"));
        assert_eq!(file("network-config"), Some("version: 2\n"));
        assert_eq!(
            file("meta-data"),
            Some(concat!(
                "instance-id: 01ARZ3NDEKTSV4RRFFQ69G5FAV\nlocal-hostname: web\n",
                "public-keys:\n- \"ssh-ed25519 AAAA \\\"me\\\": #1\"\ncolour: red\n"
            ))
        );
    }

    #[test]
    fn the_longest_texts_have_room_and_nothing_said_is_still_a_seed() {
        let vm: VmId = "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap();
        let longest = CloudText::try_from("x".repeat(64 << 10)).unwrap();
        let full = CloudInit {
            user_data: Some(longest.clone()),
            network_config: Some(longest.clone()),
            meta_data: Some(longest),
            ssh_keys: Vec::new(),
        };
        assert!(image(vm, &"web".parse().unwrap(), &full).is_ok());
        let (_, files) = read(image(vm, &"web".parse().unwrap(), &CloudInit::default()).unwrap());
        assert_eq!(files.len(), 2);
    }
}
