//! One session: the partitions in the order in which they are to be served.

use std::collections::{BTreeMap, HashMap};

use ottla_model::{ErrorCode, Instant, Offset, TopicId, TopicName};

use super::{AnswerFacts, FetchPartition, FetchTarget};

/// What identifies a partition in a session: its topic's id if the session uses ids, for then the
/// name may become known later.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Key {
    Id(TopicId, i32),
    Name(Option<TopicName>, i32),
}

impl Key {
    fn of(target: &FetchTarget) -> Self {
        if target.topic_id.is_zero() {
            Self::Name(target.topic.clone(), target.partition)
        } else {
            Self::Id(target.topic_id, target.partition)
        }
    }
}

struct CachedPartition {
    target: FetchTarget,
    request: FetchPartition,
    /// As last told to the reader; −1 if nothing or an error was told.
    high_watermark: Offset,
    /// As last told to the reader.
    log_start_offset: Offset,
}

/// A session. Partitions have a slot number; who was served gets a new one, at the end.
pub(super) struct FetchSession {
    pub(super) uses_topic_ids: bool,
    pub(super) privileged: bool,
    pub(super) created: Instant,
    pub(super) last_used: Instant,
    /// The epoch that the next request must carry.
    pub(super) epoch: i32,
    /// Its size when it was last put into the shard's order of eviction.
    pub(super) cached_size: usize,
    slots: BTreeMap<u64, CachedPartition>,
    /// Only looked up, never iterated.
    index: HashMap<Key, u64>,
    next_slot: u64,
}

impl FetchSession {
    pub(super) fn new(uses_topic_ids: bool, privileged: bool, now: Instant, epoch: i32) -> Self {
        Self {
            uses_topic_ids,
            privileged,
            created: now,
            last_used: now,
            epoch,
            cached_size: 0,
            slots: BTreeMap::new(),
            index: HashMap::new(),
            next_slot: 0,
        }
    }

    pub(super) fn size(&self) -> usize {
        self.slots.len()
    }

    /// Adds a partition at the end, or changes what is asked of it where it is.
    pub(super) fn upsert(&mut self, target: &FetchTarget, request: FetchPartition) {
        let key = Key::of(target);
        if let Some(cached) = self
            .index
            .get(&key)
            .and_then(|slot| self.slots.get_mut(slot))
        {
            cached.request = request;
            return;
        }
        self.index.insert(key, self.next_slot);
        self.slots.insert(
            self.next_slot,
            CachedPartition {
                target: target.clone(),
                request,
                high_watermark: -1,
                log_start_offset: -1,
            },
        );
        self.next_slot += 1;
    }

    pub(super) fn forget(&mut self, target: &FetchTarget) {
        if let Some(slot) = self.index.remove(&Key::of(target)) {
            self.slots.remove(&slot);
        }
    }

    /// Remembers what the answer that created the session told of a partition, errors included.
    pub(super) fn remember(&mut self, target: &FetchTarget, told: &AnswerFacts) {
        let slot = self.index.get(&Key::of(target));
        if let Some(cached) = slot.and_then(|slot| self.slots.get_mut(slot)) {
            cached.high_watermark = told.high_watermark;
            cached.log_start_offset = told.log_start_offset;
        }
    }

    /// The partitions in order, each with its slot; names that were unknown are asked for again.
    pub(super) fn partitions(
        &mut self,
        resolve: &dyn Fn(TopicId) -> Option<TopicName>,
    ) -> Vec<(u64, FetchTarget, FetchPartition)> {
        let mut partitions = Vec::with_capacity(self.slots.len());
        for (slot, cached) in &mut self.slots {
            if cached.target.topic.is_none() {
                cached.target.topic = resolve(cached.target.topic_id);
            }
            partitions.push((*slot, cached.target.clone(), cached.request));
        }
        partitions
    }

    /// Whether the partition's answer must be sent, and remembers it as sent. A partition with
    /// records goes to the end of the order, so that others are not starved by it.
    pub(super) fn must_respond(&mut self, slot: u64, answer: &AnswerFacts) -> bool {
        let Some(cached) = self.slots.get_mut(&slot) else {
            return true;
        };
        let must_respond = answer.records_size > 0
            || cached.high_watermark != answer.high_watermark
            || cached.log_start_offset != answer.log_start_offset
            || answer.redirects_or_diverges
            || answer.error != ErrorCode::None;
        cached.high_watermark = answer.high_watermark;
        cached.log_start_offset = answer.log_start_offset;
        if answer.error != ErrorCode::None {
            // So that the end of the error is told even if nothing else changes.
            cached.high_watermark = -1;
        }
        if answer.records_size > 0 && self.next_slot != slot + 1 {
            self.move_to_end(slot);
        }
        must_respond
    }

    fn move_to_end(&mut self, slot: u64) {
        if let Some(cached) = self.slots.remove(&slot) {
            self.index.insert(Key::of(&cached.target), self.next_slot);
            self.slots.insert(self.next_slot, cached);
            self.next_slot += 1;
        }
    }
}
