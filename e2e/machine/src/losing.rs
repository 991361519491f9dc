//! A disk that loses writes from a moment on: a layer of dm-flakey over the machine's own, switched when the test says so.
//!
//! `CHV_MACHINE_LOSES=<feature>,<address>` names how, as dm-flakey does, and where the test listens. A byte from there
//! says that the disk is to be switched, and one is sent back when it was. It is switched once: after the next start a
//! file on it says so, and it loses nothing any more.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

const VARIABLE: &str = "CHV_MACHINE_LOSES";

const DMSETUP: &str = "/programs/dmsetup";

/// The layer's name, and where it is then.
const NAME: &str = "data";
const DEVICE: &str = "/dev/mapper/data";

/// Says that the disk was, or will be, switched.
const ONCE: &str = "/data/loses-writes-once";

/// Longer than a test, in seconds: the layer never switches by itself.
const EVER: u32 = 1_000_000;

/// How often the test is looked for, and how long to wait between.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(200);

/// What is wanted of the disk.
pub(crate) struct Losing {
    feature: String,
    test: String,
}

impl Losing {
    /// What the environment says.
    pub(crate) fn wanted() -> Result<Option<Self>> {
        let Ok(words) = std::env::var(VARIABLE) else {
            return Ok(None);
        };
        let (feature, test) = words
            .split_once(',')
            .with_context(|| format!("{VARIABLE}={words:?} is no feature and address"))?;
        let (feature, test) = (feature.to_owned(), test.to_owned());
        Ok(Some(Self { feature, test }))
    }

    /// Puts the layer over the disk; where it is. It loses nothing yet.
    pub(crate) fn layer(&self) -> Result<&'static str> {
        dmsetup(&["create", NAME, "--table", &table(&format!("{EVER} 0"))?])?;
        Ok(DEVICE)
    }

    /// Whether the disk, which is mounted, is to lose writes in this run: in the first one.
    pub(crate) fn begin(&self) -> Result<bool> {
        if std::path::Path::new(ONCE).exists() {
            return Ok(false);
        }
        File::create_new(ONCE)?.sync_all()?;
        File::open("/data")?.sync_all()?;
        Ok(true)
    }

    /// Switches the disk when the test says so. Blocks until then.
    pub(crate) fn when_told(&self) -> Result<()> {
        let mut test = self.connect()?;
        let mut byte = [0];
        test.read_exact(&mut byte)?;
        // What is under way is awaited, and nothing is written that was not sent: as the power would leave it.
        dmsetup(&["suspend", "--nolockfs", "--noflush", NAME])?;
        let loses = format!("0 {EVER} 1 {}", self.feature);
        dmsetup(&["load", NAME, "--table", &table(&loses)?])?;
        dmsetup(&["resume", NAME])?;
        test.write_all(&byte)?;
        Ok(())
    }

    fn connect(&self) -> Result<TcpStream> {
        let mut tries = 0;
        loop {
            match TcpStream::connect(&self.test) {
                Err(_) if tries < TRIES => std::thread::sleep(PAUSE),
                connected => {
                    return connected.with_context(|| format!("can't reach the test at {}", self.test));
                }
            }
            tries += 1;
        }
    }
}

/// The layer's table, which is up and down for so many seconds in turn.
fn table(intervals: &str) -> Result<String> {
    let sectors = std::fs::read_to_string("/sys/class/block/vdb/size")?;
    Ok(format!("0 {} flakey /dev/vdb 0 {intervals}", sectors.trim()))
}

fn dmsetup(args: &[&str]) -> Result<()> {
    let status = Command::new(DMSETUP)
        .args(args)
        .env("LD_LIBRARY_PATH", "/programs/lib64")
        // There is no udev to wait for.
        .env("DM_DISABLE_UDEV", "1")
        .status()
        .with_context(|| format!("can't run {DMSETUP}"))?;
    ensure!(status.success(), "dmsetup {args:?} fails, {status}");
    Ok(())
}
