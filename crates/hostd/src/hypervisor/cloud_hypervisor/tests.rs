//! Against an API that answers what the test wants, on the socket where cloud-hypervisor's would be.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use super::*;
use crate::hypervisor::{Process, RunDir};

struct Scene {
    _dir: tempfile::TempDir,
    driver: CloudHypervisor,
    instance: Instance,
    listener: UnixListener,
}

/// A machine whose process is this test's.
fn scene() -> Scene {
    let dir = tempfile::tempdir().unwrap();
    let instance = Instance {
        vm: "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap(),
        kind: HypervisorKind::CloudHypervisor,
        run_dir: RunDir::new(dir.path()).unwrap(),
        process: Process::of(std::process::id()).unwrap().unwrap(),
    };
    let listener = UnixListener::bind(instance.run_dir.api_socket()).unwrap();
    let driver = CloudHypervisor {
        binary: Binary {
            path: "/bin/cloud-hypervisor".into(),
            version: String::new(),
        },
    };
    Scene {
        _dir: dir,
        driver,
        instance,
        listener,
    }
}

/// Answers one request, and gives its first line.
async fn answer(listener: &UnixListener, status: &str, body: &str) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut chunk = [0; 1024];
        let length = stream.read(&mut chunk).await.unwrap();
        assert!(length > 0, "the request ended early");
        request.extend_from_slice(&chunk[..length]);
    }
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).await.unwrap();
    String::from_utf8_lossy(&request)
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}

async fn status_of(body: &str) -> Status {
    let scene = scene();
    let (status, request) = tokio::join!(
        scene.driver.status(&scene.instance),
        answer(&scene.listener, "200 OK", body)
    );
    assert_eq!(request, "GET /api/v1/vm.info HTTP/1.1");
    status
}

#[tokio::test]
async fn given_each_state_that_the_client_knows_then_it_has_a_status() {
    for (state, status) in [
        ("Created", Status::Booting),
        ("Running", Status::Running),
        ("Paused", Status::Paused),
        ("Shutdown", Status::ShuttingDown),
    ] {
        assert_eq!(
            status_of(&format!(
                r#"{{"config": {{"payload": {{}}}}, "state": "{state}"}}"#
            ))
            .await,
            status
        );
    }
}

#[tokio::test]
async fn given_a_state_that_the_client_does_not_know_then_nothing_is_said_about_the_machine() {
    for body in [
        r#"{"config": {"payload": {}}, "state": "BreakPoint"}"#,
        "junk",
        "",
    ] {
        let status = status_of(body).await;
        assert!(matches!(status, Status::Unknown(_)), "{body}: {status:?}");
    }
}

#[tokio::test]
async fn given_an_api_that_refuses_then_its_reason_is_told() {
    let scene = scene();
    let (pressed, request) = tokio::join!(
        scene.driver.press_power_button(&scene.instance),
        answer(
            &scene.listener,
            "500 Internal Server Error",
            "the VM is not running"
        )
    );
    assert_eq!(request, "PUT /api/v1/vm.power-button HTTP/1.1");
    let error = pressed.unwrap_err();
    assert!(
        matches!(&error, HypervisorError::Api { why, .. } if why.contains("the VM is not running")),
        "{error}"
    );
}

#[tokio::test]
async fn given_an_api_that_never_answers_then_the_wait_ends() {
    let Scene {
        instance,
        listener,
        _dir,
        ..
    } = scene();
    let limit = Duration::from_millis(20);
    let request = client(&instance).boot_vm();
    let error = call(&instance, Operation::Launch, limit, request)
        .await
        .unwrap_err();
    assert!(
        matches!(error, HypervisorError::Timeout { after, .. } if after == limit),
        "{error}"
    );
    drop(listener);
}

#[tokio::test]
async fn given_a_process_that_lives_without_its_api_then_it_is_not_taken_for_gone() {
    let Scene {
        driver,
        instance,
        listener,
        _dir,
    } = scene();
    drop(listener);
    assert!(matches!(driver.status(&instance).await, Status::Unknown(_)));
}
