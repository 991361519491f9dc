//! Looks whether history is beyond what the cluster is set to keep, and records up to where it is forgotten then.
//! Deleting is each replica's own work.
//!
//! What is due follows from the setting and the leader's sealed files ([`due`], pure); files are forgotten whole.

use std::time::Duration;

use chv_domain::cluster::Cluster;
use chv_domain::{Command, Forgotten, Seq, Timestamp};
use chv_eventlog::SealedFile;
use chv_proto::client::now;
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::intake::Waiting;
use super::{Office, own};

/// How often it is looked whether history is beyond the setting.
const LOOK: Duration = Duration::from_secs(1);

/// The last event that is to be forgotten; `None` while there is none. Never the newest file, nor what is not
/// published.
fn due(cluster: &Cluster, files: &[SealedFile], published: Seq, now: Timestamp) -> Option<Seq> {
    let (retention, oldest) = (cluster.retention(), cluster.oldest_kept());
    let kept: Vec<_> = files.iter().filter(|file| file.last >= oldest).collect();
    let (_, older) = kept.split_last()?;
    let mut size: u64 = kept.iter().map(|file| file.bytes).sum();
    let mut upto = None;
    for file in older {
        let old = retention
            .keep_for
            .is_some_and(|keep| file.to.plus(keep.duration()) < now);
        let large = retention.keep_size.is_some_and(|keep| size > keep.bytes());
        if !(old || large) || file.last > published {
            break;
        }
        size -= file.bytes;
        upto = Some(file.last);
    }
    upto
}

/// Records what is due for as long as the term lasts.
pub(super) async fn run(office: Office, queue: mpsc::Sender<Waiting>) {
    loop {
        tokio::select! {
            () = office.stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        let log = &office.reader.log;
        let state = log.projection();
        let Some(upto) = due(state.cluster(), &log.sealed_files(), state.published(), now()) else {
            continue;
        };
        let read = tokio::select! {
            () = office.stop.cancelled() => return,
            read = log.read(upto.next(), 1, 1) => read,
        };
        // The record after it is the first that is kept.
        let kept = match read.map(|records| records.into_iter().next()) {
            Ok(Some(kept)) if kept.first == upto.next() => kept,
            Ok(_) => continue,
            Err(error) => {
                warn!(%error, "can't tell where the kept history would begin; nothing is forgotten for now");
                continue;
            }
        };
        info!(%upto, setting = %state.cluster().retention(), "history is beyond the setting");
        let forgotten = Forgotten {
            upto,
            kept_from: kept.time,
        };
        // Where it is refused, it stays due.
        let recorded = own::record(&office, &queue, Command::ForgetHistory { forgotten }).await;
        if let Some(Err(error)) = recorded {
            warn!(%error, "history is not forgotten for now");
        }
    }
}

#[cfg(test)]
mod tests {
    use chv_domain::{
        Batch, Cause, CommandId, Event, KeepFor, KeepSize, Projection, Record, RecordBody, Retention, Term,
        Verb,
    };
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000_000);

    /// A cluster with this setting, and with history forgotten up to `upto`.
    fn cluster(retention: Retention, upto: Option<u64>) -> Cluster {
        let mut events = vec![Event::RetentionSet { retention }];
        events.extend(upto.map(|upto| Event::HistoryForgotten {
            forgotten: Forgotten {
                upto: Seq(upto),
                kept_from: NOW,
            },
        }));
        let record = Record::new(RecordBody {
            first: Seq(1),
            term: Term(1),
            time: NOW,
            actor: "alice".parse().unwrap(),
            cause: Cause {
                command: CommandId::from_bytes([1; 16]),
                verb: Verb::ClusterSetRetention,
                follows: None,
            },
            trace: None,
            prev: chv_domain::RecordHash::ZERO,
            events,
        });
        let mut state = Projection::default();
        state.apply_batch(
            Term(1),
            &Batch {
                published: Seq::ZERO,
                records: vec![record],
            },
        );
        state.cluster().clone()
    }

    fn retention(seconds: u32, bytes: u64) -> Retention {
        Retention {
            keep_for: KeepFor::from_seconds(seconds).ok(),
            keep_size: KeepSize::from_bytes(bytes).ok(),
        }
    }

    /// A file of ten events each; the last one of them so many seconds ago.
    fn files(files: &[(u64, u64)]) -> Vec<SealedFile> {
        let one = |(at, (ago, bytes)): (usize, &(u64, u64))| SealedFile {
            last: Seq((at as u64 + 1) * 10),
            to: NOW.minus(Duration::from_secs(*ago)),
            bytes: *bytes,
        };
        files.iter().enumerate().map(one).collect()
    }

    #[test]
    fn what_is_too_old_or_too_much_is_due_file_by_file() {
        let files = files(&[(90, 5), (60, 5), (30, 5), (20, 5)]);
        let of = |setting, forgotten, published| {
            due(&cluster(setting, forgotten), &files, Seq(published), NOW).map(|seq| seq.0)
        };
        assert_eq!(of(Retention::FOREVER, None, 100), None);
        assert_eq!(of(retention(60, 0), None, 100), Some(10));
        assert_eq!(of(retention(59, 0), None, 100), Some(20));
        assert_eq!(of(retention(0, 20), None, 100), None);
        assert_eq!(of(retention(0, 19), None, 100), Some(10));
        assert_eq!(of(retention(59, 19), None, 100), Some(20), "either is enough");
        assert_eq!(of(retention(1, 1), None, 100), Some(30), "the newest stays");
        assert_eq!(
            of(retention(1, 1), None, 29),
            Some(20),
            "so does what is not published"
        );
        assert_eq!(
            of(retention(59, 0), Some(20), 100),
            None,
            "it is forgotten already"
        );
        assert_eq!(
            of(retention(0, 9), Some(20), 100),
            Some(30),
            "what is forgotten takes no room"
        );
    }

    proptest! {
        #[test]
        fn no_more_is_due_than_brings_history_within_the_setting(
            ago in prop::collection::vec((0u64..100, 1u64..20), 0..12), seconds in 0u32..100, bytes in 0u64..100, published in 0u64..130
        ) {
            let mut ago = ago;
            ago.sort_unstable_by_key(|(ago, _)| std::cmp::Reverse(*ago));
            let (setting, files) = (retention(seconds, bytes), files(&ago));
            let upto = due(&cluster(setting, None), &files, Seq(published), NOW);
            if let Some(upto) = upto {
                prop_assert!(upto <= Seq(published) && upto < files[files.len() - 1].last);
                let last = files.iter().position(|file| file.last == upto).unwrap();
                let with_it: u64 = files[last..].iter().map(|file| file.bytes).sum();
                let beyond = setting.keep_size.is_some_and(|keep| with_it > keep.bytes())
                    || setting.keep_for.is_some_and(|keep| NOW.since(files[last].to) > keep.duration());
                prop_assert!(beyond);
                // Doing it leaves nothing due.
                prop_assert_eq!(due(&cluster(setting, Some(upto.0)), &files, Seq(published), NOW), None);
            }
        }
    }
}
