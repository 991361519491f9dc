//! Verbs that change something: waiting, refusals, and how they end.

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::fake::{Guests, REASON};
use crate::rig::{Rig, ended};

#[tokio::test]
async fn given_a_guest_that_boots_when_created_then_it_is_placed_with_a_reason_and_runs() {
    let rig = Rig::with(Guests::Boot).await;
    let ran = rig.create("web", &["--for", "ready"]).await.ends_with(0);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines.len(), 2, "{ran:?}");
    assert!(
        lines[0].starts_with("default/web: created, placed on h1 (h1: score "),
        "{ran:?}"
    );
    assert!(
        lines[1].starts_with("default/web: ready on h1 (qemu-tcg), after "),
        "{ran:?}"
    );
}

#[tokio::test]
async fn given_no_wait_when_created_then_it_ends_once_it_is_taken_on() {
    let rig = Rig::with(Guests::Ignore).await;
    let ran = rig.create("web", &["--no-wait", "-o", "json"]).await.ends_with(0);
    let told = ran.json();
    assert_eq!(told["action"], "created");
    assert_eq!(told["name"], "default/web");
    assert_eq!(told["host"], "h1");
    assert_eq!(told["reached"], serde_json::Value::Null);
    assert_eq!(told["id"], told["command"]);
    assert_eq!(told["firstSeq"], 2);
    assert_eq!(told["lastSeq"], 3);
}

#[tokio::test]
async fn given_no_start_when_created_then_nothing_is_waited_for() {
    let rig = Rig::with(Guests::Boot).await;
    rig.create("web", &["--no-start"]).await.ends_with(0);
    assert!(!rig.fake().vm("web").unwrap().is_running());
    rig.chv(&["vm", "start", "web"])
        .await
        .ends_with(0)
        .prints("default/web: running on h1 (qemu-tcg)");
}

#[tokio::test]
async fn given_a_blocked_vm_when_waited_for_then_it_says_why_and_ends_with_9() {
    let rig = Rig::with(Guests::Block).await;
    let ran = rig.create("web", &["--timeout", "1s"]).await;
    let hints = ran.err.matches("waiting goes on until the timeout").count();
    assert_eq!(hints, 1, "{ran:?}");
    ran.ends_with(9)
        .prints("created")
        .tells(REASON)
        .tells("default/web is not running after 1")
        .tells("try: `chv events --vm ");
    assert!(rig.fake().vm("web").is_some());
}

#[tokio::test]
async fn given_a_block_that_goes_when_waited_for_then_waiting_went_on() {
    let rig = Rig::with(Guests::BlockThenBoot).await;
    rig.create("web", &["--for", "ready"])
        .await
        .ends_with(0)
        .prints("ready on h1");
}

#[tokio::test]
async fn given_a_guest_that_hangs_when_waited_to_be_ready_then_it_ends_with_6() {
    let rig = Rig::with(Guests::Hang).await;
    rig.create("web", &["--for", "ready", "--timeout", "1s"])
        .await
        .ends_with(6)
        .tells("running on h1, waiting for the guest to say that it is ready");
}

#[tokio::test]
async fn given_ctrl_c_when_waiting_then_it_says_how_to_follow_and_the_work_goes_on() {
    let rig = Rig::with(Guests::Ignore).await;
    let mut chv = rig.chv_started(&["vm", "create", "web", "--kernel", "k"]);
    let mut told = BufReader::new(chv.stderr.take().unwrap()).lines();
    let waiting = told.next_line().await.unwrap().unwrap();
    assert_eq!(waiting, "default/web: placed on h1, starting");
    let pid = Pid::from_raw(chv.id().unwrap().cast_signed()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    ended(chv).await.ends_with(130);
    let said = told.next_line().await.unwrap().unwrap();
    assert_eq!(said, "error: interrupted; default/web goes on without you");
    let tip = told.next_line().await.unwrap().unwrap();
    assert!(tip.starts_with("  try: `chv events --vm "), "{tip}");
    assert!(rig.fake().vm("web").is_some());
}

#[tokio::test]
async fn given_no_answer_to_queries_when_waiting_then_the_deadline_and_ctrl_c_hold() {
    let rig = Rig::with(Guests::Boot).await;
    rig.fake().answer_no_queries();
    let mut chv = rig.chv_started(&["vm", "create", "web", "--kernel", "k", "--timeout", "1m"]);
    let mut told = BufReader::new(chv.stdout.take().unwrap()).lines();
    let line = told.next_line().await.unwrap().unwrap();
    assert!(line.starts_with("default/web: created"), "{line}");
    let pid = Pid::from_raw(chv.id().unwrap().cast_signed()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let began = std::time::Instant::now();
    ended(chv)
        .await
        .ends_with(130)
        .tells("interrupted; default/web goes on without you");
    assert!(
        began.elapsed() < std::time::Duration::from_secs(30),
        "it waited for the deadline, or nearly"
    );
    // Time enough for the command itself on a busy machine.
    rig.create("db", &["--timeout", "4s"])
        .await
        .ends_with(6)
        .tells("default/db")
        .tells("taken on");
}

#[tokio::test]
async fn given_a_name_that_exists_when_created_then_it_ends_with_4() {
    let rig = Rig::with(Guests::Boot).await;
    rig.create("web", &[]).await.ends_with(0);
    rig.create("web", &[])
        .await
        .ends_with(4)
        .tells("error: ")
        .tells("web");
}

#[tokio::test]
async fn given_more_than_any_host_has_when_created_then_each_hosts_reason_is_told() {
    let rig = Rig::with(Guests::Boot).await;
    rig.create("big", &["--memory", "1TiB"])
        .await
        .ends_with(3)
        .tells("h1: 1TiB of memory asked, 8GiB free");
    assert!(rig.fake().vm("big").is_none());
}

#[tokio::test]
async fn given_a_running_vm_when_started_then_it_is_so_already() {
    let rig = Rig::with(Guests::Boot).await;
    rig.create("web", &[]).await.ends_with(0);
    let before = rig.fake().seq();
    let told = rig
        .chv(&["vm", "start", "web", "-o", "json"])
        .await
        .ends_with(0)
        .json();
    assert_eq!(
        (told["changed"].clone(), told["action"].clone()),
        (false.into(), "unchanged".into())
    );
    assert_eq!(told["reached"], "running");
    assert!(
        rig.fake().seq() <= chv_domain::Seq(before.0 + 1),
        "only the guest's own word came"
    );
}

#[tokio::test]
async fn given_another_revision_when_stopped_then_it_ends_with_4_and_nothing_changes() {
    let rig = Rig::with(Guests::Boot).await;
    rig.create("web", &[]).await.ends_with(0);
    rig.chv(&["vm", "stop", "web", "--revision", "999"])
        .await
        .ends_with(4)
        .tells("is at revision");
    assert!(rig.fake().vm("web").unwrap().is_running());
}

#[tokio::test]
async fn given_a_running_vm_when_stopped_started_killed_and_deleted_then_each_is_waited_for() {
    let rig = Rig::with(Guests::Boot).await;
    rig.create("web", &[]).await.ends_with(0);
    rig.chv(&["vm", "stop", "web"])
        .await
        .ends_with(0)
        .prints("default/web: stopped: powered off, after ");
    rig.chv(&["vm", "start", "default/web"]).await.ends_with(0);
    rig.chv(&["vm", "kill", "web"])
        .await
        .ends_with(0)
        .prints("default/web: stopped: killed as asked, after ");
    rig.chv(&["vm", "start", "web"]).await.ends_with(0);
    rig.chv(&["vm", "delete", "web"])
        .await
        .ends_with(3)
        .tells("stop it first");
    rig.chv(&["vm", "delete", "web", "--force", "--keep", "1h"])
        .await
        .ends_with(0)
        .prints("default/web: deleted; it can be undeleted, after ");
    rig.chv(&["vm", "list", "--deleted"])
        .await
        .ends_with(0)
        .prints("can be undeleted until ");
    rig.chv(&["vm", "undelete", "web", "--name", "shop"])
        .await
        .ends_with(0)
        .prints("default/web: undeleted");
    rig.chv(&["vm", "delete", "shop", "--now"])
        .await
        .ends_with(0)
        .prints("default/shop: deleted, after ");
    assert!(rig.fake().vm("shop").is_none());
    rig.chv(&["vm", "stop", "web"])
        .await
        .ends_with(5)
        .tells("there is no VM");
}

#[tokio::test]
async fn given_a_cordoned_host_when_created_then_it_is_refused_until_it_is_uncordoned() {
    let rig = Rig::with(Guests::Boot).await;
    rig.chv(&["host", "cordon", "h1"])
        .await
        .ends_with(0)
        .prints("host h1: cordoned");
    rig.chv(&["host", "cordon", "h1"])
        .await
        .ends_with(0)
        .prints("host h1: unchanged");
    rig.create("web", &[]).await.ends_with(3).tells("h1: cordoned");
    rig.chv(&["host", "uncordon", "h1"]).await.ends_with(0);
    rig.create("web", &[]).await.ends_with(0);
}

#[tokio::test]
async fn given_wrong_arguments_then_it_ends_with_2_and_needs_no_cluster() {
    let rig = Rig::without_scheduler().await;
    for (args, expected) in [
        (
            &["vm", "create", "Web_1", "--kernel", "k"][..],
            "is not a VM name",
        ),
        (
            &["vm", "create", "web", "--kernel", "k", "--vcpus", "0"],
            "at least 1 vCPU",
        ),
        (
            &["vm", "create", "web", "--kernel", "k", "--memory", "12"],
            "such as 512MiB",
        ),
        (&["vm", "create", "web", "--kernel", "../k"], "has `..` in it"),
        (&["vm", "create", "web"], "--kernel"),
        (&["vm", "destroy", "web"], "destroy"),
        (&["vm", "list", "--timeout", "soon"], "no span of time"),
        (&["vm", "list", "--timeout", "0"], "write a longer time"),
        (&[], "Usage"),
    ] {
        rig.chv(args).await.ends_with(2).tells(expected);
    }
}

#[tokio::test]
async fn given_a_terminal_when_waiting_then_the_line_is_rewritten_in_place_and_goes() {
    let rig = Rig::with(Guests::Hang).await;
    let chv = env!("CARGO_BIN_EXE_chv");
    let create = format!("{chv} vm create web --kernel k --for ready --timeout 1s; echo ended with $?");
    let script = rig
        .program("script")
        .env("TERM", "xterm")
        .args(["-qec", &create, "/dev/null"])
        .spawn()
        .expect("script (Debian: bsdutils) is installed");
    let ran = ended(script).await.prints("ended with 6");
    let rewritten = ran
        .out
        .matches("\r\x1b[2Kdefault/web: running on h1, waiting for")
        .count();
    assert!(rewritten > 2, "{ran:?}");
    assert!(
        ran.out.contains("\r\x1b[2Kerror: default/web is not ready"),
        "{ran:?}"
    );
}

#[tokio::test]
async fn given_several_vms_when_stopped_and_deleted_then_each_is_told_and_a_bad_one_keeps_no_other() {
    let rig = Rig::with(Guests::Boot).await;
    for name in ["a", "b"] {
        rig.create(name, &[]).await.ends_with(0);
    }
    rig.chv(&["vm", "stop", "a", "b", "a"])
        .await
        .ends_with(0)
        .prints("default/a: stopped: powered off, after ")
        .prints("default/b: stopped: powered off, after ");
    assert_eq!(rig.fake().batches(), [2]);
    rig.chv(&["vm", "stop", "a", "b", "--revision", "3"])
        .await
        .ends_with(2)
        .tells("--revision is about one VM");
    rig.chv(&["vm", "delete", "a", "none", "b", "--now"])
        .await
        .ends_with(5)
        .prints("default/a: deleting")
        .prints("default/b: deleting")
        .tells("VM default/none: there is no VM default/none");
}

#[tokio::test]
async fn given_a_vm_when_its_spec_is_changed_by_each_verb_then_what_is_so_at_once_and_what_later_is_said() {
    let rig = Rig::with(Guests::Boot).await;
    let create = [
        "vm",
        "create",
        "web",
        "--kernel",
        "k",
        "--memory",
        "64MiB",
        "--disk",
        "id=root,path=r,format=raw",
    ];
    rig.chv(&create).await.ends_with(0);
    for (change, expected) in [
        (
            vec!["resize", "web", "--vcpus", "2"],
            "web: changed while it runs on h1",
        ),
        (
            vec!["set", "web", "stopTimeout=5", "disks[root].readOnly=true"],
            "changed while it runs on h1",
        ),
        (
            vec!["attach", "web", "--disk", "id=data,path=d,format=raw"],
            "changed while it runs on h1",
        ),
        (
            vec!["detach", "web", "--disk", "root"],
            "changed while it runs on h1",
        ),
        (
            vec!["resize", "web", "--memory", "128MiB"],
            "changed; restart needed for memory.size",
        ),
    ] {
        let words: Vec<&str> = ["vm"].into_iter().chain(change).collect();
        let ran = rig.chv(&words).await.ends_with(0);
        assert!(ran.out.contains(expected), "{words:?}: {ran:?}");
    }
    let got = rig.chv(&["vm", "get", "web", "-o", "json"]).await.json();
    assert_eq!(got["spec"]["cpu"]["vcpus"], 2);
    assert_eq!(got["spec"]["stopTimeout"], 5);
    assert_eq!(got["spec"]["disks"][0]["id"], "data");
    rig.chv(&["vm", "get", "web"])
        .await
        .ends_with(0)
        .prints("needed for memory.size");
    rig.chv(&["vm", "list"])
        .await
        .ends_with(0)
        .prints("restart needed");

    for (change, exit, expected) in [
        (
            vec!["attach", "web", "--disk", "id=data,path=d,format=raw"],
            3,
            "data is another one's",
        ),
        (vec!["detach", "web", "--disk", "root"], 5, "no disk root"),
        (vec!["resize", "web", "--vcpus", "4096"], 3, "vCPUs more asked"),
        (vec!["set", "web", "cpu.cores=2"], 2, "cores"),
        (vec!["set", "web", "onHostLoss=failover"], 3, "stop it first"),
        (
            vec!["resize", "web", "--vcpus", "3", "--revision", "1"],
            4,
            "not 1",
        ),
        (vec!["resize", "gone", "--vcpus", "3"], 5, "gone"),
    ] {
        let words: Vec<&str> = ["vm"].into_iter().chain(change).collect();
        rig.chv(&words).await.ends_with(exit).tells(expected);
    }
}
