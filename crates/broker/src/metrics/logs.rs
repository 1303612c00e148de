//! What is counted of flushes and of the log cleaner (`LogFlushStats`, `LogCleaner`).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use ottla_model::Timestamp;
use ottla_storage::cleaner::CleaningStats;
use parking_lot::Mutex;

use super::histogram::Histogram;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct LogMetrics {
    /// Of segments, in microseconds.
    pub(crate) flush_time: Histogram,
    /// The last cleaning of each of the cleaner's threads.
    last_cleanings: Mutex<BTreeMap<usize, (CleaningStats, Duration)>>,
    /// Wall time at which the cleaner last looked for work; 0 if it has not.
    cleaner_ran_at: AtomicI64,
    dead_cleaners: AtomicUsize,
}

impl LogMetrics {
    /// A segment was flushed.
    pub(crate) fn flushed(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.flush_time.record(micros);
    }

    /// The cleaner looks for work.
    pub(crate) fn cleaner_runs(&self, now: Timestamp) {
        self.cleaner_ran_at.store(now.0, Ordering::Relaxed);
    }

    /// A thread of the cleaner has cleaned a log.
    pub(crate) fn cleaned(&self, thread: usize, stats: CleaningStats, took: Duration) {
        self.last_cleanings.lock().insert(thread, (stats, took));
    }

    /// `time-since-last-run-ms`; `None` without a cleaner.
    pub(crate) fn since_cleaner_ran_ms(&self, now: Timestamp) -> Option<i64> {
        let ran_at = self.cleaner_ran_at.load(Ordering::Relaxed);
        (ran_at > 0).then(|| (now.0 - ran_at).max(0))
    }

    /// `cleaner-recopy-percent`: what the threads' last cleanings wrote of what they read.
    pub(crate) fn recopy_percent(&self) -> u64 {
        let last = self.last_cleanings.lock();
        let read: u64 = last.values().map(|(stats, _)| stats.bytes_read).sum();
        let written: u64 = last.values().map(|(stats, _)| stats.bytes_written).sum();
        written.saturating_mul(100) / read.max(1)
    }

    /// `max-buffer-utilization-percent`: of the maps of keys of the threads' last cleanings.
    pub(crate) fn buffer_utilization_max_percent(&self) -> u64 {
        let last = self.last_cleanings.lock();
        let shares = last.values().map(|(stats, _)| stats.map_utilization);
        (shares.fold(0.0, f64::max) * 100.0) as u64
    }

    /// `max-compaction-delay-secs`: by how much the most overdue log was late when the threads last
    /// chose one, in whole seconds.
    pub(crate) fn compaction_delay_max_seconds(&self) -> i64 {
        let last = self.last_cleanings.lock();
        let delays = last.values().map(|(stats, _)| stats.compaction_delay_ms);
        delays.max().unwrap_or(0) / 1000
    }

    /// `DeadThreadCount`: threads of the cleaner that ended by an error of their own.
    pub(crate) fn dead_cleaners(&self) -> usize {
        self.dead_cleaners.load(Ordering::Relaxed)
    }

    /// A thread of the cleaner has ended by an error of its own.
    pub(crate) fn cleaner_died(&self) {
        self.dead_cleaners.fetch_add(1, Ordering::Relaxed);
    }

    /// `max-clean-time-secs`: the longest of the threads' last cleanings, in whole seconds.
    pub(crate) fn clean_time_max_seconds(&self) -> u64 {
        let last = self.last_cleanings.lock();
        let longest = last.values().map(|(_, took)| took.as_secs()).max();
        longest.unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_cleanings_of_all_threads_count() {
        let metrics = LogMetrics::default();
        assert_eq!(metrics.since_cleaner_ran_ms(Timestamp(10)), None);
        assert_eq!(
            (metrics.recopy_percent(), metrics.clean_time_max_seconds()),
            (0, 0)
        );
        let stats = |read, written| CleaningStats {
            bytes_read: read,
            bytes_written: written,
            map_utilization: read as f64 / 1000.0,
            compaction_delay_ms: 12_345,
            ..CleaningStats::default()
        };
        metrics.cleaner_runs(Timestamp(4));
        metrics.cleaned(0, stats(1, 1), Duration::from_secs(9));
        metrics.cleaned(0, stats(300, 100), Duration::from_secs(2));
        metrics.cleaned(1, stats(100, 100), Duration::from_secs(3));
        assert_eq!(metrics.recopy_percent(), 50);
        assert_eq!(metrics.clean_time_max_seconds(), 3);
        assert_eq!(metrics.buffer_utilization_max_percent(), 30);
        assert_eq!(metrics.compaction_delay_max_seconds(), 12);
        assert_eq!(metrics.since_cleaner_ran_ms(Timestamp(10)), Some(6));
    }
}
