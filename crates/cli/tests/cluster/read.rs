//! Verbs that look: what they print for people and for programs.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};

use crate::fake::Guests;
use crate::rig::Rig;

#[tokio::test]
async fn given_vms_when_listed_then_people_and_programs_see_them() {
    let rig = Rig::with(Guests::Boot).await;
    rig.chv(&["vm", "list"])
        .await
        .ends_with(0)
        .tells("no VMs in project default");
    for name in ["web", "db"] {
        let ran = rig.create(name, &["--for", "ready", "--label", "app=shop"]).await;
        ran.ends_with(0);
    }
    let table = rig.chv(&["list", "vms"]).await.ends_with(0).out;
    let lines: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        lines[0],
        [
            "NAME", "STATUS", "HOST", "VCPUS", "MEMORY", "UP", "AGE", "TROUBLE"
        ]
    );
    assert_eq!(lines[1][..5], ["db", "ready", "h1", "1", "512MiB"]);
    assert_eq!(lines[2][..3], ["web", "ready", "h1"]);

    let vm = rig
        .chv(&["get", "vm", "web", "-o", "json"])
        .await
        .ends_with(0)
        .json();
    for (field, value) in [
        ("kind", "Vm"),
        ("name", "web"),
        ("project", "default"),
        ("power", "running"),
        ("status", "ready"),
        ("host", "h1"),
        ("hypervisor", "qemu-tcg"),
    ] {
        assert_eq!(vm[field], value, "{vm}");
    }
    assert_eq!(vm["spec"]["boot"]["kernel"], "uos/vmlinuz");
    assert_eq!(vm["labels"]["app"], "shop");
    assert_eq!(vm["trouble"], serde_json::Value::Null);
    assert!(vm["readySince"].as_str().unwrap().ends_with('Z'));

    let all = rig
        .chv(&["vm", "list", "-A", "--consistent", "-o", "json"])
        .await
        .json();
    assert_eq!(all.as_array().unwrap().len(), 2);
    let id = vm["id"].as_str().unwrap();
    rig.chv(&["vm", "get", id])
        .await
        .ends_with(0)
        .prints("default")
        .prints("uos/vmlinuz");
    rig.chv(&["vm", "get", "web", "-o", "yaml"])
        .await
        .ends_with(0)
        .prints("status: ready");
    rig.chv(&["vm", "get", "nobody"])
        .await
        .ends_with(5)
        .tells("there is no VM default/nobody")
        .tells("try: ");
}

#[tokio::test]
async fn given_a_hypervisor_that_was_asked_for_when_shown_then_it_is_told_before_the_vm_runs() {
    let rig = Rig::with(Guests::Ignore).await;
    let options = ["--no-start", "--hypervisor", "qemu-tcg"];
    rig.create("web", &options).await.ends_with(0);
    rig.chv(&["vm", "get", "web"])
        .await
        .ends_with(0)
        .prints("hypervisor: qemu-tcg");
}

#[tokio::test]
async fn given_a_vm_when_asked_why_then_what_was_asked_placed_and_ended_is_told_with_its_events() {
    let rig = Rig::with(Guests::Boot).await;
    rig.create("web", &["--for", "ready"]).await.ends_with(0);
    rig.chv(&["vm", "why", "web"])
        .await
        .ends_with(0)
        .prints("status:    ready")
        .prints("asked for: running by alice, vm.create (event 2, ")
        .prints("placed:    on h1 (h1: score ");
    rig.chv(&["vm", "kill", "web"]).await.ends_with(0);
    let why = rig.chv(&["vm", "why", "web", "-o", "json"]).await.json();
    assert_eq!(why["lastExit"]["data"]["reason"], "killed", "{why}");
    assert_eq!(why["ordered"]["verb"], "vm.kill", "{why}");
    assert!(why["blocked"].is_null(), "{why}");
    rig.chv(&["vm", "why", "nobody"])
        .await
        .ends_with(5)
        .tells("there is no VM default/nobody");
}

#[tokio::test]
async fn given_a_blocked_vm_when_asked_why_then_the_obstacle_is_told_and_since_when() {
    let rig = Rig::with(Guests::Block).await;
    rig.create("web", &["--no-wait"]).await.ends_with(0);
    let why = async || rig.chv(&["vm", "why", "web"]).await.ends_with(0).out;
    let told = tokio::time::timeout(std::time::Duration::from_secs(20), async {
        loop {
            let told = why().await;
            if told.contains("trouble:") {
                return told;
            }
        }
    });
    let told = told.await.expect("it is blocked soon");
    assert!(
        told.contains("status:    blocked") && told.contains("(event "),
        "{told}"
    );
}

#[tokio::test]
async fn given_a_host_when_looked_at_then_it_is_alive() {
    let rig = Rig::with(Guests::Boot).await;
    rig.chv(&["host", "list"])
        .await
        .ends_with(0)
        .prints("h1")
        .prints("alive");
    rig.chv(&["get", "host", "h1"])
        .await
        .ends_with(0)
        .prints("qemu-tcg (7.2)");
    let host = rig.chv(&["host", "get", "h1", "-o", "json"]).await.json();
    assert_eq!(host["capacity"]["memoryMib"], 8192);
    assert_eq!(host["alive"], true);
    rig.chv(&["host", "get", "h2"])
        .await
        .ends_with(5)
        .tells("there is no host h2");
}

#[tokio::test]
async fn given_a_trail_when_read_from_its_end_then_the_newest_come_first_page_by_page() {
    let rig = Rig::with(Guests::Boot).await;
    rig.create("web", &["--for", "ready"]).await.ends_with(0);
    let seqs = async |options: &[&str]| -> Vec<u64> {
        let shown = rig.chv(&[&["events", "-o", "json"], options].concat()).await;
        let event = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
        let lines = shown.ends_with(0).out;
        lines
            .lines()
            .map(|line| event(line)["seq"].as_u64().unwrap())
            .collect()
    };
    let all = seqs(&[]).await;
    assert_eq!(all, [1, 2, 3, 4, 5]);
    assert_eq!(seqs(&["--reverse"]).await, [5, 4, 3, 2, 1]);
    assert_eq!(seqs(&["--reverse", "--limit", "3"]).await, [5, 4, 3]);
    assert_eq!(seqs(&["--reverse", "--from", "2"]).await, [2, 1]);
    assert_eq!(seqs(&["--limit", "1"]).await, [1]);
    assert_eq!(seqs(&["--since", "1h"]).await, all);
    assert!(seqs(&["--until", "1h"]).await.is_empty());
    rig.chv(&["events", "-f", "--reverse"]).await.ends_with(2);
    rig.chv(&["events", "--since", "soon"]).await.ends_with(2);
}

#[tokio::test]
async fn given_a_trail_when_read_beyond_its_end_then_it_is_said_where_it_ends_and_nothing_is_made_up() {
    let rig = Rig::with(Guests::Boot).await;
    rig.create("web", &["--for", "ready"]).await.ends_with(0);
    let ends = "the log ends at event 5";
    for format in ["table", "json", "yaml"] {
        let beyond = rig
            .chv(&["events", "--from", "6", "--consistent", "-o", format])
            .await;
        let beyond = beyond.ends_with(0);
        assert_eq!((beyond.out.as_str(), beyond.err.trim()), ("", ends));
    }
    let backward = rig
        .chv(&["events", "--from", "6", "--reverse", "--limit", "1", "-o", "json"])
        .await;
    let backward = backward.ends_with(0).tells(ends);
    assert_eq!(backward.json()["seq"], 5);
    // Any replica may be behind, so it is said which one it was.
    let any = rig.chv(&["events", "--from", "6"]).await.ends_with(0);
    any.tells("the log ends at event 5, as far as replica 1 knows");
    // A time to come, and one before anything happened.
    for time in [["--since", "2999-01-01T00:00:00Z"], ["--until", "1h"]] {
        let none = rig
            .chv(&[&["events", "--consistent"], &time[..]].concat())
            .await
            .ends_with(0);
        assert_eq!(
            (none.out.as_str(), none.err.trim()),
            ("", "no such events; the log has 1 to 5")
        );
    }
    // What is there is shown without a word.
    assert_eq!(rig.chv(&["events", "--from", "5"]).await.ends_with(0).err, "");
}

#[tokio::test]
async fn given_a_trail_when_shown_then_each_line_has_seq_time_actor_and_cause() {
    let rig = Rig::with(Guests::Boot).await;
    rig.create("web", &["--for", "ready"]).await.ends_with(0);
    rig.create("db", &["--for", "ready"]).await.ends_with(0);
    let table = rig.chv(&["events", "--vm", "web"]).await.ends_with(0).out;
    let lines: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines[0], ["SEQ", "TIME", "ACTOR", "CAUSE", "EVENT", "ON"]);
    let shown: Vec<(&str, &str, &str)> = lines[1..]
        .iter()
        .map(|line| (line[0], line[2], line[3]))
        .collect();
    assert_eq!(
        shown,
        [
            ("2", "alice", "vm.create"),
            ("3", "alice", "vm.create"),
            ("4", "host/h1", "follows"),
            ("5", "host/h1", "follows"),
        ],
        "{table}"
    );
    assert!(
        table.contains("placed            default/web       on h1 (h1: score "),
        "{table}"
    );
    assert!(table.contains("follows 2"), "{table}");

    let json = rig
        .chv(&["events", "--actor", "host/h1", "-o", "json"])
        .await
        .ends_with(0)
        .out;
    let events: Vec<serde_json::Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let kinds: Vec<&str> = events
        .iter()
        .map(|event| event["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["registered", "started", "ready", "started", "ready"]);
    assert_eq!(events[1]["data"]["pid"], 42);
    assert_eq!(events[1]["resource"]["name"], "web");
    assert_eq!(events[1]["follows"], 2);
    let command = events[1]["command"].as_str().unwrap();
    let one = rig.chv(&["events", "--command", command, "-o", "json"]).await.out;
    assert_eq!(one.lines().count(), 1);
}

#[tokio::test]
async fn given_a_follower_when_something_happens_then_it_shows_it_and_ends_with_its_reader() {
    let rig = Rig::with(Guests::Boot).await;
    rig.create("web", &["--for", "ready"]).await.ends_with(0);
    let mut chv = rig
        .chv_command(&["events", "-f", "--vm", "web"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(chv.stdout.take().unwrap()).lines();
    let mut next = async || lines.next_line().await.unwrap().expect("a line");
    for expected in ["EVENT", "created", "placed", "started", "ready"] {
        assert!(next().await.contains(expected));
    }
    rig.create("other", &[]).await.ends_with(0);
    rig.chv(&["vm", "stop", "web"]).await.ends_with(0);
    for expected in ["stop-requested", "exited"] {
        let line = next().await;
        assert!(line.contains(expected) && line.contains("default/web"), "{line}");
    }
    drop(lines);
    let ended = tokio::time::timeout(std::time::Duration::from_secs(20), chv.wait());
    assert!(ended.await.expect("it ends with its reader").unwrap().success());
}

#[tokio::test]
async fn given_a_follower_from_beyond_the_end_then_it_says_so_once_and_shows_that_event_when_it_happens() {
    let rig = Rig::with(Guests::Boot).await;
    rig.create("web", &["--for", "ready"]).await.ends_with(0);
    let mut chv = rig
        .chv_command(&["events", "-f", "--from", "7", "--consistent", "-o", "json"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(chv.stderr.take().unwrap()).lines();
    let word = told.next_line().await.unwrap();
    assert_eq!(
        word.as_deref(),
        Some("the log ends at event 5; waiting for event 7")
    );
    // when events happen, then those from there on are shown, and nothing else is said.
    rig.create("db", &["--for", "ready"]).await.ends_with(0);
    let mut lines = BufReader::new(chv.stdout.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().expect("an event");
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&line).unwrap()["seq"],
        7
    );
    drop(lines);
    let ended = tokio::time::timeout(std::time::Duration::from_secs(20), chv.wait());
    assert!(ended.await.expect("it ends with its reader").unwrap().success());
    assert_eq!(told.next_line().await.unwrap(), None);
}

#[tokio::test]
async fn given_a_voter_that_is_silent_when_asked_for_status_then_it_is_named() {
    let rig = Rig::with(Guests::Boot).await;
    rig.chv(&["status", "--timeout", "500ms"])
        .await
        .ends_with(0)
        .prints("leader   replica 1, term 1")
        .prints("2        127.0.0.1:7102  voter   no answer");
    let status = rig
        .chv(&["status", "--digest", "--timeout", "300ms", "-o", "json"])
        .await
        .json();
    assert_eq!(status["leader"], 1);
    let silent = serde_json::json!([{"replica": 2, "member": "voter", "address": "127.0.0.1:7102"}]);
    assert_eq!(status["silent"], silent);
    assert_eq!(status["replicas"][0]["address"], "127.0.0.1:7101");
    assert_eq!(status["replicas"][0]["digest"].as_str().unwrap().len(), 64);
}

#[tokio::test]
async fn completions_need_no_cluster() {
    let rig = Rig::without_scheduler().await;
    for shell in ["bash", "zsh", "fish"] {
        rig.chv(&["completions", shell])
            .await
            .ends_with(0)
            .prints("cordon");
    }
}

#[tokio::test]
async fn given_forgotten_history_and_no_state_before_it_when_a_backup_is_wanted_then_it_says_what_makes_an_archive()
 {
    let rig = Rig::with(Guests::Boot).await;
    let ran = rig.chv(&["cluster", "backup", "never.chv"]).await.ends_with(3);
    let ran = ran.tells("the backup needs the state before the others: a fake keeps no states");
    ran.tells("chv log export FILE --data DIR");
}
