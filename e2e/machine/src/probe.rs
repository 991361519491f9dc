//! Shows what a cut of the power takes from this machine's disk: three files of zeros are there before; each is
//! written over, and brought less far than the one before it.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use anyhow::{Result, ensure};

const FILES: [&str; 3] = ["flushed", "sent", "written"];

/// Writes ones over the zeros, and waits for the power to be cut.
pub(crate) fn write() -> Result<()> {
    let [flushed, sent, written] = FILES.map(|name| OpenOptions::new().write(true).open(path(name)));
    let (flushed, sent, written) = (flushed?, sent?, written?);
    over(&flushed)?;
    flushed.sync_data()?;
    over(&sent)?;
    send(&sent)?;
    over(&written)?;
    println!("probe: cut now");
    loop {
        std::thread::park();
    }
}

/// Says what is in each file.
pub(crate) fn show() -> Result<()> {
    for name in FILES {
        println!("probe: {name}={}", std::fs::read(path(name))?[0]);
    }
    println!("probe: all shown");
    Ok(())
}

fn path(name: &str) -> String {
    format!("/data/{name}")
}

fn over(file: &File) -> Result<()> {
    Ok(file.write_all_at(&[1; 4096], 0)?)
}

/// To the device, and no further.
fn send(file: &File) -> Result<()> {
    let wait =
        libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    // SAFETY: takes no pointers; the file is open.
    let done = unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, wait) };
    ensure!(done == 0, "{}", std::io::Error::last_os_error());
    Ok(())
}
