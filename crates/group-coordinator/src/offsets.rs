//! A group's offsets: committed, on their way to the log, and waiting for a transaction's end.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_coordinator_runtime::TransactionOutcome;
use ottla_model::{LeaderEpoch, Offset, ProducerId, Timestamp, TopicPartition};

/// What a client commits for one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OffsetAndMetadata {
    /// The next record to consume.
    pub offset: Offset,
    /// The leader epoch of the last consumed record, [`LeaderEpoch::NONE`] if unknown.
    pub leader_epoch: LeaderEpoch,
    /// The client's text; null arrives as empty.
    pub metadata: Arc<str>,
    /// When it was committed.
    pub commit_timestamp: Timestamp,
    /// When it ends, if the request said so (versions 2 to 4).
    pub expire_timestamp: Option<Timestamp>,
}

/// A committed offset with the place of its record: of two, the later record wins. That keeps
/// a transaction's commit, which counts only later, from undoing a newer plain one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommittedOffset {
    /// The first offset of the batch that holds the record.
    pub batch_offset: Offset,
    /// The value.
    pub value: OffsetAndMetadata,
}

/// A transactional commit; `batch_offset` is absent until its append is acknowledged.
#[derive(Clone, PartialEq, Eq, Debug)]
struct TransactionalOffset {
    batch_offset: Option<Offset>,
    value: OffsetAndMetadata,
    /// What was acknowledged in the same transaction before: it counts if this one's append fails,
    /// as a request's does that its client gave up and has sent again. Kafka forgets it, although it
    /// is in the log, until the coordinator loads again.
    acknowledged: Option<CommittedOffset>,
}

impl TransactionalOffset {
    /// The newest that was acknowledged.
    fn into_acknowledged(self) -> Option<CommittedOffset> {
        match self.batch_offset {
            Some(batch_offset) => Some(CommittedOffset {
                batch_offset,
                value: self.value,
            }),
            None => self.acknowledged,
        }
    }
}

impl From<CommittedOffset> for TransactionalOffset {
    fn from(offset: CommittedOffset) -> Self {
        Self {
            batch_offset: Some(offset.batch_offset),
            value: offset.value,
            acknowledged: None,
        }
    }
}

/// All offsets of one group.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct GroupOffsets {
    committed: BTreeMap<TopicPartition, CommittedOffset>,
    /// Plain commits whose append is not acknowledged, the newest of each partition.
    pending: BTreeMap<TopicPartition, OffsetAndMetadata>,
    transactional: BTreeMap<ProducerId, BTreeMap<TopicPartition, TransactionalOffset>>,
}

impl GroupOffsets {
    pub(crate) fn get(&self, partition: &TopicPartition) -> Option<&OffsetAndMetadata> {
        self.committed
            .get(partition)
            .map(|committed| &committed.value)
    }

    pub(crate) fn committed(&self) -> &BTreeMap<TopicPartition, CommittedOffset> {
        &self.committed
    }

    /// Whether the group has anything to do with offsets, committed or to come.
    pub(crate) fn is_empty(&self) -> bool {
        self.committed.is_empty() && self.pending.is_empty() && self.transactional.is_empty()
    }

    /// Whether the committed offset may change at any moment (UNSTABLE_OFFSET_COMMIT).
    pub(crate) fn is_unstable(&self, partition: &TopicPartition) -> bool {
        self.pending.contains_key(partition)
            || self
                .transactional
                .values()
                .any(|offsets| offsets.contains_key(partition))
    }

    pub(crate) fn has_pending_plain(&self, partition: &TopicPartition) -> bool {
        self.pending.contains_key(partition)
    }

    pub(crate) fn has_pending_of_producer(&self, producer_id: ProducerId) -> bool {
        self.transactional.contains_key(&producer_id)
    }

    /// Takes a committed offset unless a later record is known.
    pub(crate) fn put_newer(&mut self, partition: TopicPartition, offset: CommittedOffset) {
        match self.committed.get(&partition) {
            Some(known) if known.batch_offset >= offset.batch_offset => {}
            _ => {
                self.committed.insert(partition, offset);
            }
        }
    }

    pub(crate) fn prepare_commit(&mut self, partition: TopicPartition, value: OffsetAndMetadata) {
        self.pending.insert(partition, value);
    }

    /// A plain commit is in the log. Without a pending entry the partition was deleted meanwhile.
    pub(crate) fn commit_appended(
        &mut self,
        partition: &TopicPartition,
        value: &OffsetAndMetadata,
        batch_offset: Offset,
    ) {
        let Some(staged) = self.pending.get(partition) else {
            return;
        };
        if staged == value {
            self.pending.remove(partition);
        }
        self.put_newer(
            partition.clone(),
            CommittedOffset {
                batch_offset,
                value: value.clone(),
            },
        );
    }

    pub(crate) fn commit_failed(&mut self, partition: &TopicPartition, value: &OffsetAndMetadata) {
        if self.pending.get(partition) == Some(value) {
            self.pending.remove(partition);
        }
    }

    pub(crate) fn prepare_transactional(
        &mut self,
        producer_id: ProducerId,
        partition: TopicPartition,
        value: OffsetAndMetadata,
    ) {
        let offsets = self.transactional.entry(producer_id).or_default();
        let before = offsets.remove(&partition);
        offsets.insert(
            partition,
            TransactionalOffset {
                batch_offset: None,
                value,
                acknowledged: before.and_then(TransactionalOffset::into_acknowledged),
            },
        );
    }

    pub(crate) fn transactional_appended(
        &mut self,
        producer_id: ProducerId,
        partition: &TopicPartition,
        value: &OffsetAndMetadata,
        batch_offset: Offset,
    ) {
        let staged = self
            .transactional
            .get_mut(&producer_id)
            .and_then(|offsets| offsets.get_mut(partition))
            .filter(|staged| staged.value == *value);
        if let Some(staged) = staged {
            staged.batch_offset = Some(batch_offset);
        }
    }

    pub(crate) fn transactional_failed(
        &mut self,
        producer_id: ProducerId,
        partition: &TopicPartition,
    ) {
        if let Some(offsets) = self.transactional.get_mut(&producer_id) {
            let failed = offsets.remove(partition);
            if let Some(before) = failed.and_then(TransactionalOffset::into_acknowledged) {
                offsets.insert(partition.clone(), before.into());
            }
            if offsets.is_empty() {
                self.transactional.remove(&producer_id);
            }
        }
    }

    /// A record of an open transaction that was read back from the log.
    pub(crate) fn load_transactional(
        &mut self,
        producer_id: ProducerId,
        partition: TopicPartition,
        offset: CommittedOffset,
    ) {
        let offsets = self.transactional.entry(producer_id).or_default();
        offsets.insert(partition, offset.into());
    }

    /// A producer's marker is in the log. Commits whose own append is not acknowledged yet are
    /// dropped here; the append's bookkeeping applies them when it is.
    pub(crate) fn complete_transaction(
        &mut self,
        producer_id: ProducerId,
        outcome: TransactionOutcome,
    ) {
        let Some(offsets) = self.transactional.remove(&producer_id) else {
            return;
        };
        if outcome == TransactionOutcome::Commit {
            for (partition, offset) in offsets {
                if let Some(acknowledged) = offset.into_acknowledged() {
                    self.put_newer(partition, acknowledged);
                }
            }
        }
    }

    /// Removes partitions, whatever is known of them; those that had a committed offset.
    pub(crate) fn remove(&mut self, partitions: &[TopicPartition]) -> Vec<TopicPartition> {
        let mut removed = Vec::new();
        for partition in partitions {
            self.pending.remove(partition);
            for offsets in self.transactional.values_mut() {
                offsets.remove(partition);
            }
            if self.committed.remove(partition).is_some() {
                removed.push(partition.clone());
            }
        }
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(offset: Offset) -> OffsetAndMetadata {
        OffsetAndMetadata {
            offset,
            leader_epoch: LeaderEpoch::NONE,
            metadata: "".into(),
            commit_timestamp: Timestamp(1),
            expire_timestamp: None,
        }
    }

    const PRODUCER: ProducerId = ProducerId(5);

    #[test]
    fn an_older_commit_never_overwrites_a_newer_one() {
        let (mut offsets, partition) = (GroupOffsets::default(), TopicPartition::new("t", 0));
        offsets.prepare_commit(partition.clone(), value(1));
        offsets.prepare_commit(partition.clone(), value(2));
        offsets.commit_appended(&partition, &value(1), 20);
        assert_eq!(offsets.get(&partition), Some(&value(1)));
        assert!(offsets.is_unstable(&partition));
        offsets.commit_appended(&partition, &value(2), 10);
        assert_eq!(offsets.get(&partition), Some(&value(1)));
        assert!(!offsets.is_unstable(&partition));
    }

    #[test]
    fn a_transactional_commit_counts_with_its_marker_and_only_if_it_is_newer() {
        for (plain_batch, outcome, expected) in [
            (9, TransactionOutcome::Commit, 7),
            (11, TransactionOutcome::Commit, 1),
            (9, TransactionOutcome::Abort, 1),
        ] {
            let (mut offsets, partition) = (GroupOffsets::default(), TopicPartition::new("t", 0));
            offsets.prepare_transactional(PRODUCER, partition.clone(), value(7));
            offsets.transactional_appended(PRODUCER, &partition, &value(7), 10);
            offsets.prepare_commit(partition.clone(), value(1));
            offsets.commit_appended(&partition, &value(1), plain_batch);
            assert_eq!(offsets.get(&partition), Some(&value(1)));
            assert!(offsets.is_unstable(&partition));
            offsets.complete_transaction(PRODUCER, outcome);
            assert_eq!(
                offsets.get(&partition),
                Some(&value(expected)),
                "{plain_batch} {outcome:?}"
            );
            assert!(!offsets.is_unstable(&partition));
        }
    }

    #[test]
    fn a_refused_commit_leaves_no_trace() {
        let (mut offsets, partition) = (GroupOffsets::default(), TopicPartition::new("t", 0));
        offsets.prepare_commit(partition.clone(), value(1));
        offsets.prepare_transactional(PRODUCER, partition.clone(), value(2));
        offsets.commit_failed(&partition, &value(1));
        offsets.transactional_failed(PRODUCER, &partition);
        assert!(offsets.is_empty());
    }

    #[test]
    fn an_acknowledged_transactional_commit_outlives_a_later_one_that_fails() {
        let partition = TopicPartition::new("t", 0);
        for fails in [true, false] {
            let mut offsets = GroupOffsets::default();
            offsets.prepare_transactional(PRODUCER, partition.clone(), value(7));
            offsets.transactional_appended(PRODUCER, &partition, &value(7), 10);
            // The same request again, late, and one more.
            offsets.prepare_transactional(PRODUCER, partition.clone(), value(7));
            offsets.prepare_transactional(PRODUCER, partition.clone(), value(8));
            if fails {
                offsets.transactional_failed(PRODUCER, &partition);
                assert!(offsets.is_unstable(&partition));
            }
            offsets.complete_transaction(PRODUCER, TransactionOutcome::Commit);
            assert_eq!(offsets.get(&partition), Some(&value(7)), "{fails}");
            assert!(!offsets.is_unstable(&partition));
        }
    }

    #[test]
    fn a_deleted_partition_does_not_come_back_with_a_late_acknowledgement() {
        let (mut offsets, partition) = (GroupOffsets::default(), TopicPartition::new("t", 0));
        offsets.prepare_commit(partition.clone(), value(1));
        assert_eq!(offsets.remove(std::slice::from_ref(&partition)), vec![]);
        offsets.commit_appended(&partition, &value(1), 3);
        assert!(offsets.is_empty());
    }
}
