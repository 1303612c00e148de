//! Sessions of one shard and who must make room for whom.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ottla_model::{ErrorCode, Instant, TopicId, TopicName};

use super::session::FetchSession;
use super::{
    AnswerFacts, FetchMetadata, FetchPartition, FetchTarget, IDS_PER_SHARD, INITIAL_EPOCH,
    INVALID_SESSION_ID, SHARD_COUNT, next_epoch,
};

/// A session that is idle for longer may be evicted by anyone; one that is younger may not be
/// evicted by consumers.
const EVICTION_AGE: Duration = Duration::from_millis(120_000);

/// What has become of a session when a request wants to go on in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resumed {
    /// It goes on.
    Incremental,
    /// The request left it empty: it is closed and the request is served without one.
    Closed,
}

/// What a session is worth: privileged ones (followers') more than others, larger ones more.
type Worth = (bool, usize, i32);

/// See the module above.
pub struct FetchSessionShard {
    shard: usize,
    /// This shard's part of `max.incremental.fetch.session.cache.slots`.
    entries_max: usize,
    sessions: BTreeMap<i32, FetchSession>,
    last_used: BTreeSet<(Instant, i32)>,
    evictable_by_all: BTreeSet<Worth>,
    evictable_by_privileged: BTreeSet<Worth>,
    partitions: usize,
    evictions: u64,
}

impl FetchSessionShard {
    /// An empty shard, numbered from 0.
    pub fn new(shard: usize, entries_max: usize) -> Self {
        assert!(
            shard < SHARD_COUNT,
            "ids are split over a fixed number of shards"
        );
        Self {
            shard,
            entries_max,
            sessions: BTreeMap::new(),
            last_used: BTreeSet::new(),
            evictable_by_all: BTreeSet::new(),
            evictable_by_privileged: BTreeSet::new(),
            partitions: 0,
            evictions: 0,
        }
    }

    /// How many sessions there are (`NumIncrementalFetchSessions`).
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// How many partitions they hold (`NumIncrementalFetchPartitionsCached`).
    pub fn partition_count(&self) -> usize {
        self.partitions
    }

    /// How many were evicted so far (`IncrementalFetchSessionEvictionsPerSec`).
    pub fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Goes on in a session: takes over what the request changes and expects the next epoch from
    /// now on. The error is for the whole response.
    pub fn resume(
        &mut self,
        now: Instant,
        request: FetchMetadata,
        uses_topic_ids: bool,
        changed: &[(FetchTarget, FetchPartition)],
        forgotten: &[FetchTarget],
    ) -> Result<Resumed, ErrorCode> {
        let id = request.session_id;
        let session = self
            .sessions
            .get_mut(&id)
            .ok_or(ErrorCode::FetchSessionIdNotFound)?;
        if session.epoch != request.epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if session.uses_topic_ids != uses_topic_ids {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        for (target, partition) in changed {
            session.upsert(target, *partition);
        }
        for target in forgotten {
            session.forget(target);
        }
        if session.size() == 0 {
            self.remove(id);
            return Ok(Resumed::Closed);
        }
        session.epoch = next_epoch(session.epoch);
        self.touch(id, now);
        Ok(Resumed::Incremental)
    }

    /// The partitions of a session that [`resume`](Self::resume) has just admitted, in the order in
    /// which they are to be served, each with the slot that [`finish`](Self::finish) wants back.
    pub fn partitions(
        &mut self,
        session_id: i32,
        resolve: &dyn Fn(TopicId) -> Option<TopicName>,
    ) -> Vec<(u64, FetchTarget, FetchPartition)> {
        self.sessions
            .get_mut(&session_id)
            .map_or_else(Vec::new, |s| s.partitions(resolve))
    }

    /// Creates a session from a full request and its answer. `random` gives numbers over the whole
    /// range. Answers the session's id, or [`INVALID_SESSION_ID`] if there is no room for it.
    pub fn create(
        &mut self,
        now: Instant,
        privileged: bool,
        uses_topic_ids: bool,
        partitions: &[(FetchTarget, FetchPartition, AnswerFacts)],
        random: &mut dyn FnMut() -> u32,
    ) -> i32 {
        let room = self.sessions.len() < self.entries_max
            || self.evict_for((privileged, partitions.len(), 0), now);
        if !room {
            return INVALID_SESSION_ID;
        }
        let mut session =
            FetchSession::new(uses_topic_ids, privileged, now, next_epoch(INITIAL_EPOCH));
        for (target, request, told) in partitions {
            session.upsert(target, *request);
            session.remember(target, told);
        }
        let id = self.unused_id(random);
        self.sessions.insert(id, session);
        self.touch(id, now);
        id
    }

    /// Tells which answers of an incremental request must be sent: clears the flag of the others.
    /// An error, for the whole response and without partitions, if the session has gone on in the
    /// meantime, which only a duplicate of the request does. `answers` are (slot, facts, keep).
    pub fn finish(
        &mut self,
        request: FetchMetadata,
        answers: &mut dyn Iterator<Item = (u64, AnswerFacts, &mut bool)>,
    ) -> Result<(), ErrorCode> {
        let Some(session) = self.sessions.get_mut(&request.session_id) else {
            // Evicted meanwhile. Sending everything is right and the client learns next time.
            return Ok(());
        };
        if session.epoch != next_epoch(request.epoch) {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        for (slot, facts, keep) in answers {
            *keep = session.must_respond(slot, &facts);
        }
        Ok(())
    }

    /// Closes a session, if it exists.
    pub fn remove(&mut self, id: i32) -> bool {
        let Some(session) = self.sessions.remove(&id) else {
            return false;
        };
        self.last_used.remove(&(session.last_used, id));
        let worth = (session.privileged, session.cached_size, id);
        self.evictable_by_all.remove(&worth);
        self.evictable_by_privileged.remove(&worth);
        self.partitions -= session.cached_size;
        true
    }

    /// Makes a session the most recently used, and gives it its place in the order of eviction.
    fn touch(&mut self, id: i32, now: Instant) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        self.last_used.remove(&(session.last_used, id));
        session.last_used = now;
        self.last_used.insert((now, id));

        let old = (session.privileged, session.cached_size, id);
        self.evictable_by_privileged.remove(&old);
        self.evictable_by_all.remove(&old);
        self.partitions -= session.cached_size;

        session.cached_size = session.size();
        self.partitions += session.cached_size;
        let worth = (session.privileged, session.cached_size, id);
        let is_old = now.since(session.created) > EVICTION_AGE;
        if is_old || !session.privileged {
            self.evictable_by_privileged.insert(worth);
        }
        if is_old {
            self.evictable_by_all.insert(worth);
        }
    }

    /// Makes room for a newcomer by evicting a stale session, or one that is worth no more.
    fn evict_for(&mut self, newcomer: Worth, now: Instant) -> bool {
        let Some(&(last_used, oldest)) = self.last_used.first() else {
            return false;
        };
        let victim = if now.since(last_used) > EVICTION_AGE {
            Some(oldest)
        } else {
            let (privileged, ..) = newcomer;
            let evictable = if privileged {
                &self.evictable_by_privileged
            } else {
                &self.evictable_by_all
            };
            evictable
                .first()
                .filter(|worth| newcomer >= **worth)
                .map(|(_, _, id)| *id)
        };
        let Some(victim) = victim else {
            return false;
        };
        self.remove(victim);
        self.evictions += 1;
        true
    }

    fn unused_id(&self, random: &mut dyn FnMut() -> u32) -> i32 {
        let base = self.shard as i32 * IDS_PER_SHARD;
        let lowest = base.max(1);
        let count = (base + IDS_PER_SHARD - lowest) as u32;
        loop {
            let id = lowest + (random() % count) as i32;
            if !self.sessions.contains_key(&id) {
                return id;
            }
        }
    }
}
