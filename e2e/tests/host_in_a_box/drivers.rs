//! The drivers' own tests, of `chv-hostd`, run in a box.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chv_domain::HypervisorKind;
use chv_e2e::{HostBox, PATIENCE, RigDirectory, wait_until};

/// Names the program that `chv-hostd`'s unit tests are. `.ci/nextest` sets it.
const TESTS: &str = "CHV_HOSTD_TESTS";

/// Each boots a guest or three, one after the other.
const ALL_TESTS: Duration = Duration::from_secs(170);

in_a_box_with_each!(
    given_a_box_then_the_tests_that_every_driver_must_pass_pass_in_it,
    super::pass
);

async fn pass(kind: HypervisorKind) -> Result<()> {
    let tests = std::env::var_os(TESTS).map(PathBuf::from);
    let tests = tests.with_context(|| format!("{TESTS} names no program; `make e2e-box` sets it"))?;
    let rig = RigDirectory::new(&std::env::temp_dir())?;
    let (boxed, mut machine) = HostBox::without_daemon(&rig, &tests)?;
    machine.start()?;
    wait_until("the box is up", PATIENCE, async || boxed.guests().await).await?;

    let filter = format!("needs_{}", kind.as_str().replace('-', "_"));
    let end = boxed.run(&[&filter, "--test-threads=2"], ALL_TESTS).await;
    ensure!(
        end.as_deref().ok() == Some("exit 0"),
        "{end:?}:\n{}",
        machine.tail()
    );
    ensure!(
        machine.tail().contains("test result: ok. 7 passed"),
        "{}",
        machine.tail()
    );
    Ok(())
}
