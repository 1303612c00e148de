//! Which leader epoch began at which offset (`LeaderEpochFileCache`), the basis of truncation.

use ottla_model::{LeaderEpoch, Offset};

/// The epochs of one log with their start offsets, ascending in both columns. Pure: the log writes
/// [`Self::entries`] to `leader-epoch-checkpoint` where a change says so.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct LeaderEpochCache {
    entries: Vec<(LeaderEpoch, Offset)>,
}

impl LeaderEpochCache {
    /// Feeds entries as read from a file.
    pub fn from_entries(entries: impl IntoIterator<Item = (LeaderEpoch, Offset)>) -> Self {
        let mut cache = Self::default();
        for (epoch, start_offset) in entries {
            cache.assign(epoch, start_offset);
        }
        cache
    }

    /// Records that an epoch starts at an offset. Entries that contradict it go. Whether anything
    /// changed. Both must be ≥ 0; otherwise nothing happens.
    pub fn assign(&mut self, epoch: LeaderEpoch, start_offset: Offset) -> bool {
        if epoch.0 < 0 || start_offset < 0 {
            return false;
        }
        if let Some((last_epoch, last_start)) = self.entries.last()
            && *last_epoch == epoch
            && *last_start <= start_offset
        {
            return false;
        }
        while let Some((last_epoch, last_start)) = self.entries.last()
            && (*last_epoch >= epoch || *last_start >= start_offset)
        {
            self.entries.pop();
        }
        self.entries.push((epoch, start_offset));
        true
    }

    /// Drops entries that start at or above an offset. Whether anything changed.
    pub fn truncate_from_end(&mut self, end_offset: Offset) -> bool {
        let before = self.entries.len();
        self.entries
            .retain(|(_, start_offset)| end_offset >= 0 && *start_offset < end_offset);
        self.entries.len() != before
    }

    /// Lets the cache begin at an offset: the epoch of that offset keeps an entry that starts there.
    /// Whether anything changed.
    pub fn truncate_from_start(&mut self, start_offset: Offset) -> bool {
        let below = self
            .entries
            .partition_point(|(_, start)| *start <= start_offset);
        let Some(first) = below.checked_sub(1) else {
            return false;
        };
        if start_offset < 0 || (first == 0 && self.entries[0].1 == start_offset) {
            return false;
        }
        self.entries.drain(..first);
        self.entries[0].1 = start_offset;
        true
    }

    /// Forgets everything (an append of magic 0 or 1). Whether anything changed.
    pub fn clear(&mut self) -> bool {
        let changed = !self.entries.is_empty();
        self.entries.clear();
        changed
    }

    /// The newest epoch.
    pub fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.entries.last().map(|(epoch, _)| *epoch)
    }

    /// The epochs with their start offsets, ascending.
    pub fn entries(&self) -> &[(LeaderEpoch, Offset)] {
        &self.entries
    }

    /// The epoch of a record's offset.
    pub fn epoch_for_offset(&self, offset: Offset) -> Option<LeaderEpoch> {
        let below = self.entries.partition_point(|(_, start)| *start <= offset);
        below.checked_sub(1).map(|index| self.entries[index].0)
    }

    /// Whether a record of an epoch cannot be what was written last at an offset, going by entries
    /// that were read from a disk. The entry of an epoch is there, durably, before its first record
    /// is written, and goes only when a truncation takes that record: where the entries tell the
    /// epoch of an offset and know of later ones, an epoch without any entry was cut off.
    ///
    /// What the last entry covers may have grown since, and what lies before the first is not known.
    /// An epoch whose entry starts further up is no proof: an entry that replaces others (see
    /// [`Self::assign`]) may leave records of its epoch before its start.
    pub fn rules_out(&self, epoch: LeaderEpoch, offset: Offset) -> bool {
        let below = self.entries.partition_point(|(_, start)| *start <= offset);
        let is_told = below > 0 && below < self.entries.len();
        is_told && !self.entries.iter().any(|(entry, _)| *entry == epoch)
    }

    /// The largest epoch ≤ the requested one, and where it ends: the answer to
    /// OffsetForLeaderEpoch. `None` is Kafka's undefined (−1, −1). An epoch below the first entry
    /// answers itself with that entry's start.
    pub fn end_offset_for(
        &self,
        epoch: LeaderEpoch,
        log_end_offset: Offset,
    ) -> Option<(LeaderEpoch, Offset)> {
        let latest = self.latest_epoch()?;
        if epoch.0 < 0 || epoch > latest {
            return None;
        }
        if epoch == latest {
            return Some((epoch, log_end_offset));
        }
        let higher = self.entries.partition_point(|(entry, _)| *entry <= epoch);
        let end_offset = self.entries[higher].1;
        let floor = higher
            .checked_sub(1)
            .map_or(epoch, |index| self.entries[index].0);
        Some((floor, end_offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(entries: &[(i32, i64)]) -> LeaderEpochCache {
        LeaderEpochCache::from_entries(entries.iter().map(|(e, o)| (LeaderEpoch(*e), *o)))
    }

    fn entries(cache: &LeaderEpochCache) -> Vec<(i32, i64)> {
        cache
            .entries()
            .iter()
            .map(|(epoch, offset)| (epoch.0, *offset))
            .collect()
    }

    #[test]
    fn assign_keeps_both_columns_ascending() {
        type Entries = &'static [(i32, i64)];
        let cases: &[(Entries, (i32, i64), Entries)] = &[
            (&[], (0, 0), &[(0, 0)]),
            (&[(1, 5)], (1, 9), &[(1, 5)]),
            (&[(1, 5)], (1, 5), &[(1, 5)]),
            (&[(1, 5)], (1, 3), &[(1, 3)]),
            (&[(1, 5), (2, 9)], (3, 9), &[(1, 5), (3, 9)]),
            (&[(1, 5), (2, 9)], (3, 4), &[(3, 4)]),
            (&[(1, 5), (3, 9)], (2, 12), &[(1, 5), (2, 12)]),
            (&[(1, 5)], (-1, 9), &[(1, 5)]),
        ];
        for (before, (epoch, offset), after) in cases {
            let mut cache = cache(before);
            let changed = cache.assign(LeaderEpoch(*epoch), *offset);
            assert_eq!(entries(&cache), *after, "{before:?} + {epoch}@{offset}");
            assert_eq!(changed, before != after, "{before:?} + {epoch}@{offset}");
        }
    }

    #[test]
    fn truncation_cuts_at_both_ends() {
        let full: &[(i32, i64)] = &[(1, 5), (2, 9), (4, 20)];
        for (offset, left) in [(21, 3), (20, 2), (10, 2), (9, 1), (5, 0), (0, 0)] {
            let mut cache = cache(full);
            cache.truncate_from_end(offset);
            assert_eq!(cache.entries().len(), left, "from end at {offset}");
        }
        for (offset, left) in [
            (4, vec![(1, 5), (2, 9), (4, 20)]),
            (5, vec![(1, 5), (2, 9), (4, 20)]),
            (7, vec![(1, 7), (2, 9), (4, 20)]),
            (9, vec![(2, 9), (4, 20)]),
            (30, vec![(4, 30)]),
        ] {
            let mut cache = cache(full);
            cache.truncate_from_start(offset);
            assert_eq!(entries(&cache), left, "from start at {offset}");
        }
    }

    #[test]
    fn end_offsets_are_those_of_kafka() {
        let cache = cache(&[(2, 5), (4, 9), (7, 20)]);
        for (epoch, expected) in [
            (-1, None),
            (0, Some((0, 5))),
            (2, Some((2, 9))),
            (3, Some((2, 9))),
            (4, Some((4, 20))),
            (6, Some((4, 20))),
            (7, Some((7, 33))),
            (8, None),
        ] {
            let answer = cache.end_offset_for(LeaderEpoch(epoch), 33);
            assert_eq!(
                answer.map(|(epoch, offset)| (epoch.0, offset)),
                expected,
                "epoch {epoch}"
            );
        }
        assert_eq!(
            LeaderEpochCache::default().end_offset_for(LeaderEpoch(0), 3),
            None
        );
        assert_eq!(cache.epoch_for_offset(4), None);
        assert_eq!(cache.epoch_for_offset(9), Some(LeaderEpoch(4)));
    }

    #[test]
    fn an_epoch_between_known_ones_is_ruled_out() {
        let cache = cache(&[(2, 5), (4, 9), (7, 20)]);
        for (epoch, offset, expected) in [
            // Before the first entry nothing is known.
            (3, 4, false),
            (2, 5, false),
            (3, 5, true),
            (1, 8, true),
            (9, 8, true),
            (4, 9, false),
            (5, 19, true),
            // Its entry starts later.
            (7, 19, false),
            // The last epoch's successors are not known yet.
            (8, 20, false),
            (8, 33, false),
        ] {
            let found = cache.rules_out(LeaderEpoch(epoch), offset);
            assert_eq!(found, expected, "epoch {epoch} at {offset}");
        }
        assert!(!LeaderEpochCache::default().rules_out(LeaderEpoch(1), 0));
    }
}
