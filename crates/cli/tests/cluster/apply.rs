//! `chv apply`: creates, leaves alone, refuses; and sends nothing when anything is wrong.

use crate::fake::Guests;
use crate::rig::Rig;

fn vm(name: &str, memory: &str) -> String {
    format!("kind: Vm\nname: {name}\nspec:\n  cpu: 1\n  memory: {memory}\n  boot: {{kernel: k}}\n")
}

#[tokio::test]
async fn given_two_manifests_when_applied_twice_then_the_second_time_nothing_changes() {
    let rig = Rig::with(Guests::Boot).await;
    let file = rig.file(
        "two.yaml",
        &format!("{}---\n{}", vm("a", "64MiB"), vm("b", "64MiB")),
    );
    let apply = ["apply", "-f", &file];
    let ran = rig.chv(&apply).await.ends_with(0);
    for line in [
        "default/a: created, placed on h1",
        "default/b: created, placed on h1",
        "default/a: running on h1",
        "default/b: running on h1",
    ] {
        assert!(ran.out.contains(line), "{line}: {ran:?}");
    }
    let again = rig.chv(&apply).await.ends_with(0);
    assert_eq!(again.out, "default/a: unchanged\ndefault/b: unchanged\n");
    let told = rig.chv(&["apply", "-f", &file, "-o", "json"]).await.json();
    assert_eq!(told[1]["action"], "unchanged");
    assert_eq!(told[1]["command"], serde_json::Value::Null);
}

#[tokio::test]
async fn given_another_spec_and_other_labels_when_applied_then_they_are_changed_and_what_needs_a_restart_is_said()
 {
    let rig = Rig::with(Guests::Boot).await;
    let file = rig.file("a.yaml", &vm("a", "64MiB"));
    rig.chv(&["apply", "-f", &file]).await.ends_with(0);
    let other = vm("a", "2GiB").replace("name: a", "name: a\nlabels: {tier: front}");
    let changed = rig.file("changed.yaml", &format!("{}---\n{other}", vm("new", "64MiB")));
    let ran = rig.chv(&["apply", "-f", &changed]).await.ends_with(0);
    for line in [
        "default/new: created, placed on h1",
        "default/a: labelled",
        "default/a: changed; restart needed for memory.size",
    ] {
        assert!(ran.out.contains(line), "{line}: {ran:?}");
    }
    let got = rig.chv(&["vm", "get", "a", "-o", "json"]).await.json();
    assert_eq!(got["restartNeeded"], serde_json::json!(["memory.size"]));
    assert_eq!(got["labels"]["tier"], "front");
    let again = rig.chv(&["apply", "-f", &changed]).await.ends_with(0);
    assert_eq!(again.out, "default/new: unchanged\ndefault/a: unchanged\n");
}

#[tokio::test]
async fn given_a_spec_that_its_host_can_not_run_when_applied_then_it_is_refused_with_its_place() {
    let rig = Rig::with(Guests::Boot).await;
    let file = rig.file("a.yaml", &vm("a", "64MiB"));
    rig.chv(&["apply", "-f", &file]).await.ends_with(0);
    let changed = rig.file("changed.yaml", &vm("a", "20GiB"));
    rig.chv(&["apply", "-f", &changed])
        .await
        .ends_with(3)
        .tells("changed.yaml:")
        .tells("its host h1 can't run VM default/a as it is to be");
}

#[tokio::test]
async fn given_a_bad_document_among_good_ones_when_applied_then_nothing_is_sent() {
    let rig = Rig::with(Guests::Boot).await;
    let before = rig.fake().seq();
    let file = rig.file(
        "bad.yaml",
        &format!(
            "{}---\n{}",
            vm("a", "64MiB"),
            vm("b", "64MiB").replace("cpu", "cpus")
        ),
    );
    rig.chv(&["apply", "-f", &file])
        .await
        .ends_with(2)
        .tells("bad.yaml:11:3: unknown field `cpus`; did you mean `cpu`?");
    assert_eq!(rig.fake().seq(), before);
    rig.chv(&["apply", "-f", "none.yaml"])
        .await
        .ends_with(2)
        .tells("none.yaml");
}

#[tokio::test]
async fn given_the_examples_directory_when_applied_then_the_stopped_one_is_not_waited_for() {
    let rig = Rig::with(Guests::Boot).await;
    let pair = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/pair.yaml");
    rig.chv(&["apply", "-f", pair, "--for", "ready"])
        .await
        .ends_with(0)
        .prints("default/pair-a: ready on h1")
        .prints("default/pair-b: created");
    assert!(!rig.fake().vm("pair-b").unwrap().is_running());
}

#[tokio::test]
async fn given_a_vm_that_is_still_on_its_way_when_applied_again_then_it_is_waited_for() {
    let rig = Rig::with(Guests::Hang).await;
    let file = rig.file("a.yaml", &vm("a", "64MiB"));
    rig.chv(&["apply", "-f", &file, "--no-wait"]).await.ends_with(0);
    rig.chv(&["apply", "-f", &file])
        .await
        .ends_with(0)
        .prints("default/a: unchanged");
    rig.chv(&["apply", "-f", &file, "--for", "ready", "--timeout", "1s"])
        .await
        .ends_with(6)
        .prints("default/a: unchanged")
        .tells("default/a is not ready after 1");
}

#[tokio::test]
async fn given_a_refusal_in_the_middle_when_applied_then_the_others_are_done_and_told() {
    let rig = Rig::with(Guests::Boot).await;
    let all = [vm("a", "64MiB"), vm("b", "1TiB"), vm("c", "64MiB")].join("---\n");
    let file = rig.file("three.yaml", &all);
    let ran = rig.chv(&["apply", "-f", &file, "-o", "json"]).await.ends_with(3);
    let told = ran.json();
    let names: Vec<_> = told
        .as_array()
        .unwrap()
        .iter()
        .map(|changed| changed["name"].clone())
        .collect();
    assert_eq!(names, ["default/a", "default/c"]);
    assert!(ran.err.contains("1TiB of memory asked"), "{ran:?}");
    assert!(ran.err.contains("three.yaml:9:7: VM default/b: "), "{ran:?}");
    assert!(rig.fake().vm("a").is_some() && rig.fake().vm("c").is_some());
    let all = [vm("d", "1TiB"), vm("e", "2TiB")].join("---\n");
    let none = rig.file("none.yaml", &all);
    let ran = rig.chv(&["apply", "-f", &none, "-o", "json"]).await.ends_with(3);
    assert_eq!(ran.json(), serde_json::json!([]));
    let one = rig.file("one.yaml", &vm("f", "1TiB"));
    let ran = rig.chv(&["apply", "-f", &one, "-o", "json"]).await.ends_with(3);
    assert_eq!(ran.out, "");
}

#[tokio::test]
async fn given_many_manifests_when_applied_then_their_commands_share_messages() {
    let rig = Rig::with(Guests::Boot).await;
    let all: Vec<String> = (0..40).map(|number| vm(&format!("v{number}"), "64MiB")).collect();
    let file = rig.file("many.yaml", &all.join("---\n"));
    let told = rig.chv(&["apply", "-f", &file, "-o", "json"]).await;
    // The host has room for eight of them; what the others are refused for is told once.
    let told = told.ends_with(3).tells("default/v").tells(" and 29 more: ");
    assert_eq!(told.json().as_array().map(Vec::len), Some(8));
    let mut batches = rig.fake().batches();
    batches.sort_unstable();
    assert_eq!(batches, [8, 16, 16]);
}
