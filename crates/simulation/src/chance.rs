//! The only source of randomness: one generator, one seed, an algorithm that doesn't change.

use std::ops::Range;

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};

/// Draws of one run.
#[derive(Debug)]
pub(crate) struct Chance(Xoshiro256PlusPlus);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    /// A number in `range`, which is not empty.
    pub(crate) fn pick(&mut self, range: Range<u64>) -> u64 {
        range.start + self.0.next_u64() % (range.end - range.start)
    }

    /// An index below `len`, which is not 0.
    pub(crate) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.pick(0..len as u64)).expect("it is below a usize")
    }

    /// True in `per_mille` of a thousand cases.
    pub(crate) fn is(&mut self, per_mille: u64) -> bool {
        self.pick(0..1000) < per_mille
    }
}
