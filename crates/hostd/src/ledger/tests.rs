//! The ledger on a disk: across restarts, and damaged in every way that a test can think of.

use chv_domain::{Epoch, ExitReason, Run, Timestamp};

use super::*;

const VM: VmId = VmId::from_bytes([3; 16]);

fn note(reason: ExitReason) -> VmNote {
    VmNote {
        epoch: Epoch(Seq(9)),
        noted: Noted::Ended {
            epoch: Epoch(Seq(9)),
            reason,
            run: Run::default(),
        },
    }
}

fn running() -> VmNote {
    let epoch = Epoch(Seq(u64::MAX));
    VmNote {
        epoch,
        noted: Noted::Running {
            epoch,
            launched: Timestamp(1),
            stop: Some(crate::plan::Stop {
                revision: Seq(7),
                since: Timestamp(2),
                pressed: Timestamp(3),
            }),
            killed: Some(ExitReason::StopTimedOut),
            boots: crate::plan::Boots::default(),
            order: Seq(7),
            restarts: 2,
        },
    }
}

#[tokio::test]
async fn given_notes_when_opened_again_then_they_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger");
    let (ledger, damage) = Ledger::open(&path).unwrap();
    assert_eq!(damage, None);
    assert_eq!(ledger.feed().unwrap(), Seq::ZERO);
    ledger.put(VM, &running()).await.unwrap();
    ledger
        .put(VmId::from_bytes([4; 16]), &note(ExitReason::Killed))
        .await
        .unwrap();
    ledger.set_user(VM, 200_000).unwrap();
    ledger.set_user(VmId::from_bytes([4; 16]), 200_001).unwrap();
    ledger.remove(VmId::from_bytes([4; 16])).await.unwrap();
    ledger.set_feed(Seq(17)).unwrap();
    ledger.close().await.unwrap();
    drop(ledger);

    let (ledger, damage) = Ledger::open(&path).unwrap();
    assert_eq!(damage, None);
    assert_eq!(ledger.feed().unwrap(), Seq(17));
    assert_eq!(ledger.notes().unwrap(), [(VM, running())]);
    assert_eq!(ledger.users().unwrap(), [(VM, 200_000)]);
}

#[tokio::test]
async fn given_a_ledger_that_is_open_elsewhere_when_opened_then_it_is_waited_for_and_not_taken_for_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger");
    let (ledger, _) = Ledger::open(&path).unwrap();
    ledger.put(VM, &running()).await.unwrap();
    let again = {
        let path = path.clone();
        std::thread::spawn(move || Ledger::open(&path))
    };
    // The one that has it goes on using it meanwhile.
    ledger.set_feed(Seq(17)).unwrap();
    ledger.close().await.unwrap();
    drop(ledger);
    let (ledger, damage) = again.join().unwrap().unwrap();
    assert_eq!((damage, ledger.feed().unwrap()), (None, Seq(17)));
}

#[tokio::test]
async fn given_a_note_that_is_too_large_then_it_is_refused_and_the_old_one_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(&dir.path().join("ledger")).unwrap();
    ledger.put(VM, &running()).await.unwrap();
    let error = ledger
        .put(VM, &note(ExitReason::Crashed("x".repeat(5000))))
        .await
        .unwrap_err();
    assert!(
        matches!(error, LedgerError::TooLarge { size: 5000.., .. }),
        "{error}"
    );
    assert_eq!(ledger.notes().unwrap(), [(VM, running())]);
}

#[tokio::test]
async fn given_a_value_that_is_not_what_was_written_then_the_ledger_is_put_aside_and_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger");
    let (ledger, _) = Ledger::open(&path).unwrap();
    let mut value = stored::encode(&running()).unwrap();
    *value.last_mut().unwrap() ^= 1;
    ledger.vms.insert(VM.to_bytes(), value).unwrap();
    ledger.close().await.unwrap();
    drop(ledger);

    let (ledger, damage) = Ledger::open(&path).unwrap();
    assert!(damage.unwrap().contains("checksum"));
    assert_eq!(ledger.notes().unwrap(), []);
    assert!(dir.path().join("ledger.damaged").is_dir());
    ledger.put(VM, &running()).await.unwrap();
}

#[tokio::test]
async fn given_files_full_of_junk_then_the_ledger_is_put_aside_and_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger");
    for _ in 0..2 {
        let (ledger, _) = Ledger::open(&path).unwrap();
        ledger.put(VM, &running()).await.unwrap();
        drop(ledger);
        for name in ["conf", "db"] {
            std::fs::write(path.join(name), [0xa5; 70_000]).unwrap();
        }
        let (ledger, damage) = Ledger::open(&path).unwrap();
        assert!(damage.is_some());
        assert_eq!(ledger.notes().unwrap(), []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn given_notes_of_many_vms_at_once_then_none_waits_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(&dir.path().join("ledger")).unwrap();
    for round in 0..10 {
        let puts = (0..200).map(|vm| {
            let ledger = ledger.clone();
            tokio::spawn(async move { ledger.put(VmId::from_bytes([vm; 16]), &running()).await })
        });
        let all = futures::future::join_all(puts);
        let done = tokio::time::timeout(Duration::from_secs(30), all).await;
        for put in done.unwrap_or_else(|_| panic!("stuck in round {round}")) {
            put.unwrap().unwrap();
        }
    }
    assert_eq!(ledger.notes().unwrap().len(), 200);
}
