//! However a cluster's owner ends, nothing of it is left: no process, no guest, no file, no cgroup.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use chv_e2e::{PATIENCE, belongings, cgroups, guests_below, wait_until};

/// The demo, which owns a cluster, with a directory of its own for temporary files.
struct Demo {
    process: Child,
    temporary: tempfile::TempDir,
}

impl Demo {
    /// Starts it, and waits until a guest of its runs.
    async fn with_a_guest() -> Result<(Self, PathBuf)> {
        let temporary = tempfile::tempdir()?;
        let process = Command::new(env!("CARGO_BIN_EXE_chv-demo"))
            .env("TMPDIR", temporary.path())
            .stdout(Stdio::null())
            .spawn()?;
        let demo = Self { process, temporary };
        let look = async || {
            let cluster = std::fs::read_dir(demo.temporary.path())?.flatten().next();
            let cluster = cluster.context("it has made no directory")?.path();
            let vms = |directory: &Path| directory.components().any(|part| part.as_os_str() == "vms");
            match guests_below(&cluster).iter().find(|guest| vms(&guest.directory)) {
                Some(_) => Ok(cluster),
                None => Err(anyhow!("it has started no guest")),
            }
        };
        let cluster = wait_until("the demo's first guest runs", PATIENCE, look).await?;
        ensure!(belongings(&cluster).len() >= 7, "that is no whole cluster");
        Ok((demo, cluster))
    }

    fn signal(&self, signal: libc::c_int) -> Result<()> {
        // SAFETY: takes no pointers; the process is not reaped, so its number is its own.
        let sent = unsafe { libc::kill(self.process.id().cast_signed(), signal) };
        ensure!(sent == 0, "{}", std::io::Error::last_os_error());
        Ok(())
    }

    async fn end(&mut self) -> Result<ExitStatus> {
        let process = &mut self.process;
        wait_until("the demo has ended", PATIENCE, async || {
            process.try_wait()?.context("it runs")
        })
        .await
    }
}

async fn nothing_is_left(cluster: &Path, cgroups: &[PathBuf]) -> Result<()> {
    let look = async || {
        let left: Vec<_> = cgroups.iter().filter(|cgroup| cgroup.exists()).collect();
        ensure!(left.is_empty(), "cgroups {left:?} are left");
        let left = belongings(cluster);
        ensure!(left.is_empty(), "processes {left:?} are left");
        ensure!(!cluster.exists(), "{} is left", cluster.display());
        Ok(())
    };
    wait_until("nothing of the cluster is left", Duration::from_secs(15), look).await
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_running_demo_when_it_is_killed_then_nothing_of_it_is_left_needs_guest() -> Result<()> {
    let (mut demo, cluster) = Demo::with_a_guest().await?;

    let cgroups = cgroups(&cluster);
    demo.process.kill()?;
    demo.end().await?;

    nothing_is_left(&cluster, &cgroups).await
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_running_demo_when_it_is_interrupted_then_it_ends_by_itself_and_nothing_is_left_needs_guest()
-> Result<()> {
    let (mut demo, cluster) = Demo::with_a_guest().await?;

    demo.signal(libc::SIGINT)?;
    let status = demo.end().await?;

    ensure!(status.code() == Some(130), "it ended with {status}");
    ensure!(
        belongings(&cluster).is_empty() && !cluster.exists(),
        "it ended before its cluster"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_shows_everything_within_a_minute_and_leaves_nothing_needs_guest() -> Result<()> {
    let temporary = tempfile::tempdir()?;
    let began = std::time::Instant::now();
    let mut demo = tokio::process::Command::new(env!("CARGO_BIN_EXE_chv-demo"));
    demo.arg("--once")
        .env("TMPDIR", temporary.path())
        .kill_on_drop(true);

    let output = demo.output().await?;

    let shown = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "it ended with {}:\n{shown}\n{said}",
        output.status
    );
    for step in 1..=5 {
        ensure!(
            shown.contains(&format!("\n{step}. ")),
            "step {step} is missing:\n{shown}"
        );
    }
    ensure!(
        std::fs::read_dir(temporary.path())?.next().is_none(),
        "it left files behind"
    );
    println!("{shown}\nafter {:?}", began.elapsed());
    Ok(())
}
