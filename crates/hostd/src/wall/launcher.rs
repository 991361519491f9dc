//! `chv-hostd launch`: starts one hypervisor behind its wall. A process of its own, because what it does is not to be
//! done by a program of many threads, and because nobody who starts a hypervisor stays its parent:
//!
//! ```text
//! daemon ── launcher ── keeper ── hypervisor
//!           ends at     waits for its end,
//!           once        and notes it
//! ```
//!
//! So a hypervisor is no child of the daemon, and how it ended is known also when no daemon ran meanwhile. What came of
//! it is told on standard output, which is closed when the hypervisor's program has begun: `runs <pid> <start time>`
//! from the keeper, and `failed <why>` from whoever fails.
//!
//! It also lets a hypervisor that runs find a file that it is given later: `shown` is said when that is done.

use std::convert::Infallible;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{Pid, WaitId, WaitIdOptions, chdir, setsid, waitid};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout, stderr, stdin, stdout};

use super::order::{Order, Showing, Task};
use super::start::MOST_HANDED;
use super::{cgroup, end, user, view};
use crate::hypervisor::{Exit, Process, take_lock};

/// The first descriptor that is not one of the three standard ones.
const FIRST_OWN_FD: libc::c_uint = 3;

/// The kernel's flag, which the C library has as a number too small for it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// What of a launch failed, in words for people.
#[derive(Debug)]
struct Failed(String);

/// Says what failed.
fn at<E: Display>(what: impl Display) -> impl FnOnce(E) -> Failed {
    move |error| Failed(format!("{what}: {error}"))
}

/// The launcher's work. Must be called by a process of one thread.
pub fn main() -> ExitCode {
    match launch() {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed(why)) => {
            tell(stdout(), &why);
            ExitCode::FAILURE
        }
    }
}

fn launch() -> Result<(), Failed> {
    close_from(FIRST_OWN_FD).map_err(at("what the daemon has open"))?;
    let (text, handed) = received().map_err(at("the order"))?;
    let order = match serde_json::from_slice(&text).map_err(at("the order"))? {
        Task::Launch(order) => order,
        Task::Show(showing) => return show(&showing),
    };
    put_in_place(handed, &order.descriptors()).map_err(at("the order's descriptors"))?;
    match fork_into(order.keepers.as_deref())? {
        None => std::process::exit(match keep(&order) {
            Ok(()) => 0,
            Err(Failed(why)) => {
                tell(stdout(), &why);
                1
            }
        }),
        Some(_) => Ok(()),
    }
}

/// The task, and the descriptors that came with it.
fn received() -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_HANDED))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut text = vec![0; 4096];
    let got = recvmsg(
        stdin(),
        &mut [IoSliceMut::new(&mut text)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    text.truncate(got.bytes);
    let mut handed = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            handed.extend(fds);
        }
    }
    io::stdin().lock().read_to_end(&mut text)?;
    Ok((text, handed))
}

/// Gives what was handed over the numbers that it has in the daemon, which the order and its program's arguments name; open
/// also when another program is started.
fn put_in_place(handed: Vec<OwnedFd>, numbers: &[RawFd]) -> io::Result<()> {
    if handed.len() != numbers.len() {
        return Err(io::Error::other(format!(
            "{} came, not {}",
            handed.len(),
            numbers.len()
        )));
    }
    // First out of each other's way.
    let beyond = numbers.iter().max().map_or(0, |most| most + 1);
    let moved: Vec<OwnedFd> = handed
        .into_iter()
        .map(|fd| fcntl_dupfd_cloexec(&fd, beyond))
        .collect::<Result<_, _>>()?;
    for (fd, &number) in moved.iter().zip(numbers) {
        // SAFETY: takes no pointers, and nothing in this process has that number open: all was closed, and what came was
        // moved beyond it.
        if unsafe { libc::dup2(fd.as_raw_fd(), number) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

fn show(showing: &Showing) -> Result<(), Failed> {
    view::show(showing).map_err(|(what, error)| at(what)(error))?;
    rustix::io::write(stdout(), b"shown\n").map_err(at("standard output"))?;
    Ok(())
}

/// Starts the program, and waits for its end.
fn keep(order: &Order) -> Result<(), Failed> {
    setsid().map_err(at("a session of its own"))?;
    chdir("/").map_err(at("/"))?;
    let Some(pid) = fork_into(order.cgroup.as_deref())? else {
        // Replaced by the program that is started, this copy holds it no longer.
        let answer = fcntl_dupfd_cloexec(stdout(), FIRST_OWN_FD.cast_signed());
        let answer = answer.unwrap_or_else(|_| std::process::exit(1));
        let Err(Failed(why)) = become_program(order, answer.as_fd());
        tell(&answer, &why);
        std::process::exit(1);
    };
    let process = Process::of(pid.as_raw_nonzero().get().unsigned_abs())
        .map_err(at("/proc"))?
        .ok_or_else(|| Failed("it is not in /proc; is /proc mounted?".to_owned()))?;
    let runs = format!("runs {} {}\n", process.pid, process.start_time_ticks);
    // That nobody reads it is for the program to find out.
    let _ =
        File::from(stdout().try_clone_to_owned().map_err(at("standard output"))?).write_all(runs.as_bytes());
    let_go_of_everything().map_err(at("/dev/null"))?;
    // Not reaped before its end is noted: until then its number is its own.
    let exit = wait(pid, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
    let noted = end::write(&order.end, process, exit);
    wait(pid, WaitIdOptions::EXITED);
    noted.map_err(at(order.end.display()))
}

/// Becomes the program, behind its wall. Returns only when that fails.
fn become_program(order: &Order, answer: BorrowedFd<'_>) -> Result<Infallible, Failed> {
    setsid().map_err(at("a session of its own"))?;
    let null = File::open("/dev/null").map_err(at("/dev/null"))?;
    dup2_stdin(&null).map_err(at("standard input"))?;
    dup2_stdout(stderr()).map_err(at("standard output"))?;
    if let Some((input, output)) = order.serial {
        dup2_stdin(borrowed(input)).map_err(at("the serial port"))?;
        dup2_stdout(borrowed(output)).map_err(at("the serial port"))?;
        for end in [input, output] {
            fcntl_setfd(borrowed(end), FdFlags::CLOEXEC).map_err(at("the serial port"))?;
        }
    }
    take_lock(borrowed(order.lock)).map_err(at("the run directory's lock"))?;
    if nobody_reads(answer).map_err(at("standard output"))? {
        // The daemon is dead. The next one may have looked before the lock was taken: so nothing is started.
        return Err(Failed("the daemon has ended".to_owned()));
    }
    // Whatever keeps the daemon from being ended first when memory is short is not for a guest. There may be no such file.
    let _ = std::fs::write("/proc/self/oom_score_adj", "0");
    for &fd in &order.open {
        fcntl_setfd(borrowed(fd), FdFlags::empty()).map_err(at("a descriptor to keep"))?;
    }
    match &order.cell {
        Some(cell) => {
            view::enter(cell, &order.own).map_err(|(what, error)| at(what)(error))?;
            user::become_user(cell.user).map_err(at(format_args!("user {}", cell.user)))?;
        }
        None => {
            rustix::thread::set_no_new_privs(true).map_err(at("no new privileges"))?;
        }
    }
    chdir(&order.own).map_err(at(order.own.display()))?;
    let mut program = Command::new(&order.program);
    // What the daemon's environment holds, secrets perhaps, is none of the hypervisor's business.
    let error = program.arg0(&order.arg0).args(&order.args).env_clear().exec();
    Err(at(order.program.display())(error))
}

/// A copy of this process, in `cgroup`. It is made there: to move a process takes the kernel 10 ms, in which no other one
/// is moved.
fn fork_into(cgroup: Option<&Path>) -> Result<Option<Pid>, Failed> {
    let Some(path) = cgroup else { return fork() };
    let dir = File::open(path).map_err(at(path.display()))?;
    // SAFETY: all of its fields are numbers, for which zero says "not this".
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = CLONE_INTO_CGROUP;
    args.exit_signal = libc::SIGCHLD as u64;
    args.cgroup = dir.as_raw_fd() as u64;
    // SAFETY: the arguments live through the call, and ask for a copy as fork makes it; this process has one thread.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of_val(&args)) };
    match pid {
        -1 => {}
        pid => return Ok(i32::try_from(pid).ok().and_then(Pid::from_raw)),
    }
    // A container may refuse the call, which older kernels lack.
    let copy = fork()?;
    if copy.is_none() {
        cgroup::enter(path).map_err(at(path.display()))?;
    }
    Ok(copy)
}

fn fork() -> Result<Option<Pid>, Failed> {
    // SAFETY: this process has one thread, so its child may do all that it may do.
    match unsafe { libc::fork() } {
        -1 => Err(at("fork")(io::Error::last_os_error())),
        pid => Ok(Pid::from_raw(pid)),
    }
}

/// A descriptor that the daemon opened for this process.
fn borrowed<'a>(fd: RawFd) -> BorrowedFd<'a> {
    // SAFETY: the daemon left it open for this process, which closes none of those.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// Whether the other end of the pipe `answer` is closed.
fn nobody_reads(answer: BorrowedFd<'_>) -> io::Result<bool> {
    let mut fds = [PollFd::from_borrowed_fd(answer, PollFlags::empty())];
    poll(&mut fds, Some(&Timespec::default()))?;
    Ok(fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP))
}

fn tell(answer: impl AsFd, why: &str) {
    let line = format!("failed {}\n", why.replace('\n', " "));
    // There is nobody else to tell it to.
    let _ = rustix::io::write(answer, line.as_bytes());
}

/// Closes whatever the daemon or the hypervisor could miss.
fn let_go_of_everything() -> io::Result<()> {
    let null: OwnedFd = File::options().read(true).write(true).open("/dev/null")?.into();
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    drop(null);
    close_from(FIRST_OWN_FD)
}

/// Closes every descriptor from `first` on, none of which anything in this process uses again.
fn close_from(first: libc::c_uint) -> io::Result<()> {
    // SAFETY: takes no pointers; see above.
    match unsafe { libc::close_range(first, libc::c_uint::MAX, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn wait(pid: Pid, options: WaitIdOptions) -> Exit {
    loop {
        match waitid(WaitId::Pid(pid), options) {
            Ok(Some(status)) => {
                return match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => Exit::Code(code),
                    (None, Some(signal)) => Exit::Signal(signal),
                    (None, None) => Exit::Unobserved,
                };
            }
            Err(rustix::io::Errno::INTR) | Ok(None) => {}
            Err(_) => return Exit::Unobserved,
        }
    }
}
