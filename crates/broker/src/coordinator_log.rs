//! The partitions of `__consumer_offsets` and `__transaction_state` as their coordinators need them:
//! appended to and read back.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_coordinator_runtime::{Append, AppendResult};
use ottla_model::{ErrorCode, Offset};
use ottla_record::{AppendOrigin, BuildError, Compression, RecordBatchBuilder};
use ottla_replication::partition::Required;
use ottla_storage::{FetchIsolation, VerificationGuard};

use crate::replica_manager::{AppendEntry, ReplicaManager, wait_until_replicated};

/// An append that has been made and waits for its acknowledgement.
pub(crate) type PendingAppend = Pin<Box<dyn Future<Output = AppendResult> + Send>>;

/// An offset that comes later.
pub(crate) type PendingOffset = Pin<Box<dyn Future<Output = Result<Offset, ErrorCode>> + Send>>;

/// Why a partition could not be read back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadBackError {
    /// There is no log of the partition here.
    #[error("found no log")]
    NoLog(ErrorCode),
    /// The log refused.
    #[error(transparent)]
    Log(#[from] ottla_storage::ReadError),
    /// The file could not be read.
    #[error(transparent)]
    File(#[from] std::io::Error),
}

/// Access to the partitions of one internal topic.
pub(crate) trait CoordinatorLog: Send + Sync + 'static {
    /// Appends one batch. The first poll appends, so that the order of first polls is the order in
    /// the log; the future is ready when the acknowledgement is there. A transactional batch bears
    /// the guard of its verification.
    fn append(
        &self,
        partition: i32,
        required_acks: i16,
        timeout: Duration,
        guard: VerificationGuard,
        batch: Bytes,
    ) -> PendingAppend;

    /// Comes when everything before an offset is replicated: the high watermark then, or why it will
    /// never come under this leadership.
    fn replicated(&self, partition: i32, offset: Offset) -> PendingOffset;

    /// Batches from an offset, or from the log's start, up to its end: about `bytes_max`, at least
    /// one if there is one. Blocks.
    fn read(
        &self,
        partition: i32,
        from: Option<Offset>,
        bytes_max: usize,
    ) -> Result<Bytes, ReadBackError>;
}

/// The partitions of a topic that the replica manager hosts.
pub(crate) struct ReplicatedLog {
    /// The host.
    pub(crate) replica_manager: Arc<ReplicaManager>,
    /// The internal topic.
    pub(crate) topic: &'static str,
}

impl CoordinatorLog for ReplicatedLog {
    fn append(
        &self,
        partition: i32,
        required_acks: i16,
        timeout: Duration,
        guard: VerificationGuard,
        batch: Bytes,
    ) -> PendingAppend {
        let (replica_manager, topic) = (Arc::clone(&self.replica_manager), self.topic);
        Box::pin(async move {
            let required =
                Required::from_acks(required_acks).ok_or(ErrorCode::InvalidRequiredAcks)?;
            let entry = AppendEntry {
                hosted: replica_manager.find_online(topic, partition),
                records: batch,
                guard,
            };
            let origin = AppendOrigin::Coordinator;
            let outcomes = replica_manager
                .append(timeout, required, origin, vec![entry])
                .await;
            match outcomes.into_iter().next() {
                Some(outcome) if outcome.error.is_none() => Ok(outcome.base_offset),
                Some(outcome) => Err(outcome.error),
                None => Err(ErrorCode::UnknownServerError),
            }
        })
    }

    fn replicated(&self, partition: i32, offset: Offset) -> PendingOffset {
        let hosted = self.replica_manager.find_online(self.topic, partition);
        Box::pin(async move { wait_until_replicated(hosted?, offset).await })
    }

    fn read(
        &self,
        partition: i32,
        from: Option<Offset>,
        bytes_max: usize,
    ) -> Result<Bytes, ReadBackError> {
        let hosted = self
            .replica_manager
            .find_online(self.topic, partition)
            .map_err(ReadBackError::NoLog)?;
        let reader = hosted
            .view()
            .reader()
            .map_err(ReadBackError::NoLog)?
            .clone();
        let from = from.unwrap_or_else(|| reader.log_start_offset());
        let found = reader.read(from, bytes_max, FetchIsolation::LogEnd, true)?;
        Ok(match found.slice {
            Some(slice) => slice.read()?,
            None => Bytes::new(),
        })
    }
}

/// The batch of an append.
pub(crate) fn build_batch(append: &Append, compression: Compression) -> Result<Bytes, BuildError> {
    let mut builder = RecordBatchBuilder::new(0)
        .compression(compression)
        .producer(
            append.producer_id,
            append.producer_epoch,
            append.base_sequence,
        )
        .transactional(append.transactional);
    for record in &append.records {
        builder.append(append.timestamp, Some(&record.key), record.value.as_deref())?;
    }
    builder.build()
}

#[cfg(test)]
mod tests {
    use ottla_coordinator_runtime::{AppendToken, CoordinatorRecord, Durability};
    use ottla_model::{ProducerEpoch, ProducerId, Timestamp};
    use ottla_record::BatchView;

    use super::*;

    #[test]
    fn batches_have_kafkas_headers() {
        for (producer_id, producer_epoch, base_sequence, transactional) in
            [(-1, -1, -1, false), (-1, -1, 0, false), (7, 3, 0, true)]
        {
            let append = Append {
                token: AppendToken(0),
                records: vec![CoordinatorRecord::tombstone(Bytes::from_static(b"key"))],
                timestamp: Timestamp(1000),
                producer_id: ProducerId(producer_id),
                producer_epoch: ProducerEpoch(producer_epoch),
                base_sequence,
                transactional,
                durability: Durability::Required,
            };
            let bytes = build_batch(&append, Compression::None).unwrap();
            let batch = BatchView::parse(&bytes).unwrap();
            batch.ensure_valid().unwrap();
            let header = batch.header();
            assert_eq!(header.producer_id, ProducerId(producer_id));
            assert_eq!(header.producer_epoch, ProducerEpoch(producer_epoch));
            assert_eq!(header.base_sequence, base_sequence);
            assert_eq!(header.is_transactional(), transactional);
            assert_eq!(header.max_timestamp, Timestamp(1000));
        }
    }
}
