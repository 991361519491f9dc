//! The rig's disks keep what was flushed and lose what was not: otherwise no test here could fail.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use anyhow::{Result, ensure};
use chv_e2e::faults::{Disks, in_own_namespaces};

const PAGE: usize = 4096;

#[test]
fn given_flushed_and_unflushed_writes_when_the_power_fails_then_only_the_flushed_are_sure_to_be_there_needs_loop()
-> Result<()> {
    in_own_namespaces(async || {
        let temporary = tempfile::tempdir()?;
        let place = temporary.path().join("place");
        let mut disks = Disks::mount(temporary.path().join("disks"), vec![place.clone()])?;

        // Given a file that lasts, one that is only written, and one that was sent to the device and no further.
        let lasting = place.join("lasting");
        File::create(&lasting)?.sync_all()?;
        for name in ["flushed", "written", "sent"] {
            let mut file = File::create(place.join(name))?;
            file.write_all(&[0; PAGE])?;
            file.sync_all()?;
        }
        File::open(&place)?.sync_all()?;
        let over = |name: &str| OpenOptions::new().write(true).open(place.join(name));
        let flushed = over("flushed")?;
        flushed.write_all_at(&[1; PAGE], 0)?;
        flushed.sync_data()?;
        over("written")?.write_all_at(&[1; PAGE], 0)?;
        let sent = over("sent")?;
        sent.write_all_at(&[1; PAGE], 0)?;
        let wait = libc::SYNC_FILE_RANGE_WAIT_BEFORE
            | libc::SYNC_FILE_RANGE_WRITE
            | libc::SYNC_FILE_RANGE_WAIT_AFTER;
        // SAFETY: takes no pointers; the file is open.
        let done = unsafe { libc::sync_file_range(sent.as_raw_fd(), 0, 0, wait) };
        ensure!(done == 0, "{}", std::io::Error::last_os_error());

        // When the power fails.
        let cut = disks.cut()?;
        drop((flushed, sent));
        disks.put_in_place(cut)?;

        // Then it is as each was flushed last.
        let byte = |name: &str| std::fs::read(place.join(name)).map(|bytes| bytes[0]);
        ensure!(lasting.exists(), "a flushed file is gone");
        ensure!(byte("flushed")? == 1, "a flushed write is gone");
        ensure!(byte("written")? == 0, "a write that nobody flushed is there");
        ensure!(
            byte("sent")? == 0,
            "a write without a flush of the disk's cache is there"
        );
        Ok(())
    })
}
