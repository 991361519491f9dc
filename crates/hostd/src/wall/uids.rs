//! Which user each VM's process is: of a range that the operator gives, never one for two VMs at once. Kept in the
//! ledger, and on the disk as the owner of the VM's own directory.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chv_domain::VmId;

/// The users that VMs' processes may be: of numbers from the first to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UidRange {
    first: u32,
    last: u32,
}

/// Users for VMs of the log's, and beside them these for the guests that check hypervisors.
const FOR_PROBES: u32 = 8;

/// The fewest users that a range may have.
const FEWEST: u32 = 2 * FOR_PROBES;

/// Users whom systemd's documentation names as nobody's, beyond those that useradd gives to people's containers.
impl Default for UidRange {
    fn default() -> Self {
        Self {
            first: 0x7000_0000,
            last: 0x7000_ffff,
        }
    }
}

impl fmt::Display for UidRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl FromStr for UidRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || format!("{text:?} is no range of users; write it as 200000-265535");
        let (first, last) = text.split_once('-').ok_or_else(form)?;
        let number = |text: &str| text.parse::<u32>().map_err(|_| form());
        let (first, last) = (number(first)?, number(last)?);
        match () {
            () if first < 1000 => Err("users below 1000 are the system's; begin at 1000 or above".to_owned()),
            () if last == u32::MAX => Err(format!("{last} is no user; end below it")),
            () if last < first || last - first + 1 < FEWEST => {
                Err(format!("{text} is too few users; give at least {FEWEST}"))
            }
            () => Ok(Self { first, last }),
        }
    }
}

/// No user is left for one more VM.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("all of the users {0} are VMs' already; give chv-hostd more with --vm-uids")]
pub(crate) struct NoneLeft(UidRange);

/// Which VM has which user.
#[derive(Debug)]
pub(crate) struct Uids {
    range: UidRange,
    taken: Mutex<BTreeMap<VmId, u32>>,
}

impl Uids {
    /// With those that are known to be taken.
    pub(crate) fn new(range: UidRange, taken: impl IntoIterator<Item = (VmId, u32)>) -> Self {
        Self {
            range,
            taken: Mutex::new(taken.into_iter().collect()),
        }
    }

    fn taken(&self) -> MutexGuard<'_, BTreeMap<VmId, u32>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The user of `vm`: the one that it has, or one that no other has, which is its from now on.
    pub(crate) fn take(&self, vm: VmId) -> Result<u32, NoneLeft> {
        let mut taken = self.taken();
        if let Some(uid) = taken.get(&vm) {
            return Ok(*uid);
        }
        let count = self.range.last - self.range.first + 1 - FOR_PROBES;
        // Begins anywhere, so that two daemons on one host that were given the same range rarely meet.
        let begin = u32::try_from(u128::from_be_bytes(vm.to_bytes()) % u128::from(count)).unwrap_or(0);
        let others: std::collections::BTreeSet<u32> = taken.values().copied().collect();
        let free = (0..count)
            .map(|step| self.range.first + (begin + step) % count)
            .find(|uid| !others.contains(uid))
            .ok_or(NoneLeft(self.range))?;
        taken.insert(vm, free);
        Ok(free)
    }

    /// Nothing of `vm` is left: its user may be another's.
    pub(crate) fn give_back(&self, vm: VmId) {
        self.taken().remove(&vm);
    }

    /// The user of the `number`th guest that checks a hypervisor.
    pub(crate) fn for_probe(&self, number: u32) -> u32 {
        self.range.last - number % FOR_PROBES
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn vm(number: u128) -> VmId {
        VmId::from_bytes(number.to_be_bytes())
    }

    proptest! {
        /// Whatever comes and goes, no two have the same, none has a probe's, and each keeps its own.
        #[test]
        fn given_vms_that_come_and_go_then_no_two_have_one_user(
            moves in prop::collection::vec((0u128..40, any::<bool>()), 0..200),
        ) {
            let range: UidRange = "200000-200031".parse().unwrap();
            let uids = Uids::new(range, []);
            let mut has = BTreeMap::new();
            for (number, comes) in moves {
                if comes {
                    match uids.take(vm(number)) {
                        Ok(uid) => {
                            prop_assert!((200_000..200_024).contains(&uid));
                            prop_assert_eq!(*has.entry(number).or_insert(uid), uid);
                        }
                        Err(_) => prop_assert_eq!(has.len(), 24),
                    }
                } else {
                    uids.give_back(vm(number));
                    has.remove(&number);
                }
                let distinct: std::collections::BTreeSet<_> = has.values().collect();
                prop_assert_eq!(distinct.len(), has.len());
            }
            prop_assert!((200_024..200_032).contains(&uids.for_probe(3)));
        }
    }

    #[test]
    fn given_users_that_are_taken_then_a_new_vm_gets_another_one() {
        let range: UidRange = "200000-200015".parse().unwrap();
        let uids = Uids::new(range, [(vm(1), 200_001)]);
        assert_eq!(uids.take(vm(1)), Ok(200_001));
        assert_ne!(uids.take(vm(9)), Ok(200_001));
    }

    #[test]
    fn given_a_range_then_it_is_read_back_and_a_bad_one_is_refused_with_what_to_do() {
        let range = UidRange::default();
        assert_eq!(range.to_string().parse(), Ok(range));
        for (text, word) in [
            ("200000", "write it as"),
            ("a-b", "write it as"),
            ("0-65535", "begin at 1000"),
            ("200010-200000", "at least"),
            ("200000-200003", "at least"),
            ("200000-4294967295", "end below"),
        ] {
            let error = text.parse::<UidRange>().unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
