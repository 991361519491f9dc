//! Packs an initramfs from the guest's init and an unpacked kernel package.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use chv_uos::pack::{image, tree::Tree};
use clap::Parser;

/// Pack the init and the kernel modules that it needs into an initramfs.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
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
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let init = fs::read(&args.init).with_context(|| format!("can't read {}", args.init.display()))?;
    let wanted: Vec<&str> = image::MODULES
        .iter()
        .copied()
        .chain(args.more.iter().map(String::as_str))
        .collect();
    let modules = Tree::open(&args.modules)?.resolve(&args.modules, &wanted)?;
    let files: Vec<String> = modules.iter().map(|module| module.file.clone()).collect();
    let bytes = image::pack(init, modules)?;
    if fs::read(&args.output).is_ok_and(|old| old == bytes) {
        println!("{} is up to date", args.output.display());
        return Ok(());
    }
    // Renamed into place, so that a guest that boots meanwhile never reads half of it.
    let new = args.output.with_extension("new");
    fs::write(&new, &bytes).with_context(|| format!("can't write {}", new.display()))?;
    fs::rename(&new, &args.output).with_context(|| format!("can't write {}", args.output.display()))?;
    println!(
        "{}: {} KiB, loads {}",
        args.output.display(),
        bytes.len() / 1024,
        files.join(" ")
    );
    Ok(())
}
