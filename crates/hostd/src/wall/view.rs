//! What a program sees of the host: a root directory of its own, in namespaces of its own. There is no /proc and no /sys
//! in it, nothing but its own directory can be written to, and what is not named is not there.

use std::fmt::Display;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, RawMode, Uid, chownat, mkdirat, mknodat, openat, symlinkat,
};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount_change, mount_move,
    move_mount, open_tree, unmount,
};
use rustix::process::{chdir, chroot, fchdir, pivot_root};
use rustix::system::sethostname;
use rustix::thread::{ThreadNameSpaceType, UnshareFlags, move_into_thread_name_spaces, unshare_unsafe};

use super::idmap;
use super::order::{Cell, Network, Showing, Shown};
use super::tap;

/// How much the root directory itself may take: names and places to mount at.
const ROOT_SIZE: &str = "1m";

/// What the host is called in it.
const HOST_NAME: &[u8] = b"vm";

/// What failed, and why.
pub(super) type Failed = (String, io::Error);

fn at<E: Into<io::Error>>(what: impl Display) -> impl FnOnce(E) -> Failed {
    move |error| (what.to_string(), error.into())
}

/// Puts this process, which must have one thread and be root, behind `cell`'s walls. `own` is its own directory.
pub(super) fn enter(cell: &Cell, own: &Path) -> Result<(), Failed> {
    let mut flags = UnshareFlags::NEWNS | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    match &cell.network {
        Network::Own => flags |= UnshareFlags::NEWNET,
        Network::Host(taps) => {
            for name in taps {
                tap::give(name, cell.user).map_err(at(format_args!("the TAP device {name}")))?;
            }
        }
    }
    // SAFETY: no descriptors are unshared, so none that others hold come to mean something else.
    unsafe { unshare_unsafe(flags) }.map_err(at("namespaces of its own"))?;
    sethostname(HOST_NAME).map_err(at("a host name of its own"))?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).map_err(at("mounts of its own"))?;

    let own_shown = Shown::data(own, true);
    let mut shown: Vec<&Shown> = cell.shown.iter().chain([&own_shown]).collect();
    // What is in another one comes after it.
    shown.sort_by_key(|shown| shown.path.components().count());
    let mut places = Vec::new();
    for shown in shown {
        places.extend(
            take(shown, cell.user)
                .map_err(at(shown.path.display()))?
                .map(|tree| (&shown.path, tree)),
        );
    }
    let devices = devices(cell).map_err(at("/dev"))?;

    let root = root().map_err(at("a root directory of its own"))?;
    move_mount(
        root.as_fd(),
        "",
        CWD,
        own,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .map_err(at("its root directory"))?;
    fchdir(&root).map_err(at("its root directory"))?;
    for (path, place) in places {
        put(&root, path, place).map_err(at(path.display()))?;
    }
    make_devices(&root, cell.user, &devices).map_err(at("/dev"))?;
    idmap::set(&root, libc::MOUNT_ATTR_RDONLY, None).map_err(at("its root directory"))?;
    change_root().map_err(at("its root directory"))
}

/// Lets the program of `showing` find a file that it was not started with, or not any more. This process, which must have one
/// thread and be root, is in that program's mount namespace afterwards.
pub(super) fn show(showing: &Showing) -> Result<(), Failed> {
    let Showing {
        process,
        user,
        file,
        there,
    } = showing;
    let place = match there {
        true => take(file, *user).map_err(at(file.path.display()))?,
        false => None,
    };
    let gone = || io::Error::from(io::ErrorKind::NotFound);
    let process = process.open().and_then(|open| open.ok_or_else(gone));
    let process = process.map_err(at("its process"))?;
    // Whose root directory another thread shares is let into no other mounts.
    // SAFETY: no descriptors are unshared.
    unsafe { unshare_unsafe(UnshareFlags::FS) }.map_err(at("its mounts"))?;
    move_into_thread_name_spaces(process.as_fd(), ThreadNameSpaceType::MOUNT).map_err(at("its mounts"))?;
    let within = || {
        let root = openat(
            CWD,
            "/",
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        // Taken away also before it is put there: then it is there once, however often this is done.
        while unmount(&file.path, UnmountFlags::DETACH).is_ok() {}
        idmap::unset(&root, libc::MOUNT_ATTR_RDONLY)?;
        let put = place.map_or(Ok(()), |place| put(&root, &file.path, place));
        idmap::set(&root, libc::MOUNT_ATTR_RDONLY, None)?;
        put
    };
    within().map_err(at(file.path.display()))
}

/// What is mounted or linked at a path.
enum Place {
    File(OwnedFd),
    Directory(OwnedFd),
    Link(PathBuf),
}

/// A copy of what is there, that can be mounted elsewhere; `None` where there is nothing.
fn take(shown: &Shown, user: u32) -> io::Result<Option<Place>> {
    let metadata = match std::fs::symlink_metadata(&shown.path) {
        Ok(metadata) if metadata.is_symlink() => {
            return Ok(Some(Place::Link(std::fs::read_link(&shown.path)?)));
        }
        Ok(metadata) => metadata,
        // Not each host has all of what programs may be in. What a machine can't do without was opened before.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let tree = open_tree(
        CWD,
        &shown.path,
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
    )?;
    let mut attributes = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    if !shown.write {
        attributes |= libc::MOUNT_ATTR_RDONLY;
    }
    if !shown.execute {
        attributes |= libc::MOUNT_ATTR_NOEXEC;
    }
    // What only its owner or its group may use is shown as this user's; on the disk nothing changes.
    let everybody: RawMode = if shown.write { 0o006 } else { 0o004 };
    let usable = metadata.uid() == user || metadata.mode() & everybody == everybody;
    let owner = (!usable)
        .then(|| idmap::namespace(metadata.uid(), metadata.gid(), user))
        .transpose()?;
    idmap::set(&tree, attributes, owner.as_ref()).map_err(|error| match owner {
        Some(_) if error.raw_os_error() == Some(libc::EINVAL) => io::Error::other(
            "its file system can't show it as another user's (no idmapped mounts); put it on ext4, XFS or btrfs, or let \
             everybody read it, and write to it where it is written to",
        ),
        _ => error,
    })?;
    Ok(Some(match metadata.is_dir() {
        true => Place::Directory(tree),
        false => Place::File(tree),
    }))
}

fn root() -> io::Result<OwnedFd> {
    let tmpfs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(tmpfs.as_fd(), "size", ROOT_SIZE)?;
    fsconfig_set_string(tmpfs.as_fd(), "mode", "0755")?;
    fsconfig_create(tmpfs.as_fd())?;
    let flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    Ok(fsmount(tmpfs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, flags)?)
}

/// Puts `place` at the absolute `path` beneath `root`, which is the working directory.
fn put(root: &OwnedFd, path: &Path, place: Place) -> io::Result<()> {
    let path = path.strip_prefix("/").unwrap_or(path);
    if let Some(parent) = path.parent() {
        make_directories(root, parent)?;
    }
    let tree = match place {
        Place::Link(target) => return unless_there(symlinkat(target, root, path)),
        Place::Directory(tree) => {
            unless_there(mkdirat(root, path, Mode::from_raw_mode(0o755)))?;
            tree
        }
        Place::File(tree) => {
            let made = openat(
                root,
                path,
                OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC,
                Mode::from_raw_mode(0o444),
            );
            unless_there(made.map(drop))?;
            tree
        }
    };
    Ok(move_mount(
        tree.as_fd(),
        "",
        root.as_fd(),
        path,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )?)
}

fn make_directories(root: &OwnedFd, path: &Path) -> io::Result<()> {
    let mut made = PathBuf::new();
    for part in path.components() {
        made.push(part);
        unless_there(mkdirat(root, &made, Mode::from_raw_mode(0o755)))?;
    }
    Ok(())
}

/// Something that is there already, on the host, needs no place to be made.
fn unless_there(made: rustix::io::Result<()>) -> io::Result<()> {
    match made {
        Err(Errno::EXIST) => Ok(()),
        made => Ok(made?),
    }
}

/// The devices that there are on the host, and their numbers.
fn devices(cell: &Cell) -> io::Result<Vec<(&Path, u64)>> {
    let mut devices = Vec::new();
    for path in &cell.devices {
        match std::fs::metadata(path) {
            Ok(metadata) => devices.push((path.as_path(), metadata.rdev())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(devices)
}

fn make_devices(root: &OwnedFd, user: u32, devices: &[(&Path, u64)]) -> io::Result<()> {
    for (path, number) in devices {
        let path = path.strip_prefix("/").unwrap_or(path);
        if let Some(parent) = path.parent() {
            make_directories(root, parent)?;
        }
        mknodat(
            root,
            path,
            FileType::CharacterDevice,
            Mode::from_raw_mode(0o600),
            *number,
        )?;
        let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
        chownat(root, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

/// Makes the working directory the root directory, and lets go of what was it before.
fn change_root() -> io::Result<()> {
    match pivot_root(".", ".") {
        Ok(()) => unmount(".", UnmountFlags::DETACH)?,
        // The host runs from its initial RAM file system, which nothing can take the place of; it is covered.
        Err(Errno::INVAL) => {
            mount_move(".", "/")?;
            chroot(".")?;
        }
        Err(error) => return Err(error.into()),
    }
    Ok(chdir("/")?)
}
