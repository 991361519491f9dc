//! Whatever is ordered of a host's VMs, whenever its daemon dies and whatever its hypervisors do wrong: afterwards each VM is
//! what it should be, nothing more happens, none ever ran twice, and of what is deleted nothing is left. The daemon is the
//! real program; the hypervisor is the fake one.
//!
//! `CHV_STORM_SECONDS` is how long rounds are begun, and `CHV_STORM_SEED` the first round's seed. A round that fails is told
//! with its seed and made shorter, as far as the time goes; when it happened cannot be made to happen again exactly.

mod actions;
mod processes;
mod round;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use self::processes::Watch;

/// How long rounds are begun, when the environment doesn't say.
const SECONDS: u64 = 40;

/// Rounds at once: most of a round is waiting.
const LANES: u64 = 3;

/// How long a round that fails may be made shorter.
const SHRINK_LIMIT: Duration = Duration::from_secs(60);

/// The most that happens in a round.
const MOST_ACTIONS: usize = 40;

fn number(variable: &str) -> Option<u64> {
    Some(std::env::var(variable).ok()?.parse().expect("a number"))
}

#[test]
fn given_any_orders_faults_and_deaths_when_they_are_over_then_all_is_as_it_should_be() {
    let until = Instant::now() + Duration::from_secs(number("CHV_STORM_SECONDS").unwrap_or(SECONDS));
    let first = number("CHV_STORM_SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        now.as_secs() % 1_000_000 * 1_000
    });
    let watch = Watch::start();
    let watch = &watch;
    let rounds: u64 = std::thread::scope(|scope| {
        let lanes = (0..LANES).map(|lane| {
            scope.spawn(move || {
                let mut rounds = 0;
                while Instant::now() < until {
                    one_round(first + lane + rounds * LANES, watch);
                    rounds += 1;
                }
                rounds
            })
        });
        let lanes: Vec<_> = lanes.collect();
        lanes.into_iter().map(|lane| lane.join().unwrap()).sum()
    });
    eprintln!("{rounds} rounds from seed {first} on");
}

fn one_round(seed: u64, watch: &Watch) {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config {
        cases: 1,
        failure_persistence: None,
        max_shrink_iters: 1_000,
        max_shrink_time: u32::try_from(SHRINK_LIMIT.as_millis()).unwrap(),
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let strategy = proptest::collection::vec(actions::any(), 1..MOST_ACTIONS);
    let done = runner.run(&strategy, |actions| {
        runtime.block_on(round::run(&actions, watch)).map_err(|why| {
            eprintln!("CHV_STORM_SEED={seed} fails with {actions:?}: {why}");
            TestCaseError::fail(why)
        })
    });
    match done {
        Ok(()) => {}
        Err(TestError::Fail(why, actions)) => panic!("CHV_STORM_SEED={seed}: {actions:#?}: {why}"),
        Err(error) => panic!("CHV_STORM_SEED={seed}: {error}"),
    }
}
