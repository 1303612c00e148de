//! OffsetCommit, TxnOffsetCommit and OffsetFetch.

use std::collections::BTreeMap;

use ottla_coordinator_runtime::TransactionOutcome;
use ottla_coordinator_runtime::{AppendResult, CoordinatorRecord, FieldTooLong, RequestId};
use ottla_model::{ErrorCode, LeaderEpoch, ProducerEpoch, ProducerId, TopicPartition};

use crate::append_error::offset_commit_error;
use crate::context::{BatchKind, Context, InFlight, OffsetWrite};
use crate::group::Group;
use crate::messages::{FetchedOffset, OffsetCommitRequest, Response};
use crate::offsets::{CommittedOffset, OffsetAndMetadata};
use crate::records;
use crate::state::GroupState;

/// The answer that says the same of every partition, each named once.
pub(crate) fn same_for_all(
    offsets: &[(TopicPartition, OffsetAndMetadata)],
    error: ErrorCode,
) -> Response {
    let partitions: std::collections::BTreeSet<&TopicPartition> =
        offsets.iter().map(|(partition, _)| partition).collect();
    Response::OffsetCommit(partitions.into_iter().map(|p| (p.clone(), error)).collect())
}

impl Group {
    /// Stores offsets if the member may commit them.
    pub(crate) fn commit(
        &mut self,
        ctx: &mut Context<'_>,
        id: RequestId,
        request: OffsetCommitRequest,
    ) {
        if let Err(error) = self.validate_commit(&request, false) {
            return ctx.reply(id, same_for_all(&request.offsets, error));
        }
        match self.state() {
            GroupState::Empty => {}
            // A member learns of the rebalance by its heartbeats; until then its commits count.
            GroupState::PreparingRebalance | GroupState::Stable => {
                self.restart_session(ctx, &request.member_id);
            }
            // The member has joined the new generation, whose assignment nobody knows yet.
            GroupState::CompletingRebalance => {
                let error = ErrorCode::RebalanceInProgress;
                return ctx.reply(id, same_for_all(&request.offsets, error));
            }
            GroupState::Dead => {
                let error = ErrorCode::CoordinatorNotAvailable;
                return ctx.reply(id, same_for_all(&request.offsets, error));
            }
        }
        self.store_offsets(ctx, id, request.offsets, None);
    }

    /// Stores offsets that wait for their transaction's marker.
    pub(crate) fn commit_transactional(
        &mut self,
        ctx: &mut Context<'_>,
        id: RequestId,
        request: OffsetCommitRequest,
        producer: (ProducerId, ProducerEpoch),
    ) {
        if let Err(error) = self.validate_commit(&request, true) {
            return ctx.reply(id, same_for_all(&request.offsets, error));
        }
        self.store_offsets(ctx, id, request.offsets, Some(producer));
    }

    fn validate_commit(
        &self,
        request: &OffsetCommitRequest,
        transactional: bool,
    ) -> Result<(), ErrorCode> {
        // An admin client, or a consumer that assigns partitions itself.
        if request.generation_id < 0 && self.is(GroupState::Empty) {
            return Ok(());
        }
        let claims_membership = request.generation_id >= 0
            || !request.member_id.is_empty()
            || request.group_instance_id.is_some();
        if claims_membership {
            self.validate_member(&request.member_id, request.group_instance_id.as_deref())?;
            if request.generation_id != self.generation_id {
                return Err(ErrorCode::IllegalGeneration);
            }
            return Ok(());
        }
        // Producers below TxnOffsetCommit v3 cannot name their member.
        if transactional || self.is(GroupState::Empty) {
            Ok(())
        } else {
            Err(ErrorCode::UnknownMemberId)
        }
    }

    fn store_offsets(
        &mut self,
        ctx: &mut Context<'_>,
        id: RequestId,
        requested: Vec<(TopicPartition, OffsetAndMetadata)>,
        producer: Option<(ProducerId, ProducerEpoch)>,
    ) {
        let all: BTreeMap<TopicPartition, OffsetAndMetadata> = requested.into_iter().collect();
        let limit = usize::try_from(ctx.config.offset_metadata_max_bytes).unwrap_or(0);
        let fits = |value: &OffsetAndMetadata| value.metadata.encode_utf16().count() <= limit;
        let (offsets, refused): (BTreeMap<_, _>, BTreeMap<_, _>) =
            all.into_iter().partition(|(_, value)| fits(value));
        let too_large: Vec<TopicPartition> = refused.into_keys().collect();

        if offsets.is_empty() {
            let error = ErrorCode::OffsetMetadataTooLarge;
            let answer = too_large
                .into_iter()
                .map(|partition| (partition, error))
                .collect();
            return ctx.reply(id, Response::OffsetCommit(answer));
        }
        let version = ctx.config.record_versions.offset_commit_value;
        let records = match self.offset_records(&offsets, version) {
            Ok(records) => records,
            Err(error) => {
                tracing::error!(group = %self.id, %error, "offset commit cannot be written");
                let write = OffsetWrite {
                    request: id,
                    producer_id: None,
                    outcome: None,
                    offsets,
                    too_large,
                };
                return ctx.reply(id, write.answer(ErrorCode::UnknownServerError));
            }
        };
        for (partition, value) in &offsets {
            match producer {
                None => self
                    .offsets
                    .prepare_commit(partition.clone(), value.clone()),
                Some((producer_id, _)) => self.offsets.prepare_transactional(
                    producer_id,
                    partition.clone(),
                    value.clone(),
                ),
            }
        }
        let kind = match producer {
            None => BatchKind::OffsetCommit,
            Some((producer_id, producer_epoch)) => BatchKind::TxnOffsetCommit {
                producer_id,
                producer_epoch,
            },
        };
        let write = OffsetWrite {
            request: id,
            producer_id: producer.map(|(producer_id, _)| producer_id),
            outcome: None,
            offsets,
            too_large,
        };
        ctx.append(self.reference(), kind, records, InFlight::Offsets(write));
    }

    fn offset_records(
        &self,
        offsets: &BTreeMap<TopicPartition, OffsetAndMetadata>,
        version: i16,
    ) -> Result<Vec<CoordinatorRecord>, FieldTooLong> {
        offsets
            .iter()
            .map(|(partition, value)| {
                Ok(CoordinatorRecord {
                    key: records::offset_commit_key(&self.id, partition)?,
                    value: Some(records::offset_commit_value(value, version)?),
                })
            })
            .collect()
    }

    /// A batch of offsets was stored or refused: the cache follows.
    pub(crate) fn offsets_appended(&mut self, write: &OffsetWrite, result: AppendResult) {
        for (partition, value) in &write.offsets {
            match (result, write.producer_id) {
                (Ok(batch_offset), None) => {
                    self.offsets.commit_appended(partition, value, batch_offset);
                }
                (Err(_), None) => self.offsets.commit_failed(partition, value),
                (Ok(batch_offset), Some(producer_id)) => match write.outcome {
                    None => self.offsets.transactional_appended(
                        producer_id,
                        partition,
                        value,
                        batch_offset,
                    ),
                    Some(TransactionOutcome::Commit) => {
                        let committed = CommittedOffset {
                            batch_offset,
                            value: value.clone(),
                        };
                        self.offsets.put_newer(partition.clone(), committed);
                    }
                    Some(TransactionOutcome::Abort) => {}
                },
                (Err(_), Some(producer_id)) => {
                    if write.outcome.is_none() {
                        self.offsets.transactional_failed(producer_id, partition);
                    }
                }
            }
        }
    }

    /// The committed offsets of some partitions, or of all that have one. With `require_stable`
    /// a partition whose offset may be about to change says so (KIP-447).
    pub(crate) fn fetch_offsets(
        &self,
        partitions: Option<&[TopicPartition]>,
        require_stable: bool,
    ) -> Vec<FetchedOffset> {
        let fetch = |partition: &TopicPartition| {
            if require_stable && self.offsets.is_unstable(partition) {
                let mut unstable = no_offset(partition);
                unstable.error = ErrorCode::UnstableOffsetCommit;
                return unstable;
            }
            match self.offsets.get(partition) {
                None => no_offset(partition),
                Some(value) => FetchedOffset {
                    topic_partition: partition.clone(),
                    offset: value.offset,
                    leader_epoch: value.leader_epoch,
                    metadata: value.metadata.clone(),
                    error: ErrorCode::None,
                },
            }
        };
        match partitions {
            Some(partitions) => partitions.iter().map(fetch).collect(),
            None => self.offsets.committed().keys().map(fetch).collect(),
        }
    }
}

impl OffsetWrite {
    /// The answer to the commit.
    pub(crate) fn answer(&self, error: ErrorCode) -> Response {
        let stored = self
            .offsets
            .keys()
            .map(|partition| (partition.clone(), error));
        let left_out = self
            .too_large
            .iter()
            .map(|partition| (partition.clone(), ErrorCode::OffsetMetadataTooLarge));
        Response::OffsetCommit(stored.chain(left_out).collect())
    }

    /// The answer to the commit when its append is answered.
    pub(crate) fn answer_to(&self, result: AppendResult) -> Response {
        self.answer(match result {
            Ok(_) => ErrorCode::None,
            Err(append_error) => offset_commit_error(append_error),
        })
    }
}

/// What is said of a partition without a committed offset.
pub(crate) fn no_offset(partition: &TopicPartition) -> FetchedOffset {
    FetchedOffset {
        topic_partition: partition.clone(),
        offset: -1,
        leader_epoch: LeaderEpoch::NONE,
        metadata: "".into(),
        error: ErrorCode::None,
    }
}
