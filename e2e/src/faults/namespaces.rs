//! A test in mount and network namespaces of its own: what it mounts and connects nobody else sees, and the kernel
//! removes it with the test's last process.

use anyhow::{Context, Result};

use super::system;

/// Runs `work` with a runtime of its own, all of whose threads and programs are in new namespaces. Loopback is up there,
/// and nothing else is.
///
/// # Errors
/// When the namespaces can't be had, which takes root; and those of `work`.
pub fn in_own_namespaces<T: Send>(work: impl AsyncFnOnce() -> Result<T> + Send) -> Result<T> {
    // Threads begin in the namespaces of the thread that starts them, so the runtime is made after the change.
    let alone = || {
        // SAFETY: takes no pointers; changes this thread alone, which ends below.
        let left = unsafe { libc::unshare(libc::CLONE_NEWNS | libc::CLONE_NEWNET) };
        if left != 0 {
            return Err(std::io::Error::last_os_error())
                .context("can't have own namespaces; this needs root");
        }
        system::run("mount", ["--make-rprivate", "/"])?;
        system::run("ip", ["link", "set", "lo", "up"])?;
        let runtime = tokio::runtime::Runtime::new().context("can't start a runtime")?;
        runtime.block_on(work())
    };
    std::thread::scope(|scope| {
        let thread = scope.spawn(alone);
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
