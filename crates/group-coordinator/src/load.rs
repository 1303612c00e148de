//! Reading a partition back: the last record of each key, with transactions settled by their
//! markers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use ottla_coordinator_runtime::{BatchInfo, DecodeError, TransactionOutcome};
use ottla_model::{ProducerId, Timestamp, TopicPartition};

use crate::group::Group;
use crate::offsets::CommittedOffset;
use crate::records::{self, GroupMetadataValue, RecordKey};

type GroupPartition = (Arc<str>, TopicPartition);

/// Collects what a partition's log says, from its start to its end and not only to the high
/// watermark; belongs to one load of one shard ([`crate::GroupCoordinatorShard::begin_load`]) and
/// needs no lock of it.
#[derive(Debug)]
pub struct Loader {
    pub(crate) ticket: u64,
    offsets: BTreeMap<GroupPartition, CommittedOffset>,
    open_transactions: BTreeMap<ProducerId, BTreeMap<GroupPartition, CommittedOffset>>,
    groups: BTreeMap<Arc<str>, GroupMetadataValue>,
}

impl Loader {
    pub(crate) fn new(ticket: u64) -> Self {
        Self {
            ticket,
            offsets: BTreeMap::new(),
            open_transactions: BTreeMap::new(),
            groups: BTreeMap::new(),
        }
    }

    /// Takes one record of a data batch.
    ///
    /// # Errors
    /// The record cannot be read; it counts for nothing, and the load may go on.
    pub fn replay(
        &mut self,
        batch: BatchInfo,
        key: Bytes,
        value: Option<Bytes>,
    ) -> Result<(), DecodeError> {
        match records::read_key(key)? {
            RecordKey::OffsetCommit {
                group_id,
                topic_partition,
            } => {
                let value = value.map(records::read_offset_commit_value).transpose()?;
                let target = if batch.transactional {
                    self.open_transactions.entry(batch.producer_id).or_default()
                } else {
                    &mut self.offsets
                };
                let key = (group_id, topic_partition);
                match value {
                    Some(value) => {
                        let batch_offset = batch.base_offset;
                        target.insert(
                            key,
                            CommittedOffset {
                                batch_offset,
                                value,
                            },
                        );
                    }
                    None => {
                        target.remove(&key);
                    }
                }
            }
            RecordKey::GroupMetadata { group_id } => {
                match value.map(records::read_group_metadata_value).transpose()? {
                    Some(value) => {
                        self.groups.insert(group_id, value);
                    }
                    None => {
                        self.groups.remove(&group_id);
                    }
                }
            }
            RecordKey::Unknown(version) => {
                tracing::warn!(
                    version,
                    "ignoring a record with an unknown key version; it could be left over from an \
                     aborted upgrade"
                );
            }
        }
        Ok(())
    }

    /// Takes a transaction's marker.
    pub fn replay_marker(&mut self, producer_id: ProducerId, outcome: TransactionOutcome) {
        let Some(offsets) = self.open_transactions.remove(&producer_id) else {
            return;
        };
        if outcome == TransactionOutcome::Commit {
            for (key, offset) in offsets {
                match self.offsets.get(&key) {
                    Some(known) if known.batch_offset >= offset.batch_offset => {}
                    _ => {
                        self.offsets.insert(key, offset);
                    }
                }
            }
        }
    }

    /// The groups that the log describes. Offsets without a group's record make a group that only
    /// stores offsets.
    pub(crate) fn into_groups(
        self,
        now: Timestamp,
        mut next_incarnation: impl FnMut() -> u64,
    ) -> BTreeMap<Arc<str>, Group> {
        let mut ids: BTreeSet<Arc<str>> = self.groups.keys().cloned().collect();
        ids.extend(self.offsets.keys().map(|(group_id, _)| group_id.clone()));
        ids.extend(
            self.open_transactions
                .values()
                .flat_map(|offsets| offsets.keys().map(|(group_id, _)| group_id.clone())),
        );
        let mut records = self.groups;
        let mut groups: BTreeMap<Arc<str>, Group> = ids
            .into_iter()
            .map(|id| {
                let incarnation = next_incarnation();
                let group = match records.remove(&id) {
                    Some(record) => Group::from_record(id.clone(), incarnation, now, record),
                    None => Group::new(id.clone(), incarnation, now),
                };
                (id, group)
            })
            .collect();
        for ((group_id, partition), offset) in self.offsets {
            if let Some(group) = groups.get_mut(&group_id) {
                group.offsets.put_newer(partition, offset);
            }
        }
        for (producer_id, offsets) in self.open_transactions {
            for ((group_id, partition), offset) in offsets {
                if let Some(group) = groups.get_mut(&group_id) {
                    group
                        .offsets
                        .load_transactional(producer_id, partition, offset);
                }
            }
        }
        groups
    }
}
