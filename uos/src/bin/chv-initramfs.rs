//! Makes what a guest boots from: an initramfs of the init and its kernel modules, and an uncompressed kernel.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use chv_uos::pack::{image, tree::Tree};
use clap::{Parser, Subcommand};

/// Make what a uOS guest boots from.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Pack the init and the kernel modules that it needs into an initramfs.
    Pack {
        /// The static chv-uos binary.
        #[arg(long)]
        init: PathBuf,
        /// The kernel's modules: an unpacked package's lib/modules/<version>.
        #[arg(long)]
        modules: PathBuf,
        /// One more module to pack and load, after the usual ones; may be given more than once.
        #[arg(long = "module", value_name = "NAME")]
        more: Vec<String>,
        /// The initramfs to write. It is left as it is when it would not change.
        #[arg(long)]
        output: PathBuf,
    },
    /// Take the uncompressed kernel out of a vmlinuz that is compressed with LZ4.
    Kernel {
        /// The compressed kernel.
        #[arg(long)]
        vmlinuz: PathBuf,
        /// The uncompressed kernel to write. It is left as it is when it would not change.
        #[arg(long)]
        output: PathBuf,
    },
}

fn main() -> anyhow::Result<()> {
    match Args::parse().what {
        What::Pack {
            init,
            modules,
            more,
            output,
        } => pack(&init, &modules, &more, &output),
        What::Kernel { vmlinuz, output } => {
            let image = read(&vmlinuz)?;
            let kernel = chv_kernel::unpack(&image)
                .with_context(|| format!("can't uncompress {}", vmlinuz.display()))?;
            write(&output, &kernel)
        }
    }
}

fn pack(init: &Path, dir: &Path, more: &[String], output: &Path) -> anyhow::Result<()> {
    let init = read(init)?;
    let wanted: Vec<&str> = image::MODULES
        .iter()
        .copied()
        .chain(image::WHERE_PRESENT.iter().map(|(_, name)| *name))
        .chain(more.iter().map(String::as_str))
        .collect();
    let modules = Tree::open(dir)?.resolve(dir, &wanted)?;
    let names: Vec<String> = modules.iter().map(|module| module.file.clone()).collect();
    println!("packs {}", names.join(" "));
    write(output, &image::pack(init, modules)?)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("can't read {}", path.display()))
}

/// Renamed into place, so that a guest that boots meanwhile never reads half of it.
fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        println!("{} is up to date", path.display());
        return Ok(());
    }
    let new = path.with_extension("new");
    let failed = || format!("can't write {}", path.display());
    fs::write(&new, bytes).with_context(failed)?;
    fs::rename(&new, path).with_context(failed)?;
    println!("{}: {} KiB", path.display(), bytes.len() / 1024);
    Ok(())
}
