//! Boots one probe guest and waits until it says that it is ready. Leaves nothing of it behind.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chv_domain::spec::{Boot, Cmdline, CpuSpec, HostPath, MemorySpec};
use chv_domain::{HypervisorKind, Memory, Vcpus, VmId, VmSpec};
use tokio::time::Instant;

use super::{ProbeGuest, on_a_blocking_thread};
use crate::hypervisor::{
    AgentChannel, Attached, ConsoleOutput, FromGuest, Hypervisor, Instance, Machine, MachineFiles, Making,
    Payload, RunDir, last_lines,
};
use crate::wall::{Wall, Walls};

const MEMORY_MIB: u32 = 256;

/// The probe guest's kernel ends when it panics, instead of standing still.
const CMDLINE: &str = "panic=-1";

/// What uOS says on its console when it is ready.
const READY: &[u8] = b"chv-uos: ready";

/// What a kernel says when it gives up.
const PANIC: &str = "Kernel panic";

/// How much of the console is looked back on, in bytes, and how many lines of it are told.
const REMEMBERED: (usize, usize) = (8192, 3);

/// How long a guest may take.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// To write the first byte on its console.
    silent: Duration,
    /// To be ready.
    ready: Duration,
}

/// Where the guest's processor, or the host's own, is emulated: it takes 2 seconds on an idle machine, and 10 where both
/// a host and its KVM are; the host may be busy.
const EMULATED: Limits = Limits {
    silent: Duration::from_secs(60),
    ready: Duration::from_secs(120),
};

impl Limits {
    fn of(kind: HypervisorKind) -> Self {
        match kind {
            HypervisorKind::QemuTcg => EMULATED,
            _ if host_is_emulated() => EMULATED,
            HypervisorKind::CloudHypervisor | HypervisorKind::QemuKvm | HypervisorKind::Firecracker => Self {
                silent: Duration::from_secs(5),
                ready: Duration::from_secs(15),
            },
        }
    }
}

/// Whether this host is a machine that QEMU emulates, as its processor says.
fn host_is_emulated() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        /// Where processors of virtual machines name what runs them.
        const LEAF: u32 = 0x4000_0000;
        /// What QEMU's emulator calls itself there.
        const NAME: &[u8; 12] = b"TCGTCGTCGTCG";
        // Safe or not, as the compiler's age has it.
        #[allow(unused_unsafe)]
        // SAFETY: every x86-64 has the instruction.
        let found = unsafe { std::arch::x86_64::__cpuid(LEAF) };
        [found.ebx, found.ecx, found.edx].map(u32::to_le_bytes).concat() == NAME
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Boots `guest` in `dir`; the time until it was ready, or why it wasn't.
pub(super) async fn boot(
    hypervisor: &dyn Hypervisor,
    guest: &ProbeGuest,
    dir: &Path,
    walls: &Walls,
) -> Result<Duration, String> {
    let machine = machine(guest, dir, walls.of_probe(hypervisor.kind()))?;
    let in_dir = |error: io::Error| format!("{}: {error}", dir.display());
    end_leftover(hypervisor, &machine.run_dir).await?;
    clear(dir).await.map_err(in_dir)?;

    let began = Instant::now();
    let booted = match hypervisor.launch(&machine).await {
        Err(error) => Err(error.to_string()),
        Ok(instance) => {
            let leash = Leash(instance);
            let booted = until_ready(hypervisor, &leash.0, began).await;
            // The outcome stands, whatever is left: the next probe ends it.
            if let Err(error) = hypervisor.kill(&leash.0).await {
                tracing::warn!(%error, "a probe guest can't be ended");
            }
            booted
        }
    };
    clear(dir).await.map_err(in_dir)?;
    if let Err(error) = walls.clear(machine.vm) {
        tracing::warn!(%error, "the cgroup of a probe guest stays");
    }
    booted
}

/// Kills the guest when a probe is given up.
struct Leash(Instance);

impl Drop for Leash {
    fn drop(&mut self) {
        if let Err(error) = self.0.process.kill() {
            tracing::warn!(pid = self.0.process.pid, %error, "a probe guest can't be ended");
        }
    }
}

fn machine(guest: &ProbeGuest, dir: &Path, wall: Wall) -> Result<Machine, String> {
    let run_dir = RunDir::new(dir).map_err(|error| error.to_string())?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_nanos();
    let number = (now << 32) ^ u128::from(std::process::id());
    Ok(Machine {
        // Never one of the log's, for those begin with a time in milliseconds.
        vm: VmId::from_bytes(number.to_be_bytes()),
        run_dir,
        spec: Arc::new(spec(guest)?),
        files: MachineFiles {
            payload: Payload::Kernel {
                kernel: guest.kernel.clone(),
                initramfs: Some(guest.initramfs.clone()),
            },
            disks: Vec::new(),
            seed: None,
            attached: Attached::default(),
        },
        wall,
        making: Making::default(),
    })
}

fn spec(guest: &ProbeGuest) -> Result<VmSpec, String> {
    let path =
        |path: &Path| HostPath::try_from(path.display().to_string()).map_err(|error| error.to_string());
    let vcpus = Vcpus::new(1).map_err(|error| error.to_string())?;
    let memory = Memory::from_mib(MEMORY_MIB).map_err(|error| error.to_string())?;
    let boot = Boot {
        initramfs: Some(path(&guest.initramfs)?),
        cmdline: Cmdline::try_from(CMDLINE.to_owned()).map_err(|error| error.to_string())?,
        ..Boot::kernel(path(&guest.kernel)?)
    };
    Ok(VmSpec::new(CpuSpec::of(vcpus), MemorySpec::of(memory), boot))
}

/// A daemon that was killed while it probed left its guest running.
async fn end_leftover(hypervisor: &dyn Hypervisor, run_dir: &RunDir) -> Result<(), String> {
    match Instance::find(run_dir.clone()).await {
        Ok(None) => Ok(()),
        Ok(Some(leftover)) => hypervisor
            .kill(&leftover)
            .await
            .map(drop)
            .map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

async fn clear(dir: &Path) -> io::Result<()> {
    let dir = dir.to_owned();
    on_a_blocking_thread(move || match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    })
    .await
}

async fn until_ready(
    hypervisor: &dyn Hypervisor,
    instance: &Instance,
    began: Instant,
) -> Result<Duration, String> {
    let limits = Limits::of(instance.kind);
    let mut agent = AgentChannel::open(instance)
        .await
        .map_err(|error| error.to_string())?;
    let mut console = ConsoleOutput::open(instance)
        .await
        .map_err(|error| format!("its console: {error}"))?;
    let mut heard = Heard::default();
    let mut chunk = [0; 1024];
    let mut console_open = true;
    loop {
        let limit = if heard.0.is_empty() {
            limits.silent
        } else {
            limits.ready
        };
        tokio::select! {
            message = agent.next() => match message {
                Ok(FromGuest::Ready(_)) => return Ok(began.elapsed()),
                Ok(_) => {}
                // The process has ended, which is seen below.
                Err(_) => return Err(ended(hypervisor, instance, &heard).await),
            },
            read = console.read(&mut chunk), if console_open => match read {
                Ok(0) | Err(_) => console_open = false,
                Ok(length) => {
                    heard.more(&chunk[..length]);
                    if heard.ready() {
                        return Ok(began.elapsed());
                    }
                    // It may boot anew in place, for ever.
                    if heard.panicked() {
                        return Err(format!("its kernel gave up before the guest was ready; {}", heard.tail()));
                    }
                }
            },
            () = tokio::time::sleep_until(began + limit) => return Err(heard.too_late(limit)),
        }
    }
}

async fn ended(hypervisor: &dyn Hypervisor, instance: &Instance, heard: &Heard) -> String {
    let exit = match hypervisor.exited(instance).await {
        Ok(exit) => exit.to_string(),
        Err(error) => error.to_string(),
    };
    let words = instance.last_words().await;
    format!(
        "the hypervisor {exit} before the guest was ready; its last words: {words}; {}",
        heard.tail()
    )
}

/// What a guest wrote on its console, the end of it.
#[derive(Debug, Default)]
struct Heard(Vec<u8>);

impl Heard {
    fn more(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        let forgotten = self.0.len().saturating_sub(REMEMBERED.0);
        self.0.drain(..forgotten);
    }

    fn ready(&self) -> bool {
        self.0.windows(READY.len()).any(|window| window == READY)
    }

    /// Whether the guest's kernel has said, in a whole line, that it gave up.
    fn panicked(&self) -> bool {
        let text = String::from_utf8_lossy(&self.0);
        text.split_inclusive('\n')
            .any(|line| line.contains(PANIC) && line.ends_with('\n'))
    }

    /// Why the guest's kernel gave up, when it said so; else the last lines.
    fn tail(&self) -> String {
        let text = String::from_utf8_lossy(&self.0);
        match text.lines().find(|line| line.contains(PANIC)) {
            Some(panic) => format!("its console: {}", panic.trim()),
            None => format!("the last of its console: {}", last_lines(&text, REMEMBERED.1)),
        }
    }

    fn too_late(&self, limit: Duration) -> String {
        if self.0.is_empty() {
            format!("the guest wrote nothing on its console within {limit:?}: its kernel does not run")
        } else {
            format!("the guest was not ready within {limit:?}; {}", self.tail())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_console_in_pieces_then_ready_is_heard_and_little_is_remembered() {
        let mut heard = Heard::default();
        assert!(heard.too_late(Duration::from_secs(5)).contains("nothing"));
        heard.more(&[b'x'; 10_000]);
        heard.more(b"\nchv-uos: re");
        assert!(!heard.ready());
        heard.more(b"ady uptime_ms=1\n");
        assert!(heard.ready());
        assert!(heard.0.len() <= REMEMBERED.0);
        assert!(
            heard.tail().ends_with("chv-uos: ready uptime_ms=1"),
            "{}",
            heard.tail()
        );
    }
}
