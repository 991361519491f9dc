//! What an initramfs of uOS is made of.

use super::cpio::{Archive, CpioError};
use super::order;
use super::tree::Module;

/// The modules that a guest needs of its kernel, in the order in which it should load them; what these need is added.
pub const MODULES: &[&str] = &[
    "virtio_pci",
    "virtio_mmio",
    "virtio_net",
    "virtio_console",
    "vmw_vsock_virtio_transport",
    "button",
    "evdev",
    "virtio_blk",
    "virtio_rng",
    "pvpanic-pci",
];

/// The modules that are loaded only where the machine has the virtio device of this kind, of which most have none. What they
/// need is among [`MODULES`].
pub const WHERE_PRESENT: &[(u32, &str)] = &[(5, "virtio_balloon"), (24, "virtio_mem")];

/// Packs the init and the modules, to be loaded in the order given, but for those of [`WHERE_PRESENT`]. The same input gives
/// the same bytes.
pub fn pack(init: Vec<u8>, modules: Vec<Module>) -> Result<Vec<u8>, CpioError> {
    let mut archive = Archive::default();
    for dir in ["dev", "proc", "run", "sys", "tmp"] {
        archive.directory(dir)?;
    }
    archive.program("init", init)?;
    let at_once = |file: &&str| {
        WHERE_PRESENT
            .iter()
            .all(|(_, name)| file.strip_suffix(".ko") != Some(name))
    };
    let order = order::write(modules.iter().map(|module| module.file.as_str()).filter(at_once));
    archive.file(order::FILE, order.into_bytes())?;
    for Module { file, content } in modules {
        archive.file(&format!("{}/{file}", order::DIR), content)?;
    }
    Ok(archive.finish())
}

#[cfg(test)]
mod tests {
    use crate::pack::tree::{Tree, tests::kernel};

    use super::*;

    fn packed(files: &[(&str, &str)]) -> Vec<u8> {
        let dir = kernel(files, &["evdev"]);
        let modules = Tree::open(dir.path())
            .unwrap()
            .resolve(dir.path(), &["b", "evdev"])
            .unwrap();
        pack(b"the init".to_vec(), modules).unwrap()
    }

    #[test]
    fn given_the_same_input_when_packed_twice_then_the_bytes_are_the_same() {
        let first = packed(&[("a.ko", ""), ("b.ko", "a")]);
        let second = packed(&[("b.ko", "a"), ("a.ko", "")]);
        assert_eq!(first, second);
        assert_ne!(first, packed(&[("b.ko", "")]));
    }
}
