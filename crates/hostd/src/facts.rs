//! What this host offers: how much, from the machine or as its operator says.

use std::io;

use chv_domain::{Capacity, HostFacts, Memory};

use crate::probe::Probed;
use crate::wall::Walls;

/// Virtual CPUs that are offered for each core: guests are rarely all busy at once.
const OVER_COMMIT: u32 = 4;

/// Memory that is kept for the host itself, in MiB. Guests' memory is never over-committed.
const KEPT_MIB: u64 = 512;

/// What the operator says that the host offers, instead of what it finds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offer {
    /// Virtual CPUs.
    pub vcpus: Option<u32>,
    /// Memory.
    pub memory: Option<Memory>,
}

/// What the host offers.
pub fn capacity(offer: Offer) -> io::Result<Capacity> {
    let vcpus = match offer.vcpus {
        Some(vcpus) => vcpus,
        None => u32::try_from(cores()?)
            .unwrap_or(u32::MAX)
            .saturating_mul(OVER_COMMIT),
    };
    let memory_mib = match offer.memory {
        Some(memory) => u64::from(memory.mib()),
        None => total_mib(&std::fs::read_to_string("/proc/meminfo")?)?.saturating_sub(KEPT_MIB),
    };
    Ok(Capacity { vcpus, memory_mib })
}

/// The cores that this daemon may use.
pub fn cores() -> io::Result<usize> {
    std::thread::available_parallelism().map(std::num::NonZeroUsize::get)
}

/// What to register: the hypervisors that were seen to run guests, the preferred first, and what walls lack.
pub fn facts(capacity: Capacity, probed: &[Probed], walls: &Walls) -> HostFacts {
    HostFacts {
        capacity,
        hypervisors: probed.iter().filter_map(|probed| probed.report.facts()).collect(),
        daemon: env!("CARGO_PKG_VERSION").to_owned(),
        missing: walls.missing().to_vec(),
    }
}

fn total_mib(meminfo: &str) -> io::Result<u64> {
    let kib = meminfo.lines().find_map(|line| {
        line.strip_prefix("MemTotal:")?
            .trim()
            .strip_suffix(" kB")?
            .parse::<u64>()
            .ok()
    });
    kib.map(|kib| kib >> 10).ok_or_else(|| {
        io::Error::other("/proc/meminfo has no MemTotal; say what to offer with --offer-memory")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_machine_then_its_cores_are_over_committed_and_its_memory_is_not() {
        assert_eq!(
            total_mib("MemTotal:        2097152 kB\nMemFree: 1 kB\n").unwrap(),
            2048
        );
        assert!(
            total_mib("MemFree: 1 kB")
                .unwrap_err()
                .to_string()
                .contains("--offer-memory")
        );
        let found = capacity(Offer::default()).unwrap();
        assert_eq!(found.vcpus as usize, 4 * cores().unwrap());
        assert!(found.memory_mib > 0);
    }

    #[test]
    fn given_an_offer_then_it_counts() {
        let offer = Offer {
            vcpus: Some(3),
            memory: Some(Memory::from_mib(100).unwrap()),
        };
        assert_eq!(
            capacity(offer).unwrap(),
            Capacity {
                vcpus: 3,
                memory_mib: 100
            }
        );
    }
}
