//! Loads the kernel modules that the guest was packed with, in the order that the packer wrote down; some only where the
//! machine has their device. Resolves nothing: the packer did.

use std::fs::{self, File};
use std::path::Path;

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};

use crate::machine;
use crate::pack::{image, order};

/// Loads them all. One that is there already is fine; one that can't be loaded is told and passed over.
pub(crate) fn load_all() {
    let list = Path::new("/").join(order::FILE);
    let text = match fs::read_to_string(&list) {
        Ok(text) => text,
        Err(error) => return say!("can't read {}: {error}; no modules are loaded", list.display()),
    };
    let (modules, errors) = order::read(&text);
    for error in errors {
        say!("{}: {error}", list.display());
    }
    for module in modules {
        let path = Path::new("/").join(order::DIR).join(&module);
        if let Err(error) = load(&path) {
            say!("can't load {}: {error}", path.display());
        }
    }
    load_where_present();
}

/// Loads those that are for a device that the machine has.
fn load_where_present() {
    let present = machine::virtio(Path::new(machine::VIRTIO));
    for (kind, name) in image::WHERE_PRESENT {
        if !present.contains(kind) {
            continue;
        }
        let path = Path::new("/").join(order::DIR).join(format!("{name}.ko"));
        if let Err(error) = load(&path) {
            say!("can't load {}: {error}", path.display());
        }
    }
}

fn load(path: &Path) -> std::io::Result<()> {
    let file = File::open(path)?;
    match finit_module(&file, c"", ModuleInitFlags::empty()) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
