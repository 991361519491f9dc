//! The exact requests, and an API that answers what the test wants, on the socket where Firecracker's would be.

use std::sync::Arc;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use super::*;
use crate::hypervisor::{Attached, MachineFiles, Making, Payload, Process, RunDir};

fn machine(more: Value) -> Machine {
    let mut spec = json!({"cpu": 2, "memory": "512MiB", "boot": {"kernel": "k", "cmdline": "quiet"}});
    spec.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    Machine {
        vm: "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap(),
        run_dir: RunDir::new("/run/x").unwrap(),
        wall: crate::wall::Wall::default(),
        making: Making::default(),
        spec: Arc::new(serde_json::from_value(spec).unwrap()),
        files: MachineFiles {
            payload: Payload::Kernel {
                kernel: "/images/vmlinux".into(),
                initramfs: Some("/images/initramfs.cpio".into()),
            },
            disks: vec!["/images/a.raw".into(), "/images/b.raw".into()],
            seed: None,
            attached: Attached::default(),
        },
    }
}

#[test]
fn given_a_machine_with_everything_then_the_requests_are_exactly_these() {
    let machine = machine(json!({
        "disks": [
            {"id": "a-1", "path": "a", "format": "raw", "readOnly": true},
            {"id": "b", "path": "b", "format": "raw", "rateLimit": {"ops": {"size": 10, "refillMs": 20}}},
        ],
        "nics": [{
            "id": "lan", "backend": {"tap": "tap0"}, "mac": "52:54:00:12:34:56",
            "rateLimit": {"bandwidth": {"size": 1, "refillMs": 2, "oneTimeBurst": 3}},
        }],
    }));
    let asks = config::requests(&machine).unwrap();
    let asked: Vec<_> = asks
        .iter()
        .map(|ask| (ask.method.as_str(), ask.path.as_str(), ask.body.clone().unwrap()))
        .collect();
    let boot = json!({
        "kernel_image_path": "/images/vmlinux",
        "initrd_path": "/images/initramfs.cpio",
        "boot_args": "console=ttyS0 reboot=k quiet",
    });
    let first = json!({
        "drive_id": "disk0", "path_on_host": "/images/a.raw", "is_root_device": false, "is_read_only": true,
        "cache_type": "Writeback",
    });
    let second = json!({
        "drive_id": "disk1", "path_on_host": "/images/b.raw", "is_root_device": false, "is_read_only": false,
        "cache_type": "Writeback", "rate_limiter": {"ops": {"size": 10, "refill_time": 20}},
    });
    let limit = json!({"bandwidth": {"size": 1, "refill_time": 2, "one_time_burst": 3}});
    let nic = json!({
        "iface_id": "nic0", "host_dev_name": "tap0", "guest_mac": "52:54:00:12:34:56",
        "rx_rate_limiter": limit, "tx_rate_limiter": limit,
    });
    assert_eq!(
        asked,
        [
            (
                "PUT",
                "/machine-config",
                json!({"vcpu_count": 2, "mem_size_mib": 512})
            ),
            ("PUT", "/boot-source", boot),
            ("PUT", "/drives/disk0", first),
            ("PUT", "/drives/disk1", second),
            ("PUT", "/network-interfaces/nic0", nic),
            ("PUT", "/vsock", json!({"guest_cid": 3, "uds_path": "vsock"})),
            ("PUT", "/entropy", json!({})),
        ]
    );
}

#[test]
fn given_what_it_can_not_do_then_it_is_refused_at_admission_and_here() {
    use chv_domain::spec::Part;
    for more in [
        json!({"nics": [{"id": "lan", "backend": "user"}]}),
        json!({"disks": [{"id": "a", "path": "a", "format": "qcow2"}]}),
    ] {
        let machine = machine(more);
        assert!(machine.spec.lacks(HypervisorKind::Firecracker).is_some());
        let error = config::requests(&machine).unwrap_err();
        assert!(matches!(error, HypervisorError::Unsupported { .. }), "{error}");
    }
}

struct Scene {
    _dir: tempfile::TempDir,
    driver: Firecracker,
    instance: Instance,
    listener: UnixListener,
}

/// A machine whose process is this test's.
fn scene() -> Scene {
    let dir = tempfile::tempdir().unwrap();
    let instance = Instance {
        vm: "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap(),
        kind: HypervisorKind::Firecracker,
        run_dir: RunDir::new(dir.path()).unwrap(),
        process: Process::of(std::process::id()).unwrap().unwrap(),
    };
    std::fs::create_dir(instance.run_dir.own()).unwrap();
    let listener = UnixListener::bind(instance.run_dir.own_api_socket()).unwrap();
    let driver = Firecracker {
        binary: Binary {
            path: "/bin/firecracker".into(),
            version: String::new(),
        },
        kernels: Kernels::new(dir.path()),
    };
    Scene {
        _dir: dir,
        driver,
        instance,
        listener,
    }
}

/// Answers one request, and gives its first line and its body.
async fn answer(listener: &UnixListener, status: &str, body: &str) -> (String, String) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut request = String::new();
    let whole = |request: &str| {
        let (head, body) = request.split_once("\r\n\r\n")?;
        let length = head.to_lowercase();
        let length = length
            .split_once("content-length: ")
            .map_or("0", |(_, rest)| rest);
        let length: usize = length.lines().next()?.trim().parse().ok()?;
        (body.len() >= length).then(|| {
            (
                head.lines().next().unwrap_or_default().to_owned(),
                body.to_owned(),
            )
        })
    };
    loop {
        let mut chunk = [0; 1024];
        let length = stream.read(&mut chunk).await.unwrap();
        assert!(length > 0, "the request ended early: {request:?}");
        request.push_str(std::str::from_utf8(&chunk[..length]).unwrap());
        if let Some(whole) = whole(&request) {
            let length = body.len();
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).await.unwrap();
            return whole;
        }
    }
}

async fn status_of(body: &str) -> Status {
    let scene = scene();
    let (status, (line, _)) = tokio::join!(
        scene.driver.status(&scene.instance),
        answer(&scene.listener, "200 OK", body)
    );
    assert_eq!(line, "GET / HTTP/1.1");
    status
}

#[tokio::test]
async fn given_each_state_then_it_has_a_status_and_what_is_none_says_nothing_about_the_machine() {
    for (state, status) in [
        ("Not started", Status::Booting),
        ("Running", Status::Running),
        ("Paused", Status::Paused),
    ] {
        assert_eq!(
            status_of(&format!(r#"{{"id": "x", "state": "{state}"}}"#)).await,
            status
        );
    }
    for body in [r#"{"state": "Dreaming"}"#, "{}", "junk", ""] {
        let status = status_of(body).await;
        assert!(matches!(status, Status::Unknown(_)), "{body}: {status:?}");
    }
}

#[tokio::test]
async fn given_an_api_that_refuses_then_its_reason_is_told() {
    let scene = scene();
    let (pressed, (line, body)) = tokio::join!(
        scene.driver.press_power_button(&scene.instance),
        answer(
            &scene.listener,
            "400 Bad Request",
            r#"{"fault_message": "not yet"}"#
        )
    );
    assert_eq!(line, "PUT /actions HTTP/1.1");
    assert_eq!(body, r#"{"action_type":"SendCtrlAltDel"}"#);
    let error = pressed.unwrap_err().to_string();
    assert!(error.contains("400: not yet"), "{error}");
}

#[tokio::test]
async fn given_an_answer_without_content_then_it_was_done() {
    let scene = scene();
    let (pressed, _) = tokio::join!(
        scene.driver.press_power_button(&scene.instance),
        answer(&scene.listener, "204 No Content", "")
    );
    pressed.unwrap();
}

#[tokio::test]
async fn given_a_machine_when_it_is_held_and_let_run_then_the_requests_are_exactly_these() {
    let scene = scene();
    let (paused, asked) = tokio::join!(
        scene.driver.pause(&scene.instance),
        answer(&scene.listener, "204 No Content", "")
    );
    paused.unwrap();
    assert_eq!(
        asked,
        (
            "PATCH /vm HTTP/1.1".to_owned(),
            r#"{"state":"Paused"}"#.to_owned()
        )
    );
    let (resumed, asked) = tokio::join!(
        scene.driver.resume(&scene.instance),
        answer(&scene.listener, "204 No Content", "")
    );
    resumed.unwrap();
    assert_eq!(asked.1, r#"{"state":"Resumed"}"#);
}
