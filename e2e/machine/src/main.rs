//! PID 1 of a machine in a test: brings it up, mounts its two disks, and becomes the program that the kernel's command
//! line names, with the arguments and the environment that the kernel hands on from there. Knows nothing of replicas.
//!
//! `probe-write` and `probe-show` in place of a program show what the machine's disk loses.
//!
//! With `CHV_MACHINE_LOSES` the second disk loses writes from a moment on; see `losing`.
//!
//! With `CHV_MACHINE_KEEPER` the program is run beside this process, which a test tells what to do; see `keeper`.
//!
//! The first disk holds what is run and is never written; the second, mounted at /data, is what the test is about.

mod keeper;
mod losing;
mod probe;

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};
use losing::Losing;
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
    // Where the loader is, and where it looks for libraries of a program that was given no environment.
    std::fs::create_dir_all("/lib").context("can't make /lib")?;
    for place in ["/lib64", "/lib/x86_64-linux-gnu"] {
        std::os::unix::fs::symlink("/programs/lib64", place)
            .with_context(|| format!("can't link {place}"))?;
    }
    let losing = Losing::wanted()?;
    let data = losing.as_ref().map_or(Ok("/dev/vdb"), Losing::layer)?;
    disk(data, "/data", MsFlags::MS_NOATIME)?;
    let mut args = std::env::args_os().skip(1);
    let name = args.next();
    let command = name.as_ref().map(|name| {
        let mut command = program(name);
        command.args(args);
        command
    });
    if let Some(port) = keeper::wanted()? {
        return keeper::keep(command, port);
    }
    let mut command = command.context("the kernel's command line names no program")?;
    match command.get_program().to_str() {
        Some("probe-write") => return probe::write(),
        Some("probe-show") => return probe::show(),
        _ => {}
    }
    if let Some(losing) = losing
        && losing.begin()?
    {
        let mut running = command.spawn().context("can't run the program")?;
        if let Err(error) = losing.when_told() {
            println!("the disk does not lose writes: {error:#}");
        }
        println!("the program has ended, {}", running.wait()?);
        return Ok(());
    }
    let error = command.exec();
    Err(error).with_context(|| format!("can't run {command:?}"))
}

/// A program from the first disk, or one that finds its libraries there.
fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    command.env("LD_LIBRARY_PATH", "/programs/lib64");
    command
}

fn disk(device: &str, place: &str, flags: MsFlags) -> Result<()> {
    std::fs::create_dir_all(place).with_context(|| format!("can't make {place}"))?;
    mount(Some(device), place, Some("ext4"), flags, None::<&str>)
        .with_context(|| format!("can't mount {device} at {place}"))
}
