//! What the ledger's values looked like when they were written once: each one's bytes are kept, read, and compared with
//! what is written now. The directory's own form is sled's.
//!
//! `BLESS=1 cargo nextest run -p chv-hostd golden` writes them anew. Where that changes lines of before, the form has
//! changed, and a daemon that is upgraded puts its ledger aside: name it in CHANGELOG.md.

use std::fmt::Write as _;
use std::path::PathBuf;

use chv_domain::{Epoch, ExitReason, Run, Timestamp};

use super::*;
use crate::plan::{Begun, BootId, Boots, Stop};

const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/ledger.txt");

const VM: VmId = VmId::from_bytes([3; 16]);

fn notes() -> Vec<(&'static str, VmNote)> {
    let (older, newest) = (Epoch(Seq(9)), Epoch(Seq(1 << 40)));
    let ran = |stop, killed, boots| Noted::Running {
        epoch: older,
        launched: Timestamp(1_700_000_000_000),
        stop,
        killed,
        boots,
        order: Seq(8),
        restarts: 3,
    };
    let running = |stop, killed| ran(stop, killed, Boots::default());
    let resetting = Boots {
        after: Seq(11),
        begun: Some(Begun {
            order: Seq(12),
            ends: BootId::new("6d1f"),
        }),
    };
    let stop = Stop {
        revision: Seq(7),
        since: Timestamp(1_700_000_001_000),
        pressed: Timestamp(1_700_000_002_000),
    };
    let run = Run {
        order: Seq(8),
        ran_ms: 1_200,
        restarts: 3,
    };
    let ended = |reason| Noted::Ended {
        epoch: older,
        reason,
        run,
    };
    let notes = [
        ("nothing", Noted::Nothing),
        ("launching", Noted::Launching { epoch: newest }),
        ("running", running(None, None)),
        ("stopping", running(Some(stop), None)),
        ("ending", running(None, Some(ExitReason::LeaseEnded))),
        ("resetting", ran(None, None, resetting)),
        ("powered-off", ended(ExitReason::PoweredOff)),
        ("killed", ended(ExitReason::Killed)),
        ("stop-timed-out", ended(ExitReason::StopTimedOut)),
        (
            "crashed",
            ended(ExitReason::Crashed("status 1: no kernel".to_owned())),
        ),
        ("vanished", ended(ExitReason::Vanished)),
        ("lease-ended", ended(ExitReason::LeaseEnded)),
    ];
    let note = |noted| VmNote { epoch: newest, noted };
    notes.map(|(name, noted)| (name, note(noted))).into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all");
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}

/// The lines of the golden file for what a ledger writes: a name, a key, a value.
async fn written() -> String {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(&dir.path().join("ledger")).unwrap();
    let mut lines = String::new();
    ledger.set_feed(Seq(17)).unwrap();
    let feed = ledger.db.get(FEED).unwrap().unwrap();
    writeln!(lines, "feed {} {}", hex(FEED), hex(&feed)).unwrap();
    ledger.set_user(VM, 200_000).unwrap();
    let (key, value) = ledger.users.first().unwrap().unwrap();
    writeln!(lines, "user {} {}", hex(&key), hex(&value)).unwrap();
    for (name, note) in notes() {
        ledger.put(VM, &note).await.unwrap();
        let (key, value) = ledger.vms.first().unwrap().unwrap();
        writeln!(lines, "{name} {} {}", hex(&key), hex(&value)).unwrap();
    }
    lines
}

#[tokio::test]
async fn golden_values_are_written_as_they_were_and_read_as_what_they_are() {
    let written = written().await;
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all(PathBuf::from(KEPT).parent().unwrap()).unwrap();
        std::fs::write(KEPT, &written).unwrap();
    }
    let kept = std::fs::read_to_string(KEPT).unwrap();
    assert_eq!(
        kept, written,
        "this is written otherwise than before; see this file's head"
    );
    // A ledger that holds just these bytes.
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(&dir.path().join("ledger")).unwrap();
    let mut expected = notes().into_iter();
    for line in kept.lines() {
        let [name, key, value] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        if name == "feed" {
            ledger.db.insert(unhex(key), unhex(value)).unwrap();
            assert_eq!(ledger.feed().unwrap(), Seq(17));
            continue;
        }
        if name == "user" {
            ledger.users.insert(unhex(key), unhex(value)).unwrap();
            assert_eq!(ledger.users().unwrap(), [(VM, 200_000)]);
            continue;
        }
        ledger.vms.insert(unhex(key), unhex(value)).unwrap();
        let (known, note) = expected.next().unwrap();
        assert_eq!(known, name);
        assert_eq!(ledger.notes().unwrap(), [(VM, note)], "{name}");
    }
    assert!(expected.next().is_none());
}
