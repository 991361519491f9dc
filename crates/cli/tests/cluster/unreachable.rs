//! No NATS, no leader, no permission.

use crate::fake::Guests;
use crate::rig::Rig;

#[tokio::test]
async fn given_no_nats_then_it_says_so_and_ends_with_7() {
    let rig = Rig::without_scheduler().await;
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let url = format!("nats://127.0.0.1:{port}");
    for args in [
        &["vm", "list"][..],
        &["vm", "start", "web"],
        &["status"],
        &["events"],
    ] {
        let mut command = rig.chv_command(args);
        command.args(["--server", &url, "--timeout", "2s"]);
        let ran = crate::rig::ended(command.spawn().unwrap()).await;
        ran.ends_with(7).tells(&url).tells("try: ");
    }
}

#[tokio::test]
async fn given_no_leader_then_it_says_so_and_ends_with_7() {
    let rig = Rig::without_scheduler().await;
    for args in [&["vm", "list"][..], &["vm", "start", "web"], &["status"]] {
        let mut command = rig.chv_command(args);
        command.args(["--timeout", "1s"]);
        let ran = crate::rig::ended(command.spawn().unwrap()).await;
        let ran = ran.ends_with(7).tells("error: ").tells("try: ");
        let advised = ran.err.contains("`chv status`");
        assert_eq!(
            advised,
            args != ["status"],
            "status does not advise itself: {ran:?}"
        );
    }
}

#[tokio::test]
async fn given_a_wrong_password_or_no_user_then_it_says_so() {
    let rig = Rig::with(Guests::Boot).await;
    rig.chv(&["vm", "list", "--password", "wrong"])
        .await
        .ends_with(8)
        .tells("alice");
    let mut nobody = rig.chv_command(&["vm", "list"]);
    nobody.env_remove("CHV_USER");
    let ran = crate::rig::ended(nobody.spawn().unwrap()).await;
    ran.ends_with(2).tells("CHV_USER");
}

#[tokio::test]
async fn given_a_password_in_a_variable_when_a_file_is_named_on_the_line_then_the_file_wins() {
    let rig = Rig::with(Guests::Boot).await;
    let file = rig.nats.password_file("alice").display().to_string();
    let run = async |args: &[&str]| {
        let mut command = rig.chv_command(args);
        command
            .env("CHV_PASSWORD", "wrong")
            .env_remove("CHV_PASSWORD_FILE");
        crate::rig::ended(command.spawn().unwrap()).await
    };
    run(&["vm", "list", "--password-file", &file]).await.ends_with(0);
    run(&["--password-file", &file, "vm", "list"]).await.ends_with(0);
    run(&["vm", "list"]).await.ends_with(8);
    let wrong = rig.file("wrong", "wrong");
    let right = rig.nats.password("alice");
    run(&["vm", "list", "--password-file", &wrong, "--password", &right])
        .await
        .ends_with(0);
}

#[tokio::test]
async fn given_variables_when_the_arguments_are_wrong_then_the_usage_line_does_not_ask_for_them() {
    let rig = Rig::without_scheduler().await;
    let ran = rig
        .chv(&["vm", "create", "web"])
        .await
        .ends_with(2)
        .tells("--kernel");
    assert!(
        !ran.err.contains("--user") && !ran.err.contains("--server"),
        "{ran:?}"
    );
    let mut command = rig.chv_command(&["vm", "list"]);
    command.env("CHV_USER", "No One");
    let ran = crate::rig::ended(command.spawn().unwrap()).await;
    ran.ends_with(2).tells("No One");
}

#[tokio::test]
async fn given_a_user_who_may_only_look_when_it_changes_something_then_it_ends_with_8() {
    let rig = Rig::with(Guests::Boot).await;
    rig.create("web", &[]).await.ends_with(0);
    let audit = [
        "--user",
        "audit",
        "--password",
        &rig.nats.password("audit"),
        "--timeout",
        "5s",
    ];
    let run = async |args: &[&str]| {
        let mut command = rig.chv_command(args);
        command.args(audit).env_remove("CHV_PASSWORD_FILE");
        crate::rig::ended(command.spawn().unwrap()).await
    };
    run(&["vm", "list"]).await.ends_with(0).prints("web");
    run(&["vm", "stop", "web"]).await.ends_with(8).tells("audit");
    assert!(rig.fake().vm("web").unwrap().is_running());
}
