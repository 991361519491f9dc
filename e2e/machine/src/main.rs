//! PID 1 of a machine in a test: brings it up, mounts its two disks, and becomes the program that the kernel's command
//! line names, with the arguments and the environment that the kernel hands on from there. Knows nothing of replicas.
//!
//! `probe-write` and `probe-show` in place of a program show what the machine's disk loses.
//!
//! The first disk holds what is run and is never written; the second, mounted at /data, is what the test is about.

mod probe;

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};

fn main() {
    if std::process::id() != 1 {
        eprintln!("chv-e2e-machine is the init of a machine in a test and does nothing elsewhere");
        std::process::exit(2);
    }
    // A PID 1 that ends is a kernel panic, which ends the machine: there is nothing better to do.
    if let Err(error) = run() {
        println!("the machine can't be used: {error:#}");
    }
}

fn run() -> Result<()> {
    chv_uos::init::prepare();
    disk("/dev/vda", "/programs", MsFlags::MS_RDONLY)?;
    disk("/dev/vdb", "/data", MsFlags::MS_NOATIME)?;
    let mut args = std::env::args_os().skip(1);
    let program = args
        .next()
        .context("the kernel's command line names no program")?;
    match program.to_str() {
        Some("probe-write") => return probe::write(),
        Some("probe-show") => return probe::show(),
        _ => {}
    }
    std::os::unix::fs::symlink("/programs/lib64", "/lib64").context("can't link /lib64")?;
    let mut args = std::env::args_os().skip(1);
    let program = args
        .next()
        .context("the kernel's command line names no program")?;
    let error = Command::new(&program)
        .args(args)
        .env("LD_LIBRARY_PATH", "/programs/lib64")
        .exec();
    Err(error).with_context(|| format!("can't run {}", program.display()))
}

fn disk(device: &str, place: &str, flags: MsFlags) -> Result<()> {
    std::fs::create_dir_all(place).with_context(|| format!("can't make {place}"))?;
    mount(Some(device), place, Some("ext4"), flags, None::<&str>)
        .with_context(|| format!("can't mount {device} at {place}"))
}
