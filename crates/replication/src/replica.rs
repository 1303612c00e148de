//! What a leader knows of each of its followers (`kafka.cluster.Replica`).

use std::time::Duration;

use ottla_model::{BrokerEpoch, BrokerId, Instant, Offset};

/// A follower as its leader sees it. All of it is volatile: fetches update it, elections reset it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RemoteReplica {
    /// The follower.
    pub id: BrokerId,
    /// The offset from which it fetched last, which is its log end; −1 unknown.
    pub log_end_offset: Offset,
    /// Its log start as its last fetch told it; −1 unknown.
    pub log_start_offset: Offset,
    /// The leader's log end when its last fetch arrived.
    pub last_fetch_leader_log_end_offset: Offset,
    /// When its last fetch arrived; `None` before the first one.
    pub last_fetch_time: Option<Instant>,
    /// The latest moment at which it held everything the leader held; `None` long ago or never.
    pub last_caught_up_time: Option<Instant>,
    /// Its incarnation, from Fetch version 15 on.
    pub broker_epoch: BrokerEpoch,
}

/// What a follower's fetch tells the leader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FollowerFetch {
    /// The offset that it asks for: it holds everything below.
    pub fetch_offset: Offset,
    /// Its log start; −1 from versions that do not tell.
    pub log_start_offset: Offset,
    /// Its incarnation; −1 from versions that do not tell.
    pub broker_epoch: BrokerEpoch,
    /// When the fetch arrived.
    pub now: Instant,
    /// The leader's log end before the read, so that appends after it do not count against the
    /// follower.
    pub leader_log_end_offset: Offset,
}

impl RemoteReplica {
    /// A follower of which nothing is known.
    pub fn unknown(id: BrokerId) -> Self {
        Self {
            id,
            log_end_offset: -1,
            log_start_offset: -1,
            last_fetch_leader_log_end_offset: -1,
            last_fetch_time: None,
            last_caught_up_time: None,
            broker_epoch: BrokerEpoch::NONE,
        }
    }

    /// Takes a fetch into account.
    ///
    /// A follower that asks for less than the leader's end now, but for all that the leader had at
    /// its previous fetch, was caught up at that time: otherwise frequent small appends would keep
    /// a healthy follower out of the ISR.
    pub fn record_fetch(&mut self, fetch: &FollowerFetch) {
        if fetch.fetch_offset >= fetch.leader_log_end_offset {
            self.last_caught_up_time = self.last_caught_up_time.max(Some(fetch.now));
        } else if fetch.fetch_offset >= self.last_fetch_leader_log_end_offset {
            self.last_caught_up_time = self.last_caught_up_time.max(self.last_fetch_time);
        }
        self.log_end_offset = fetch.fetch_offset;
        self.log_start_offset = fetch.log_start_offset;
        self.last_fetch_leader_log_end_offset = self
            .last_fetch_leader_log_end_offset
            .max(fetch.leader_log_end_offset);
        self.last_fetch_time = Some(fetch.now);
        self.broker_epoch = fetch.broker_epoch;
    }

    /// Starts a new leader epoch of ours. Members of the ISR get the benefit of the doubt, so that
    /// an election does not shrink the ISR; others do not, so that they hold nothing back.
    /// A leader that is elected anew, with nobody between, keeps what it knows of their logs; any
    /// other forgets it.
    pub fn reset(
        &mut self,
        now: Instant,
        leader_log_end_offset: Offset,
        forgets: bool,
        in_sync: bool,
    ) {
        let since = in_sync.then_some(now);
        if forgets {
            *self = Self {
                last_caught_up_time: since,
                ..Self::unknown(self.id)
            };
        } else {
            self.last_fetch_leader_log_end_offset = leader_log_end_offset;
            self.last_fetch_time = since;
            self.last_caught_up_time = since;
        }
    }

    /// Whether it holds everything, or did within `replica.lag.time.max.ms`.
    pub fn is_caught_up(
        &self,
        leader_log_end_offset: Offset,
        now: Instant,
        lag_max: Duration,
    ) -> bool {
        self.log_end_offset == leader_log_end_offset
            || self
                .last_caught_up_time
                .is_some_and(|then| now.since(then) <= lag_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAG: Duration = Duration::from_millis(30_000);

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn fetch(offset: Offset, now: u64, leader_end: Offset) -> FollowerFetch {
        FollowerFetch {
            fetch_offset: offset,
            log_start_offset: 0,
            broker_epoch: BrokerEpoch::NONE,
            now: at(now),
            leader_log_end_offset: leader_end,
        }
    }

    #[test]
    fn reading_to_the_leaders_end_is_caught_up_now() {
        let mut replica = RemoteReplica::unknown(BrokerId(2));
        replica.record_fetch(&fetch(10, 1_000, 10));
        assert_eq!(replica.last_caught_up_time, Some(at(1_000)));
    }

    #[test]
    fn reading_to_the_end_of_the_previous_fetch_is_caught_up_then() {
        let mut replica = RemoteReplica::unknown(BrokerId(2));
        replica.record_fetch(&fetch(5, 1_000, 10));
        assert_eq!(replica.last_caught_up_time, None);
        replica.record_fetch(&fetch(10, 2_000, 15));
        assert_eq!(replica.last_caught_up_time, Some(at(1_000)));
        replica.record_fetch(&fetch(12, 3_000, 20));
        assert_eq!(replica.last_caught_up_time, Some(at(1_000)), "12 < 15");
    }

    #[test]
    fn caught_up_by_offset_or_by_time() {
        let mut replica = RemoteReplica::unknown(BrokerId(2));
        replica.record_fetch(&fetch(10, 1_000, 10));
        assert!(
            replica.is_caught_up(10, at(1_000_000), LAG),
            "same offset, however long ago"
        );
        assert!(
            replica.is_caught_up(11, at(31_000), LAG),
            "30 s is still within"
        );
        assert!(!replica.is_caught_up(11, at(31_001), LAG));
    }

    #[test]
    fn a_new_leader_forgets_and_a_re_elected_one_keeps_the_followers_log() {
        let mut replica = RemoteReplica::unknown(BrokerId(2));
        replica.record_fetch(&fetch(10, 1_000, 12));
        let mut forgotten = replica.clone();
        forgotten.reset(at(2_000), 12, true, true);
        assert_eq!(forgotten.log_end_offset, -1);
        assert_eq!(
            (forgotten.last_fetch_time, forgotten.last_caught_up_time),
            (None, Some(at(2_000)))
        );

        replica.reset(at(2_000), 12, false, false);
        assert_eq!((replica.log_end_offset, replica.log_start_offset), (10, 0));
        assert_eq!(replica.last_fetch_leader_log_end_offset, 12);
        assert_eq!(
            (replica.last_fetch_time, replica.last_caught_up_time),
            (None, None)
        );
    }
}
