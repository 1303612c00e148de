//! The fetch sessions of this broker: shards of [`FetchSessionShard`], each under its own lock.

use std::sync::atomic::{AtomicUsize, Ordering};

use ottla_model::Instant;
use ottla_replication::fetch_session::{
    AnswerFacts, FetchPartition, FetchSessionShard, FetchTarget, SHARD_COUNT, shard_of,
};
use parking_lot::Mutex;

use crate::clock::random_u64;

/// See the module.
pub(crate) struct FetchSessions {
    shards: Vec<Mutex<FetchSessionShard>>,
    /// New sessions go to the shards in turn.
    next: AtomicUsize,
}

impl FetchSessions {
    /// Room for `max.incremental.fetch.session.cache.slots` sessions.
    pub(crate) fn new(slots: usize) -> Self {
        let shard = |number| Mutex::new(FetchSessionShard::new(number, slots / SHARD_COUNT));
        Self {
            shards: (0..SHARD_COUNT).map(shard).collect(),
            next: AtomicUsize::new(0),
        }
    }

    /// The shard that owns a session's id.
    pub(crate) fn shard_of(&self, session_id: i32) -> Option<&Mutex<FetchSessionShard>> {
        self.shards.get(shard_of(session_id)?)
    }

    /// Sessions, their partitions, and how many sessions had to make room so far.
    pub(crate) fn totals(&self) -> (usize, usize, u64) {
        let shards = self.shards.iter().map(|shard| {
            let shard = shard.lock();
            let (sessions, partitions) = (shard.session_count(), shard.partition_count());
            (sessions, partitions, shard.evictions())
        });
        shards.fold((0, 0, 0), |all, one| {
            (all.0 + one.0, all.1 + one.1, all.2 + one.2)
        })
    }

    /// Closes a session, if there is one of this id.
    pub(crate) fn remove(&self, session_id: i32) {
        if let Some(shard) = self.shard_of(session_id) {
            shard.lock().remove(session_id);
        }
    }

    /// Creates a session; 0 if there is no room for it.
    pub(crate) fn create(
        &self,
        now: Instant,
        is_follower: bool,
        uses_topic_ids: bool,
        partitions: &[(FetchTarget, FetchPartition, AnswerFacts)],
    ) -> i32 {
        let shard = self.next.fetch_add(1, Ordering::Relaxed) % SHARD_COUNT;
        let mut random = || random_u64() as u32;
        self.shards[shard]
            .lock()
            .create(now, is_follower, uses_topic_ids, partitions, &mut random)
    }
}
