//! Reading the records that a query finds, by the index.

use std::time::Duration;

use chv_domain::{Projection, Record, Seq, stored};

use super::ReadError;
use crate::index::{Index, Query};
use crate::log::EventLog;

/// How long a query waits for the index to have what is applied.
const PATIENCE: Duration = Duration::from_secs(5);

impl EventLog {
    /// The applied records that `query` finds, with events from `from` on, in order; at most `limit`, and no more
    /// after about `bytes`, but never fewer than one. Fewer than `limit` doesn't mean that there are no more.
    pub async fn find(
        &self,
        query: Query,
        from: Seq,
        limit: usize,
        bytes: usize,
    ) -> Result<Vec<Record>, ReadError> {
        let state = self.projection();
        let oldest = self.oldest().await?;
        if from.max(Seq(1)) < oldest {
            return Err(ReadError::Gone { oldest });
        }
        let index = self.index_with(&state).await?;
        let hits = {
            let query = query.clone();
            let found = tokio::task::spawn_blocking(move || index.find(&query, from, limit)).await;
            found.map_err(|error| ReadError::Log(error.to_string()))??
        };
        let (mut found, mut size) = (Vec::new(), 0);
        // Many commands are stored together: they are read once for all of their records.
        let mut held: Vec<Record> = Vec::new();
        for (_, first) in hits {
            if held.last().is_none_or(|last| last.first < first) {
                held = self.stored_with(first).await?;
            }
            let record = held.iter().find(|record| record.first == first);
            let Some(record) = record.filter(|record| record.last() >= from && record.first <= state.seq())
            else {
                continue;
            };
            size += stored::encode(record).map_or(0, |encoded| encoded.len());
            found.push(record.clone());
            if found.len() >= limit || size >= bytes {
                break;
            }
        }
        Ok(found)
    }

    /// The index, once it has all that `state` has.
    async fn index_with(&self, state: &Projection) -> Result<Index, ReadError> {
        let mut reached = self.inner.index.clone();
        let ready = reached.wait_for(|(index, seq)| index.is_some() && *seq >= state.seq());
        match tokio::time::timeout(PATIENCE, ready).await {
            Ok(Ok(held)) => held.0.clone().ok_or(ReadError::NotReady),
            Ok(Err(_)) | Err(_) => Err(ReadError::NotReady),
        }
    }
}
