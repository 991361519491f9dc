//! What people get wrong with `chv`: each gets an error that says where and what to do, and changes nothing.
//! What a program can get wrong on the wire is in `raw_messages`, what outages do in `outages`.

use anyhow::{Context, Result, ensure};
use chv_e2e::{Cluster, Options, PATIENCE, vms};

/// One mistake: the arguments, the exit code, and what the error must say.
struct Mistake {
    what: &'static str,
    args: Vec<String>,
    code: i32,
    says: Vec<String>,
}

fn mistake(what: &'static str, args: &[&str], code: i32, says: &[&str]) -> Mistake {
    let owned = |words: &[&str]| words.iter().map(ToString::to_string).collect();
    Mistake {
        what,
        args: owned(args),
        code,
        says: owned(says),
    }
}

/// A manifest in a file of its own, with the spec's lines.
fn manifest(cluster: &Cluster, name: &str, vm: &str, spec: &str) -> Result<String> {
    let file = cluster.directory().join(name);
    std::fs::write(&file, format!("kind: Vm\nname: {vm}\nspec:\n{spec}"))?;
    Ok(file.to_str().context("a path in UTF-8")?.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_mistake_then_the_error_says_where_and_what_to_do_and_nothing_changes_needs_guest()
-> Result<()> {
    Cluster::run(Options::emulated(2), async |cluster| {
        let client = cluster.client("alice").await?;
        let taken = vms::submit(&client, vms::create("taken", vms::tiny(), true), PATIENCE).await?;
        cluster.wait_for_status("taken", "running").await?;
        let rest = "  memory: 16MiB\n  boot: {kernel: tiny}\n";
        let unknown = manifest(cluster, "unknown.yaml", "web", &format!("  cpus: 1\n{rest}"))?;
        let name = manifest(cluster, "name.yaml", "Web_1", &format!("  cpu: 1\n{rest}"))?;
        let vcpus = manifest(cluster, "vcpus.yaml", "web", &format!("  cpu: 0\n{rest}"))?;
        let memory = manifest(
            cluster,
            "memory.yaml",
            "web",
            "  cpu: 1\n  memory: 0MiB\n  boot: {kernel: tiny}\n",
        )?;
        let huge = manifest(
            cluster,
            "huge.yaml",
            "web",
            "  cpu: 1\n  memory: 1TiB\n  boot: {kernel: tiny}\n",
        )?;
        let create = |name: &'static str| ["vm", "create", name, "--kernel", "tiny"];
        let mistakes = [
            mistake(
                "an unknown field",
                &["apply", "-f", &unknown],
                2,
                &["unknown.yaml:4:3", "cpus", "did you mean `cpu`"],
            ),
            mistake(
                "a bad name in a manifest",
                &["apply", "-f", &name],
                2,
                &["name.yaml:2:7", "a-z, 0-9 and -"],
            ),
            mistake("a bad name", &create("Web_1"), 2, &["Web_1", "a-z, 0-9 and -"]),
            mistake(
                "zero vCPUs in a manifest",
                &["apply", "-f", &vcpus],
                2,
                &["vcpus.yaml:4:8", "at least 1 vCPU"],
            ),
            mistake(
                "zero vCPUs",
                &[&create("web")[..], &["--vcpus", "0"]].concat(),
                2,
                &["--vcpus", "at least 1 vCPU"],
            ),
            mistake(
                "zero memory in a manifest",
                &["apply", "-f", &memory],
                2,
                &["memory.yaml:5:11", "at least 1MiB"],
            ),
            mistake(
                "zero memory",
                &[&create("web")[..], &["--memory", "0MiB"]].concat(),
                2,
                &["--memory", "at least 1MiB"],
            ),
            mistake(
                "more memory than any host has",
                &["apply", "-f", &huge],
                3,
                &[
                    "h1: 1TiB of memory asked, ",
                    "h2: 1TiB of memory asked, 64GiB free",
                ],
            ),
            mistake(
                "more vCPUs than any host has",
                &[&create("web")[..], &["--vcpus", "401"]].concat(),
                3,
                &["h1: 401 vCPUs asked, ", "h2: 401 vCPUs asked, 400 free"],
            ),
            mistake(
                "a name that exists",
                &create("taken"),
                4,
                &["taken", &taken.vm, "choose another name"],
            ),
            mistake(
                "a wrong expected revision",
                &["vm", "stop", "taken", "--revision", "1"],
                4,
                &[
                    &format!("is at revision {}, not 1", taken.revision),
                    "look at it again",
                ],
            ),
            mistake(
                "a VM that is not there",
                &["vm", "start", "nobody"],
                5,
                &["nobody", "chv vm list"],
            ),
            mistake(
                "a host that is not there",
                &["host", "cordon", "h9"],
                5,
                &["h9", "chv host list"],
            ),
        ];
        let before = cluster.wait_for_agreement().await?;
        for Mistake {
            what,
            args,
            code,
            says,
        } in mistakes
        {
            let output = cluster.chv(&args).await?.exited_with(code).context(what)?;
            ensure!(
                output.stdout.is_empty(),
                "{what}: an error is no output: {output:?}"
            );
            let words = output.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
            for word in says {
                ensure!(
                    words.contains(&word),
                    "{what}: `{word}` is not in: {}",
                    output.stderr
                );
            }
        }

        // A start of what runs is no mistake: it is so already.
        let started = cluster.chv(&["vm", "start", "taken"]).await?.done()?;
        ensure!(started.stdout.contains("unchanged"), "{started:?}");

        // Somebody who is not who he says gets nowhere.
        let mut impostor = cluster.environment_of("alice")?;
        impostor.retain(|(name, _)| name != "CHV_PASSWORD");
        impostor.push(("CHV_PASSWORD".to_owned(), cluster.password("bob")?));
        let refused = chv_e2e::chv::run(&impostor, &["vm", "list"])
            .await?
            .exited_with(8)?;
        ensure!(refused.stderr.contains("alice"), "{refused:?}");

        let after = cluster.wait_for_agreement().await?;
        ensure!(
            after.digest == before.digest,
            "something changed: {before:?}, then {after:?}"
        );
        Ok(())
    })
    .await
}
