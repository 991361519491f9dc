//! When the log heard of each VM that it runs.

use std::collections::BTreeMap;
use std::time::Instant;

use chv_domain::{Event, VmId};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::leader::{Cluster, within};

/// What has been heard since it began to listen.
pub(crate) struct Started {
    heard: watch::Receiver<BTreeMap<VmId, Instant>>,
    listener: JoinHandle<()>,
}

impl Started {
    /// Listens from now on.
    pub(crate) fn listen(cluster: &Cluster) -> Self {
        let mut events = cluster.events();
        let mut known = events.borrow().len();
        let (sender, heard) = watch::channel(BTreeMap::new());
        let listener = tokio::spawn(async move {
            while events.changed().await.is_ok() {
                let now = Instant::now();
                let events = events.borrow_and_update();
                let new = events[known..].iter().filter_map(|(_, event)| match event {
                    Event::VmStarted { vm, .. } | Event::VmAdopted { vm, .. } => Some((*vm, now)),
                    _ => None,
                });
                sender.send_modify(|heard| heard.extend(new));
                known = events.len();
            }
        });
        Self { heard, listener }
    }

    /// When each was heard of, once so many were.
    pub(crate) async fn all(mut self, count: usize) -> BTreeMap<VmId, Instant> {
        let all = within(
            "all are started",
            self.heard.wait_for(|heard| heard.len() >= count),
        )
        .await;
        all.unwrap().clone()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.listener.abort();
    }
}
