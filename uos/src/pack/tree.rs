//! The modules of one kernel, as its package has them, and which of them a wish for some means, in which order.
//!
//! A module says itself what it needs (`depends=` in its `.modinfo`), so no index of the tree has to be there: a
//! package has none before it is installed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use object::read::elf::ElfFile64;
use object::{Object, ObjectSection};

/// The modules of one kernel.
#[derive(Debug, Default)]
pub struct Tree {
    files: BTreeMap<Name, PathBuf>,
    built_in: BTreeSet<Name>,
}

/// A module's name, in which `-` and `_` are the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(String);

/// One module of the initramfs.
#[derive(Debug, PartialEq, Eq)]
pub struct Module {
    /// Its file's name.
    pub file: String,
    /// What is in the file.
    pub content: Vec<u8>,
}

/// Why a kernel's modules can't be packed.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// A file or directory that can't be read.
    #[error("can't read {path}: {source}")]
    Read {
        /// Which one.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Neither a file of that name nor built in.
    #[error("the kernel in {dir} has no module {}; is that the right kernel package?", .name.0)]
    Missing {
        /// The module looked for.
        name: Name,
        /// Where.
        dir: PathBuf,
    },
    /// A file that is no module.
    #[error("{path} is not an uncompressed kernel module: {reason}")]
    NotAModule {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Modules that need each other.
    #[error("module {} needs itself", .0.0)]
    Circle(Name),
}

impl Name {
    /// From a module's name or the name of its file.
    pub fn new(text: &str) -> Self {
        Self(text.strip_suffix(".ko").unwrap_or(text).replace('-', "_"))
    }
}

impl Tree {
    /// Looks over an unpacked `lib/modules/<version>`.
    pub fn open(dir: &Path) -> Result<Self, TreeError> {
        let mut tree = Self::default();
        let list = dir.join("modules.builtin");
        let text = fs::read_to_string(&list).map_err(|source| TreeError::Read { path: list, source })?;
        tree.built_in = text
            .lines()
            .filter_map(|line| line.rsplit('/').next())
            .map(Name::new)
            .collect();
        tree.look_in(&dir.join("kernel"))?;
        Ok(tree)
    }

    fn look_in(&mut self, dir: &Path) -> Result<(), TreeError> {
        let read = |source| TreeError::Read {
            path: dir.to_owned(),
            source,
        };
        for entry in fs::read_dir(dir).map_err(read)? {
            let entry = entry.map_err(read)?;
            let path = entry.path();
            if entry.file_type().map_err(read)?.is_dir() {
                self.look_in(&path)?;
            } else if let Some(name) = path.file_name().and_then(|name| name.to_str())
                && name.ends_with(".ko")
            {
                self.files.insert(Name::new(name), path);
            }
        }
        Ok(())
    }

    /// The modules wanted and those that they need, each once and after what it needs. What is built in is left out.
    pub fn resolve(&self, dir: &Path, wanted: &[&str]) -> Result<Vec<Module>, TreeError> {
        let mut order = Vec::new();
        let mut modules = Vec::new();
        for name in wanted {
            self.add(dir, &Name::new(name), &mut Vec::new(), &mut order, &mut modules)?;
        }
        Ok(modules)
    }

    fn add(
        &self,
        dir: &Path,
        name: &Name,
        above: &mut Vec<Name>,
        order: &mut Vec<Name>,
        modules: &mut Vec<Module>,
    ) -> Result<(), TreeError> {
        if self.built_in.contains(name) || order.contains(name) {
            return Ok(());
        }
        if above.contains(name) {
            return Err(TreeError::Circle(name.clone()));
        }
        let missing = || TreeError::Missing {
            name: name.clone(),
            dir: dir.to_owned(),
        };
        let path = self.files.get(name).ok_or_else(missing)?;
        let content = fs::read(path).map_err(|source| TreeError::Read {
            path: path.clone(),
            source,
        })?;
        let needs = needs(&content).map_err(|reason| TreeError::NotAModule {
            path: path.clone(),
            reason: reason.to_string(),
        })?;
        above.push(name.clone());
        for need in needs {
            self.add(dir, &need, above, order, modules)?;
        }
        above.pop();
        order.push(name.clone());
        modules.push(Module {
            file: format!("{}.ko", name.0),
            content,
        });
        Ok(())
    }
}

/// The modules that a module names in its `.modinfo`.
fn needs(module: &[u8]) -> Result<Vec<Name>, object::Error> {
    let elf: ElfFile64<'_> = ElfFile64::parse(module)?;
    let info = match elf.section_by_name(".modinfo") {
        Some(section) => section.data()?,
        None => return Ok(Vec::new()),
    };
    Ok(depends(info).into_iter().map(Name::new).collect())
}

/// The names after `depends=` among the zero-ended strings of a `.modinfo` section.
fn depends(info: &[u8]) -> Vec<&str> {
    info.split(|&byte| byte == 0)
        .filter_map(|entry| std::str::from_utf8(entry).ok()?.strip_prefix("depends="))
        .flat_map(|names| names.split(','))
        .filter(|name| !name.is_empty())
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A minimal ELF file with a `.modinfo` section that says `depends=<depends>`.
    pub(crate) fn module(depends: &str) -> Vec<u8> {
        const HEADER: u64 = 64;
        const NAMES: &[u8] = b"\0.modinfo\0.shstrtab\0";
        let info = format!("license=GPL\0depends={depends}\0name=x\0").into_bytes();
        let names_at = HEADER + info.len() as u64;
        let sections_at = names_at + NAMES.len() as u64;

        let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        elf.extend([1, 0, 62, 0, 1, 0, 0, 0]); // relocatable, x86-64, version 1
        elf.extend([0, 0, sections_at].into_iter().flat_map(u64::to_le_bytes));
        elf.extend([0; 4]);
        // sizes of the header and of no program headers, size and number of section headers, which one has the names
        elf.extend([64u16, 0, 0, 64, 3, 2].into_iter().flat_map(u16::to_le_bytes));
        elf.extend(&info);
        elf.extend(NAMES);
        let mut section = |name: u32, kind: u32, at: u64, size: u64| {
            elf.extend([name, kind].into_iter().flat_map(u32::to_le_bytes));
            elf.extend([0, 0, at, size, 0, 1, 0].into_iter().flat_map(u64::to_le_bytes));
        };
        section(0, 0, 0, 0);
        section(1, 1, HEADER, info.len() as u64);
        section(10, 3, names_at, NAMES.len() as u64);
        elf
    }

    /// An unpacked kernel with these modules (file name, what it needs) and these built in.
    pub(crate) fn kernel(modules: &[(&str, &str)], built_in: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let drivers = dir.path().join("kernel/drivers/virtio");
        fs::create_dir_all(&drivers).unwrap();
        for (file, depends) in modules {
            fs::write(drivers.join(file), module(depends)).unwrap();
        }
        let list: String = built_in
            .iter()
            .map(|name| format!("kernel/drivers/{name}.ko\n"))
            .collect();
        fs::write(dir.path().join("modules.builtin"), list).unwrap();
        dir
    }

    fn order(dir: &Path, wanted: &[&str]) -> Result<Vec<String>, TreeError> {
        let modules = Tree::open(dir)?.resolve(dir, wanted)?;
        Ok(modules.into_iter().map(|module| module.file).collect())
    }

    #[test]
    fn given_modules_that_need_others_when_resolved_then_each_comes_once_and_after_its_needs() {
        let dir = kernel(
            &[
                ("virtio.ko", ""),
                ("virtio_ring.ko", "virtio"),
                ("virtio_net.ko", "virtio_ring,net-failover,virtio"),
                ("net_failover.ko", ""),
                ("virtio-rng.ko", "virtio,rng-core"),
            ],
            &["rng-core"],
        );
        let expected = [
            "virtio.ko",
            "virtio_ring.ko",
            "net_failover.ko",
            "virtio_net.ko",
            "virtio_rng.ko",
        ];
        assert_eq!(
            order(dir.path(), &["virtio_net", "virtio-rng", "rng_core"]).unwrap(),
            expected
        );
    }

    #[test]
    fn given_a_module_that_is_nowhere_when_resolved_then_it_is_named() {
        let dir = kernel(&[("virtio_pci.ko", "virtio")], &[]);
        let error = order(dir.path(), &["virtio_pci"]).unwrap_err();
        assert!(
            matches!(&error, TreeError::Missing { name, .. } if *name == Name::new("virtio")),
            "{error}"
        );
    }

    #[test]
    fn given_modules_in_a_circle_when_resolved_then_it_is_refused() {
        let dir = kernel(&[("a.ko", "b"), ("b.ko", "a")], &[]);
        assert!(matches!(order(dir.path(), &["a"]), Err(TreeError::Circle(_))));
    }

    #[test]
    fn given_a_file_that_is_no_module_when_resolved_then_it_is_named() {
        let dir = kernel(&[], &[]);
        fs::write(dir.path().join("kernel/a.ko"), b"\xfd7zXZ").unwrap();
        assert!(matches!(
            order(dir.path(), &["a"]),
            Err(TreeError::NotAModule { .. })
        ));
    }
}
