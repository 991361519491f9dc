//! The serial port of a Firecracker, which is its standard input and output: a FIFO that somebody may type into, and the
//! console's log. Both go on while no daemon runs, and nobody's absence holds the guest up.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::hypervisor::run_dir::RunDir;
use crate::hypervisor::spawn::remove_if_there;

/// Its two ends, for a new process in `run_dir`.
pub(in crate::hypervisor) fn ends(run_dir: &RunDir) -> io::Result<(File, File)> {
    let fifo = run_dir.console_input();
    remove_if_there(&fifo)?;
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    // Open for writing as well, it never ends. Firecracker reads what there is, and must not wait for more.
    let input = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(fifo)?;
    let output = OpenOptions::new()
        .create(true)
        .append(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(run_dir.console_log())?;
    Ok((input, output))
}
