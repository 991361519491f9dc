//! Whether there is room on the disk for more of the log.
//!
//! A write that fails for want of room ends the process, so none may come to that: while less than a reserve is free,
//! nothing more is taken that makes the log grow. The reserve is for what goes on meanwhile: votes, membership, what is
//! on its way already, and the segment that is made ahead. What others write to the same disk is not foreseen.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Between two looks at the disk.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// How many segments' worth of room is kept free.
const RESERVED_SEGMENTS: u64 = 3;

/// There is too little room for more of the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "only {free} bytes are free in {path}, and {reserve} are kept for what can't wait; make room there: nothing else \
     is needed to go on"
)]
pub struct NoRoom {
    path: PathBuf,
    free: u64,
    reserve: u64,
}

/// What was seen at the last look. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Room(watch::Receiver<Option<NoRoom>>);

impl Room {
    /// Looks once, and returns what goes on looking until `stop`. Room for some segments of `segment_size` bytes is the
    /// reserve.
    pub(crate) async fn watch(
        path: PathBuf,
        segment_size: u64,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let reserve = segment_size * RESERVED_SEGMENTS;
        let (told, seen) = watch::channel(look(&path, reserve, None).await);
        let looking = async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(LOOK_AGAIN) => {}
                }
                let before = told.borrow().clone();
                let now = look(&path, reserve, before.as_ref()).await;
                match (&before, &now) {
                    (None, Some(short)) => warn!(%short, "no commands are taken for want of room"),
                    (Some(_), None) => info!("there is room again"),
                    _ => {}
                }
                told.send_replace(now);
            }
        };
        (Self(seen), looking)
    }

    /// Fails while there is too little.
    pub(crate) fn check(&self) -> Result<(), NoRoom> {
        self.0.borrow().clone().map_or(Ok(()), Err)
    }
}

async fn look(path: &Path, reserve: u64, before: Option<&NoRoom>) -> Option<NoRoom> {
    let asked = path.to_owned();
    let found = tokio::task::spawn_blocking(move || rustix::fs::statvfs(&asked)).await;
    match found {
        Ok(Ok(found)) => {
            let free = found.f_bavail.saturating_mul(found.f_frsize);
            is_short(free, reserve, before.is_some()).then(|| NoRoom {
                path: path.to_owned(),
                free,
                reserve,
            })
        }
        // A disk that can't be asked is no reason to stop; a write to it tells.
        Ok(Err(_)) | Err(_) => before.cloned(),
    }
}

/// Whether `free` bytes are too few. Once they are, a quarter more than the reserve is wanted, so that it does not go to
/// and fro.
fn is_short(free: u64, reserve: u64, was_short: bool) -> bool {
    let wanted = if was_short { reserve + reserve / 4 } else { reserve };
    free < wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_down_to_the_reserve_and_again_a_quarter_above_it() {
        assert!(!is_short(100, 100, false));
        assert!(is_short(99, 100, false));
        assert!(is_short(124, 100, true));
        assert!(!is_short(125, 100, true));
    }
}
