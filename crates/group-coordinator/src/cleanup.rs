//! What ends offsets and groups: retention, OffsetDelete, DeleteGroups, deleted topics.

use ottla_coordinator_runtime::CoordinatorRecord;
use ottla_model::{ErrorCode, Timestamp, TopicPartition};

use crate::context::{BatchKind, CleanupCause, Context, InFlight};
use crate::group::Group;
use crate::records;
use crate::state::GroupState;

impl Group {
    /// The partitions whose committed offsets are over.
    pub(crate) fn expired_offsets(
        &self,
        now: Timestamp,
        offsets_retention_ms: i64,
    ) -> Vec<TopicPartition> {
        /// Since when an offset is unused.
        enum Since {
            /// Since the group became empty, if that is known.
            StateBegan,
            /// Since it was committed.
            Commit,
        }
        let has_type = self.protocol_type.is_some();
        let (since, subscribed) = match (self.state(), &self.subscribed_topics) {
            (GroupState::Empty, _) if has_type => (Since::StateBegan, None),
            (GroupState::Stable, Some(topics)) if self.is_consumer_group() => {
                (Since::Commit, Some(topics))
            }
            _ if !has_type => (Since::Commit, None),
            _ => return Vec::new(),
        };
        let is_over = |partition: &TopicPartition, value: &crate::OffsetAndMetadata| {
            if subscribed.is_some_and(|topics| topics.contains(&partition.topic))
                || self.offsets.has_pending_plain(partition)
            {
                return false;
            }
            if let Some(expire_timestamp) = value.expire_timestamp {
                return now >= expire_timestamp;
            }
            let base = match since {
                Since::StateBegan => self.state_timestamp.unwrap_or(value.commit_timestamp),
                Since::Commit => value.commit_timestamp,
            };
            now.0.saturating_sub(base.0) >= offsets_retention_ms
        };
        self.offsets
            .committed()
            .iter()
            .filter(|(partition, committed)| is_over(partition, &committed.value))
            .map(|(partition, _)| partition.clone())
            .collect()
    }

    /// Which of these offsets may be deleted while the group is as it is, and the answer for the
    /// others; or why none may.
    #[expect(
        clippy::type_complexity,
        reason = "two lists of partitions, named in the doc"
    )]
    pub(crate) fn deletable_offsets(
        &self,
        partitions: Vec<TopicPartition>,
    ) -> Result<(Vec<TopicPartition>, Vec<(TopicPartition, ErrorCode)>), ErrorCode> {
        match self.state() {
            GroupState::Dead => Err(ErrorCode::GroupIdNotFound),
            GroupState::Empty => Ok((partitions, Vec::new())),
            _ if self.is_consumer_group() => {
                let (consumed, unused): (Vec<_>, Vec<_>) = partitions
                    .into_iter()
                    .partition(|p| self.is_subscribed_to(&p.topic));
                let refused = consumed
                    .into_iter()
                    .map(|partition| (partition, ErrorCode::GroupSubscribedToTopic))
                    .collect();
                Ok((unused, refused))
            }
            _ => Err(ErrorCode::NonEmptyGroup),
        }
    }

    /// Removes offsets, and the group itself if nothing keeps it; whether the group is gone.
    pub(crate) fn remove_offsets(
        &mut self,
        ctx: &mut Context<'_>,
        partitions: &[TopicPartition],
        cause: CleanupCause,
    ) -> bool {
        let removed = self.offsets.remove(partitions);
        let is_deleted = cause == CleanupCause::GroupDelete;
        let is_dead = is_deleted || (self.is(GroupState::Empty) && self.offsets.is_empty());
        if is_dead {
            tracing::info!(group = %self.id, generation = self.generation_id, "group is removed");
            self.transition_to(GroupState::Dead, ctx.now.timestamp);
            for member_id in &self.pending_members {
                let timer = self.session_timer(member_id);
                ctx.cancel(&timer);
            }
        }
        match self.tombstones(&removed, is_dead) {
            Ok(records) if records.is_empty() => {}
            Ok(records) => {
                let offsets_removed = removed.len() as u64;
                let in_flight = InFlight::Tombstones {
                    cause,
                    offsets_removed,
                };
                ctx.append(self.reference(), BatchKind::Tombstones, records, in_flight);
            }
            Err(error) => {
                tracing::error!(group = %self.id, %error, "tombstones cannot be written");
            }
        }
        is_dead
    }

    fn tombstones(
        &self,
        removed: &[TopicPartition],
        is_dead: bool,
    ) -> Result<Vec<CoordinatorRecord>, ottla_coordinator_runtime::FieldTooLong> {
        let mut tombstones = Vec::with_capacity(removed.len() + 1);
        for partition in removed {
            let key = records::offset_commit_key(&self.id, partition)?;
            tombstones.push(CoordinatorRecord::tombstone(key));
        }
        // A group that never had a generation has no record to remove.
        if is_dead && self.generation_id > 0 {
            tombstones.push(CoordinatorRecord::tombstone(records::group_metadata_key(
                &self.id,
            )?));
        }
        Ok(tombstones)
    }
}
