//! Attributes of a mount that is in no directory yet, among them whose its files are: the only calls of the kernel here
//! that no library wraps.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Sets `attributes` on `mount`; with `owner`, its files are shown as that namespace maps them.
pub(super) fn set(mount: &OwnedFd, attributes: u64, owner: Option<&File>) -> io::Result<()> {
    change(
        mount,
        libc::mount_attr {
            attr_set: attributes | owner.map_or(0, |_| libc::MOUNT_ATTR_IDMAP),
            attr_clr: 0,
            // What is mounted on the host afterwards is no business of whoever is shown this.
            propagation: libc::MS_PRIVATE,
            userns_fd: owner.map_or(0, |owner| u64::from(owner.as_raw_fd().unsigned_abs())),
        },
    )
}

/// Takes `attributes` off `mount`.
pub(super) fn unset(mount: &OwnedFd, attributes: u64) -> io::Result<()> {
    change(
        mount,
        libc::mount_attr {
            attr_set: 0,
            attr_clr: attributes,
            propagation: 0,
            userns_fd: 0,
        },
    )
}

fn change(mount: &OwnedFd, attributes: libc::mount_attr) -> io::Result<()> {
    // SAFETY: the empty path and the structure outlive the call, which is told the structure's size.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A user namespace in which what is `uid`'s and `gid`'s is `user`'s.
pub(super) fn namespace(uid: u32, gid: u32, user: u32) -> io::Result<File> {
    let (made, making) = io::pipe()?;
    let (end, ending) = io::pipe()?;
    // SAFETY: this process has one thread, so its child may do all that it may do.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            drop((made, ending));
            std::process::exit(i32::from(hold(making, end).is_err()));
        }
        pid => {
            drop((making, end));
            let namespace = open(pid, made, uid, gid, user);
            drop(ending);
            // SAFETY: waits for the child from above, and asks for no status.
            unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
            namespace
        }
    }
}

/// The child: makes a namespace, and lives until its parent has it.
fn hold(making: PipeWriter, mut end: PipeReader) -> io::Result<()> {
    // SAFETY: no descriptors are unshared.
    unsafe { unshare_unsafe(UnshareFlags::NEWUSER) }?;
    drop(making);
    end.read(&mut [0]).map(drop)
}

fn open(child: i32, mut made: PipeReader, uid: u32, gid: u32, user: u32) -> io::Result<File> {
    // Ends when the child has made it, or has failed to: then what follows says so.
    io::copy(&mut made, &mut io::sink())?;
    std::fs::write(format!("/proc/{child}/uid_map"), format!("{uid} {user} 1"))?;
    std::fs::write(format!("/proc/{child}/gid_map"), format!("{gid} {user} 1"))?;
    File::open(format!("/proc/{child}/ns/user"))
}
