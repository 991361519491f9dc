//! `make bench-uos`: how long uOS takes from power-on until it says that it is ready, beside the same kernel on the same
//! machine with the least init that there can be: a static program that writes a line and waits. By turns; prints the
//! medians, and fails when uOS takes more than a tenth longer.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use chv_e2e::guest_dir;
use clap::Parser;

/// How much longer uOS may take.
const MOST: f64 = 1.10;

/// What each says when it is ready.
const UOS: &str = "chv-uos: ready";
const LEAST: &str = "least: ready";

/// More than a boot takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Compares uOS with the least init.
#[derive(Debug, Parser)]
struct Args {
    /// How often each is booted.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(3..))]
    rounds: u32,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench-uos: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<bool> {
    let guest = guest_dir()?;
    let dir = tempfile::tempdir()?;
    let least = dir.path().join("least.cpio");
    std::fs::write(&least, image())?;
    let (kernel, uos) = (guest.join("vmlinuz"), guest.join("initramfs.cpio"));
    let (mut with_uos, mut with_least) = (Vec::new(), Vec::new());
    // The first round warms the page cache up, and is not counted.
    for round in 0..=args.rounds {
        let took = (boot(&kernel, &uos, UOS)?, boot(&kernel, &least, LEAST)?);
        if round > 0 {
            with_uos.push(took.0);
            with_least.push(took.1);
        }
    }
    let [uos, least] = [with_uos, with_least].map(|times| median(times).as_secs_f64() * 1_000.0);
    println!(
        "from power-on until ready, QEMU with TCG, medians of {} boots each",
        args.rounds
    );
    println!("  with the least init  {least:7.0} ms");
    println!(
        "  with uOS             {uos:7.0} ms, {:.2} times as long (at most {MOST})",
        uos / least
    );
    Ok(uos / least <= MOST)
}

/// Boots `kernel` with `initramfs`: how long it takes until it says `ready`.
fn boot(kernel: &Path, initramfs: &PathBuf, ready: &str) -> Result<Duration> {
    let began = Instant::now();
    let mut qemu = Command::new("qemu-system-x86_64")
        .args(["-machine", "q35,usb=off,vmport=off,sata=off,smbus=off"])
        .args([
            "-accel",
            "tcg",
            "-cpu",
            "max",
            "-m",
            "256M",
            "-nodefaults",
            "-no-user-config",
        ])
        .args([
            "-display",
            "none",
            "-serial",
            "stdio",
            "-append",
            "console=ttyS0 quiet",
        ])
        .args(["-device", "virtio-serial-pci,id=ports,max_ports=2"])
        .args(["-chardev", "null,id=agent"])
        .args([
            "-device",
            "virtserialport,bus=ports.0,chardev=agent,name=org.chronovisor.agent.0",
        ])
        .args(["-object", "rng-random,id=rng,filename=/dev/urandom"])
        .args(["-device", "virtio-rng-pci,rng=rng"])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(initramfs)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("can't start qemu-system-x86_64")?;
    let console = qemu.stdout.take().context("its console is a pipe")?;
    let (sender, heard) = std::sync::mpsc::sync_channel(1);
    let word = ready.to_owned();
    let reader = std::thread::spawn(move || {
        let mut said = String::new();
        for line in BufReader::new(console).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            if line.contains(&word) {
                // Nobody hears it who waited for too long.
                let _ = sender.send(began.elapsed());
                return said;
            }
            said.push_str(&line);
        }
        said
    });
    let took = heard.recv_timeout(PATIENCE);
    qemu.kill()?;
    qemu.wait()?;
    let said = reader.join().unwrap_or_default();
    match took {
        Ok(took) => Ok(took),
        Err(_) => bail!(
            "{} does not say {ready:?} within {PATIENCE:?}: {said}",
            initramfs.display()
        ),
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// An initial RAM file system (cpio, newc) with the least init.
fn image() -> Vec<u8> {
    let mut image = entry("init", 0o100_755, &least_init());
    image.extend(entry("TRAILER!!!", 0, &[]));
    image
}

fn entry(name: &str, mode: u32, data: &[u8]) -> Vec<u8> {
    let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
    let fields = [
        0,
        mode,
        0,
        0,
        1,
        0,
        length(data.len()),
        0,
        0,
        0,
        0,
        length(name.len() + 1),
        0,
    ];
    let mut entry = b"070701".to_vec();
    fields
        .iter()
        .for_each(|field| entry.extend(format!("{field:08x}").bytes()));
    entry.extend(name.bytes().chain([0]));
    entry.resize(entry.len().next_multiple_of(4), 0);
    entry.extend(data);
    entry.resize(entry.len().next_multiple_of(4), 0);
    entry
}

/// A static program for x86-64: writes its line, and waits for ever.
fn least_init() -> Vec<u8> {
    const AT: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let line = format!("{LEAST}\n");
    let mut code = vec![0xb8, 1, 0, 0, 0]; // mov eax, write
    code.extend([0xbf, 1, 0, 0, 0]); // mov edi, 1
    code.extend([0x48, 0x8d, 0x35, 16, 0, 0, 0]); // lea rsi, [rip + 16]: the line, after the code
    code.extend([0xba, line.len() as u8, 0, 0, 0]); // mov edx, its length
    code.extend([0x0f, 0x05]); // syscall
    code.extend([0xb8, 34, 0, 0, 0, 0x0f, 0x05]); // mov eax, pause; syscall
    code.extend([0xeb, 0xf7]); // again
    code.extend(line.bytes());
    let size = HEADERS + code.len() as u64;

    let mut program = b"\x7fELF\x02\x01\x01".to_vec();
    program.resize(16, 0);
    let half = |program: &mut Vec<u8>, value: u16| program.extend(value.to_le_bytes());
    let word = |program: &mut Vec<u8>, value: u32| program.extend(value.to_le_bytes());
    let long = |program: &mut Vec<u8>, value: u64| program.extend(value.to_le_bytes());
    half(&mut program, 2); // executable
    half(&mut program, 62); // x86-64
    word(&mut program, 1);
    long(&mut program, AT + HEADERS); // where it begins
    long(&mut program, 64); // the program header
    long(&mut program, 0);
    word(&mut program, 0);
    [64, 56, 1, 0, 0, 0]
        .into_iter()
        .for_each(|value| half(&mut program, value));
    word(&mut program, 1); // loaded
    word(&mut program, 5); // to be read and executed
    [0, AT, AT, size, size, 0x1000]
        .into_iter()
        .for_each(|value| long(&mut program, value));
    program.extend(code);
    program
}
