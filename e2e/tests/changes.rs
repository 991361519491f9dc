//! A VM is made something else while it runs, on a booted guest that confirms it from the inside.

use anyhow::{Context, Result, ensure};
use chv_e2e::{Cluster, Options, PATIENCE, trail, vms};
use chv_proto::client::Client;
use chv_proto::v1;
use serde_json::Value;

const MANIFEST: &str = "\
kind: Vm
name: web
spec:
  cpu: {vcpus: 1, max: 2}
  memory: {size: 192MiB, hotplug: {size: 256MiB}}
  boot: {kernel: uos/vmlinuz, initramfs: uos/initramfs.cpio, cmdline: quiet}
  disks: [{id: root, path: root.raw, format: raw}]
";

/// What the guest finds of its machine. QEMU writes a character twice into its log when the console's reader is slow: the
/// guest is asked again then.
async fn seen(cluster: &mut Cluster, client: &Client, vm: &str) -> Result<Value> {
    for _ in 0..20 {
        let answer = answer(cluster, client, vm).await?;
        if let Ok(seen) = serde_json::from_str(answer.trim_end()) {
            return Ok(seen);
        }
    }
    anyhow::bail!("the guest answers nothing that can be read")
}

/// What the guest answers when it is asked what it finds.
async fn answer(cluster: &mut Cluster, client: &Client, vm: &str) -> Result<String> {
    let host = "h1".parse()?;
    let said = async || {
        let read = v1::ConsoleRead {
            vm: vm.to_owned(),
            tail: Some(1 << 16),
            ..v1::ConsoleRead::default()
        };
        let chunk = client.console_read(&host, read).await?;
        Ok::<_, anyhow::Error>(String::from_utf8_lossy(&chunk.data).into_owned())
    };
    let answers = |said: &str| -> Vec<String> {
        let answers = said.split("chv-uos: machine ").skip(1);
        answers
            .filter_map(|rest| Some(rest.split_once('\n')?.0.to_owned()))
            .collect()
    };
    let before = answers(&said().await?).len();
    let write = v1::ConsoleWrite {
        vm: vm.to_owned(),
        data: b"machine\n".to_vec(),
    };
    ensure!(client.console_write(&host, write).await?.refused.is_none());
    cluster
        .wait("the guest says what it finds", PATIENCE, async || {
            let answers = answers(&said().await?);
            let newest = answers
                .get(before..)
                .and_then(|new| new.last())
                .context("no answer")?;
            Ok(newest.clone())
        })
        .await
}

async fn guest_finds(
    cluster: &mut Cluster,
    client: &Client,
    vm: &str,
    is_so: impl Fn(&Value) -> bool,
) -> Result<()> {
    // It takes a moment to take things into use.
    let until = std::time::Instant::now() + PATIENCE;
    loop {
        let seen = seen(cluster, client, vm).await?;
        if is_so(&seen) {
            return Ok(());
        }
        ensure!(std::time::Instant::now() < until, "the guest finds {seen}");
    }
}

fn serials(seen: &Value) -> Vec<&str> {
    let disks = seen["disks"].as_array().map(Vec::as_slice).unwrap_or_default();
    disks.iter().filter_map(|disk| disk["serial"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_is_changed_while_it_runs_and_the_rest_when_it_is_started_anew_needs_guest() -> Result<()> {
    Cluster::run(Options::emulated(1), async |cluster| {
        let client = cluster.client("alice").await?;
        let images = cluster.directory().join("images");
        for name in ["root.raw", "data.raw"] {
            std::fs::File::create(images.join(name))?.set_len(1 << 20)?;
        }
        let manifest = cluster.directory().join("web.yaml");
        std::fs::write(&manifest, MANIFEST)?;
        let manifest = manifest.to_str().context("a path in UTF-8")?.to_owned();
        cluster
            .chv(&["apply", "-f", &manifest, "--for", "ready"])
            .await?
            .done()?;
        let first = cluster.wait_for_status("web", "ready").await?;
        let vm = first.id.clone();
        let mib = |seen: &Value| seen["memory_kib"].as_u64().unwrap_or_default() / 1024;
        let before = mib(&seen(cluster, &client, &vm).await?);

        // When it grows and is given a disk, then the guest finds that, in the process that it has.
        let grown = cluster
            .chv(&["vm", "resize", "web", "--vcpus", "2", "--memory", "320MiB"])
            .await?
            .done()?;
        ensure!(grown.stdout.contains("changed while it runs on h1"), "{grown:?}");
        cluster
            .chv(&[
                "vm",
                "attach",
                "web",
                "--disk",
                "id=data,path=data.raw,format=raw",
            ])
            .await?
            .done()?;
        guest_finds(cluster, &client, &vm, |seen| {
            seen["cpus"] == "0-1" && mib(seen) > before + 100 && serials(seen) == ["root", "data"]
        })
        .await?;

        // A daemon that is killed right after a change was taken on makes it, or finds it made; once either way.
        cluster
            .chv(&["vm", "detach", "web", "--disk", "root", "--no-wait"])
            .await?
            .done()?;
        cluster.host("h1")?.kill()?;
        cluster.host("h1")?.start()?;
        guest_finds(cluster, &client, &vm, |seen| serials(seen) == ["data"]).await?;
        cluster
            .chv(&["vm", "set", "web", "stopTimeout=9"])
            .await?
            .done()?;
        let there = cluster.wait_for_status("web", "ready").await?;
        ensure!(
            there.pid == first.pid && there.restart_needed.is_empty(),
            "{there:?}"
        );

        // When what can't be changed meanwhile is changed, then that is said, and so after a reboot.
        let later = cluster
            .chv(&[
                "vm",
                "set",
                "web",
                "cpu.max=3",
                "boot.cmdline=quiet chv.name=later",
            ])
            .await?
            .done()?;
        ensure!(
            later.stdout.contains("restart needed for cpu.max, boot.cmdline"),
            "{later:?}"
        );
        cluster
            .chv(&["vm", "reboot", "web", "--for", "ready"])
            .await?
            .done()?;
        guest_finds(cluster, &client, &vm, |seen| {
            seen["cpus_possible"] == "0-2"
                && seen["cmdline"]
                    .as_str()
                    .is_some_and(|line| line.contains("chv.name=later"))
                && serials(seen) == ["data"]
        })
        .await?;
        let rebooted = cluster.wait_for_status("web", "ready").await?;
        ensure!(
            rebooted.restart_needed.is_empty() && rebooted.pid != first.pid,
            "{rebooted:?}"
        );

        // What is wrong is refused, and a file that is not there is told until it is.
        for (words, exit, why) in [
            (
                vec!["attach", "web", "--disk", "id=data,path=data.raw,format=raw"],
                3,
                "another one's",
            ),
            (vec!["detach", "web", "--disk", "root"], 5, "no disk root"),
            (vec!["resize", "web", "--memory", "900GiB"], 3, "can't run VM"),
        ] {
            let words: Vec<&str> = ["vm"].into_iter().chain(words).collect();
            let refused = cluster.chv(&words).await?.exited_with(exit)?;
            ensure!(refused.stderr.contains(why), "{refused:?}");
        }
        let attach = [
            "vm",
            "attach",
            "web",
            "--disk",
            "id=late,path=late.raw,format=raw",
            "--timeout",
            "3s",
        ];
        let blocked = cluster.chv(&attach).await?.exited_with(9)?;
        ensure!(blocked.stderr.contains("late.raw"), "{blocked:?}");
        std::fs::File::create(images.join("late.raw"))?.set_len(1 << 20)?;
        guest_finds(cluster, &client, &vm, |seen| serials(seen) == ["data", "late"]).await?;

        let events = trail(&client, Some(&vms::named("web"))).await?;
        let count = |kind: &str| events.iter().filter(|event| event.kind == kind).count();
        cluster.wait_for_status("web", "ready").await?;
        ensure!((count("spec-changed"), count("started")) == (6, 2), "{events:?}");
        cluster.chv(&["vm", "delete", "web", "--force"]).await?.done()?;
        Ok(())
    })
    .await
}
