//! What handlers ask of the coordinator.

use std::collections::BTreeSet;
use std::sync::Arc;

use ottla_coordinator_runtime::TransactionOutcome;
use ottla_model::{ErrorCode, TopicPartition};
use ottla_transaction_coordinator::{
    ExpectedProducer, Gauges, ListFilter, Request, Response, Stats, Status, TransactionDescription,
    TransactionListing,
};

use super::TransactionCoordinator;

/// Told when an answer will never come: the coordinator went away before it.
const GONE: ErrorCode = ErrorCode::CoordinatorNotAvailable;

impl TransactionCoordinator {
    /// InitProducerId with a transactional id.
    pub(crate) async fn init_producer_id(
        &self,
        transactional_id: Arc<str>,
        timeout_ms: i32,
        expected: Option<ExpectedProducer>,
    ) -> Result<ExpectedProducer, ErrorCode> {
        let id = Arc::clone(&transactional_id);
        let request = Request::InitProducerId {
            transactional_id,
            timeout_ms,
            expected,
        };
        match self.request(&id, request).await {
            Some(Response::InitProducerId(result)) => result,
            _ => Err(GONE),
        }
    }

    /// AddPartitionsToTxn and AddOffsetsToTxn.
    pub(crate) async fn add_partitions(
        &self,
        transactional_id: Arc<str>,
        ExpectedProducer {
            producer_id,
            producer_epoch,
        }: ExpectedProducer,
        partitions: BTreeSet<TopicPartition>,
    ) -> ErrorCode {
        let id = Arc::clone(&transactional_id);
        let request = Request::AddPartitions {
            transactional_id,
            producer_id,
            producer_epoch,
            partitions,
        };
        match self.request(&id, request).await {
            Some(Response::AddPartitions(error)) => error,
            _ => GONE,
        }
    }

    /// EndTxn; answered when the decision is replicated.
    pub(crate) async fn end_transaction(
        &self,
        transactional_id: Arc<str>,
        ExpectedProducer {
            producer_id,
            producer_epoch,
        }: ExpectedProducer,
        outcome: TransactionOutcome,
    ) -> ErrorCode {
        let id = Arc::clone(&transactional_id);
        let request = Request::EndTransaction {
            transactional_id,
            producer_id,
            producer_epoch,
            outcome,
        };
        match self.request(&id, request).await {
            Some(Response::EndTransaction(error)) => error,
            _ => GONE,
        }
    }

    /// AddPartitionsToTxn with VerifyOnly: each partition's answer.
    pub(crate) fn verify_partitions(
        &self,
        transactional_id: &str,
        producer: ExpectedProducer,
        partitions: &BTreeSet<TopicPartition>,
    ) -> Vec<(TopicPartition, ErrorCode)> {
        self.look(self.partition_for(transactional_id), |shard| {
            shard.verify_partitions(transactional_id, producer, partitions)
        })
        .unwrap_or_default()
    }

    /// DescribeTransactions, one id.
    pub(crate) fn describe(
        &self,
        transactional_id: &str,
    ) -> Result<TransactionDescription, ErrorCode> {
        self.look(self.partition_for(transactional_id), |shard| {
            shard.describe(transactional_id)
        })
        .unwrap_or(Err(ErrorCode::NotCoordinator))
    }

    /// ListTransactions: all ids of this broker; none at all while some partition is being loaded.
    pub(crate) fn list(&self, filter: &ListFilter) -> Result<Vec<TransactionListing>, ErrorCode> {
        let mut listed = Vec::new();
        let now = self.now().timestamp;
        for partition in self.partitions() {
            let shard = self.look(partition, |shard| (shard.status(), shard.list(filter, now)));
            match shard {
                Some((Status::ShutDown, _)) => return Err(ErrorCode::CoordinatorNotAvailable),
                Some((Status::Loading, _)) => return Err(ErrorCode::CoordinatorLoadInProgress),
                Some((Status::Active | Status::NotOwned, lines)) => listed.extend(lines),
                None => {}
            }
        }
        Ok(listed)
    }

    /// What all shards counted, and how many ids there are.
    pub fn metrics(&self) -> (Stats, Gauges) {
        let (mut stats, mut gauges) = (Stats::default(), Gauges::default());
        for partition in self.partitions() {
            if let Some(shard) = self.look(partition, |shard| (shard.stats(), shard.gauges())) {
                stats += shard.0;
                gauges += shard.1;
            }
        }
        (stats, gauges)
    }
}
