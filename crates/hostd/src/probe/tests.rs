//! Probes with a hypervisor that is none, with what this machine has, and with a guest that says nothing.

use super::*;

fn report(kind: HypervisorKind, outcome: Outcome) -> ProbeReport {
    ProbeReport {
        kind,
        version: Some("7".to_owned()),
        outcome,
    }
}

#[test]
fn given_reports_then_only_those_that_run_guests_are_told_to_the_leader() {
    let runs = report(
        HypervisorKind::QemuTcg,
        Outcome::Runs {
            boot: Duration::from_millis(1500),
        },
    );
    assert_eq!(
        runs.facts(),
        Some(HypervisorFacts {
            kind: HypervisorKind::QemuTcg,
            version: "7".to_owned()
        })
    );
    assert_eq!(
        report(
            HypervisorKind::QemuKvm,
            Outcome::Fails {
                why: "hangs".to_owned()
            }
        )
        .facts(),
        None
    );
    assert_eq!(
        report(
            HypervisorKind::QemuKvm,
            Outcome::Absent {
                why: "none".to_owned()
            }
        )
        .facts(),
        None
    );
}

#[test]
fn given_a_report_then_it_reads_back_from_what_is_written() {
    for outcome in [
        Outcome::Runs {
            boot: Duration::from_millis(1500),
        },
        Outcome::Absent { why: "a".to_owned() },
        Outcome::Fails { why: "b".to_owned() },
    ] {
        let report = report(HypervisorKind::CloudHypervisor, outcome);
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<ProbeReport>(&text).unwrap(), report);
    }
}

mod kept {
    use super::*;
    use crate::hypervisor::Binary;

    struct Scene {
        dir: tempfile::TempDir,
        binary: Binary,
        guest: ProbeGuest,
    }

    impl Scene {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let file = |name: &str| {
                let path = dir.path().join(name);
                std::fs::write(&path, name).unwrap();
                path
            };
            let binary = Binary {
                path: file("qemu"),
                version: "7".to_owned(),
            };
            let guest = ProbeGuest {
                kernel: file("vmlinuz"),
                initramfs: file("initramfs"),
            };
            Self { binary, guest, dir }
        }

        async fn entry(&self, outcome: Outcome) -> cache::Entry {
            let key = cache::Key::now(&self.binary, &self.guest).await.unwrap();
            cache::Entry {
                key,
                report: report(HypervisorKind::QemuTcg, outcome),
            }
        }

        async fn is_kept(&self) -> bool {
            let now = cache::Key::now(&self.binary, &self.guest).await.unwrap();
            let kept = cache::read(&self.dir.path().join("kept.json")).await;
            kept.iter().any(|entry| entry.is(HypervisorKind::QemuTcg, &now))
        }
    }

    #[tokio::test]
    async fn given_a_kept_report_when_the_guest_or_the_program_changes_then_it_is_none_any_more() {
        let mut scene = Scene::new();
        assert!(!scene.is_kept().await);
        let entry = scene
            .entry(Outcome::Runs {
                boot: Duration::from_secs(2),
            })
            .await;
        cache::write(&scene.dir.path().join("kept.json"), vec![entry])
            .await
            .unwrap();
        assert!(scene.is_kept().await);

        scene.binary.version = "8".to_owned();
        assert!(!scene.is_kept().await);
        scene.binary.version = "7".to_owned();
        std::fs::write(&scene.guest.initramfs, "another one").unwrap();
        assert!(!scene.is_kept().await);
    }

    #[tokio::test]
    async fn given_only_failures_or_junk_then_nothing_is_kept() {
        let scene = Scene::new();
        let path = scene.dir.path().join("kept.json");
        let entry = scene
            .entry(Outcome::Fails {
                why: "busy".to_owned(),
            })
            .await;
        cache::write(&path, vec![entry]).await.unwrap();
        assert!(!scene.is_kept().await);
        std::fs::write(&path, "junk").unwrap();
        assert!(!scene.is_kept().await);
    }
}

mod needs_guest {
    use super::*;
    use crate::hypervisor::tests::guest_file;

    fn guest() -> ProbeGuest {
        ProbeGuest {
            kernel: guest_file("vmlinuz"),
            initramfs: guest_file("initramfs.cpio"),
        }
    }

    #[tokio::test]
    async fn given_this_machine_when_probed_then_emulation_runs_guests_and_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let (scratch, cache) = (dir.path().join("p"), dir.path().join("kept.json"));

        let probed = probe(
            &HypervisorKind::ALL,
            &guest(),
            &scratch,
            &cache,
            Freshness::Kept,
            &Walls::none(),
        )
        .await;
        let kinds: Vec<_> = probed.iter().map(|probed| probed.report.kind).collect();
        assert_eq!(kinds, HypervisorKind::ALL);
        for probed in &probed {
            println!("{:?}", probed.report);
            assert_eq!(
                probed.driver.is_none(),
                matches!(probed.report.outcome, Outcome::Absent { .. })
            );
        }
        assert!(
            matches!(probed[3].report.outcome, Outcome::Runs { .. }),
            "{:?}",
            probed[3].report
        );
        assert_eq!(std::fs::read_dir(&scratch).map_or(0, Iterator::count), 0);

        // Told again without a guest being booted: the time is the same to the nanosecond.
        let again = probe(
            &HypervisorKind::ALL,
            &guest(),
            &scratch,
            &cache,
            Freshness::Kept,
            &Walls::none(),
        )
        .await;
        let reports = |probed: &[Probed]| probed.iter().map(|one| one.report.clone()).collect::<Vec<_>>();
        assert_eq!(reports(&again), reports(&probed));
    }

    #[tokio::test]
    async fn given_a_guest_without_an_init_then_the_reason_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let initramfs = dir.path().join("empty.cpio");
        // A cpio archive with nothing in it.
        let trailer = format!(
            "070701{}{:08X}{}TRAILER!!!\0\0\0\0",
            "0".repeat(88),
            11,
            "0".repeat(8)
        );
        std::fs::write(&initramfs, trailer).unwrap();
        let guest = ProbeGuest { initramfs, ..guest() };
        let driver = find(HypervisorKind::QemuTcg, dir.path()).await.unwrap();
        let why = boot::boot(driver.as_ref(), &guest, &dir.path().join("vm"), &Walls::none())
            .await
            .unwrap_err();
        assert!(
            why.contains("before the guest was ready") && why.contains("Kernel panic"),
            "{why}"
        );
    }
}
