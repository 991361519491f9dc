//! `chv watch`: first how things are, then what happens to them.

use tokio::io::{AsyncBufReadExt, BufReader};

use crate::fake::Guests;
use crate::rig::Rig;

#[tokio::test]
async fn given_a_watched_vm_when_it_and_another_change_then_its_state_and_its_events_are_shown() {
    let rig = Rig::with(Guests::Boot).await;
    rig.create("web", &["--for", "ready"]).await.ends_with(0);
    rig.create("other", &["--for", "ready"]).await.ends_with(0);
    let before = rig.fake().seq();
    let mut watching = rig.chv_started(&["watch", "--vm", "web", "-o", "json"]);
    let mut told = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut next = async || -> serde_json::Value {
        serde_json::from_str(&told.next_line().await.unwrap().unwrap()).unwrap()
    };

    let snapshot = next().await;
    assert_eq!(
        (snapshot["kind"].as_str(), snapshot["seq"].as_u64()),
        (Some("Snapshot"), Some(before.0))
    );
    assert_eq!(snapshot["vms"][0]["name"], "web");
    assert_eq!(snapshot["vms"][0]["status"], "ready");
    rig.chv(&["vm", "stop", "other"]).await.ends_with(0);
    rig.chv(&["vm", "stop", "web"]).await.ends_with(0);
    let events = [next().await, next().await];
    assert_eq!(events[0]["kind"], "stop-requested");
    assert_eq!(events[1]["kind"], "exited");
    for event in events {
        assert_eq!(event["resource"]["name"], "web");
        assert!(event["seq"].as_u64() > Some(before.0));
    }
    watching.kill().await.unwrap();
}

#[tokio::test]
async fn given_a_project_a_host_or_everything_when_watched_then_the_snapshot_is_of_that() {
    let rig = Rig::with(Guests::Boot).await;
    rig.create("web", &[]).await.ends_with(0);
    for (options, vms, hosts) in [
        (&[][..], 1, 0),
        (&["--host", "h1"], 1, 1),
        (&["--all"], 1, 1),
        (&["--project", "empty"], 0, 0),
    ] {
        let mut watching = rig.chv_started(&[&["watch", "-o", "json"], options].concat());
        let mut told = BufReader::new(watching.stdout.take().unwrap()).lines();
        let line = told.next_line().await.unwrap().unwrap();
        let snapshot: serde_json::Value = serde_json::from_str(&line).unwrap();
        let count = |of: &str| snapshot[of].as_array().map(Vec::len);
        assert_eq!(
            (count("vms"), count("hosts")),
            (Some(vms), Some(hosts)),
            "{options:?}: {snapshot}"
        );
        watching.kill().await.unwrap();
    }
    rig.chv(&["watch", "--vm", "none"])
        .await
        .ends_with(5)
        .tells("there is no VM default/none");
}
