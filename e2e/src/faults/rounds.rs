//! How long a fault test goes on, and by which seed: a few rounds by a seed that never changes, or, in the long form, for as
//! many minutes as `CHV_FAULTS_MINUTES` says, by a seed of its own. `CHV_FAULTS_SEED` sets the seed of either.

use std::time::{Duration, Instant};

/// The seed of the short form.
const SEED: u64 = 2_026;

/// The rounds of a test.
#[derive(Debug, Clone)]
pub struct Rounds {
    short: u64,
    until: Option<Instant>,
    /// How many were begun.
    begun: u64,
    seed: u64,
}

impl Rounds {
    /// `short` rounds, or as many as there is time for in the long form. Says by which seed.
    pub fn of(short: u64) -> Self {
        let minutes = setting("CHV_FAULTS_MINUTES");
        let otherwise = if minutes.is_some() { rand::random() } else { SEED };
        let seed = setting("CHV_FAULTS_SEED").unwrap_or(otherwise);
        println!("the seed is {seed}");
        let until = minutes.map(|minutes| Instant::now() + Duration::from_secs(minutes * 60));
        let begun = 0;
        Self {
            short,
            until,
            begun,
            seed,
        }
    }

    /// What every random choice of the test comes from.
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// Whether there is another round. It is begun then.
    pub fn begin_another(&mut self) -> bool {
        let another = match self.until {
            Some(until) => self.begun == 0 || Instant::now() < until,
            None => self.begun < self.short,
        };
        self.begun += u64::from(another);
        another
    }

    /// How many were begun.
    pub const fn begun(&self) -> u64 {
        self.begun
    }
}

fn setting(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}
