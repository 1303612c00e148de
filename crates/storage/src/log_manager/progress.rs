//! How far the loading of logs at a start is (`remainingLogsToRecover`,
//! `remainingSegmentsToRecover`).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use ottla_model::TopicPartition;
use parking_lot::Mutex;

use crate::log_dir::LogDir;

/// What is left to do in one directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RemainingRecovery {
    /// The directory.
    pub path: PathBuf,
    /// Logs that are not loaded yet.
    pub logs: usize,
    /// Of each thread, segments of the log that it is recovering.
    pub segments: Vec<usize>,
}

/// Looks at a loading from outside.
#[derive(Clone, Debug)]
pub struct LoadProgress(pub(super) Vec<Arc<LogDir>>);

impl LoadProgress {
    /// What is left now; directories that are not loaded or are through are not mentioned.
    pub fn remaining(&self) -> Vec<RemainingRecovery> {
        let dirs = self.0.iter();
        let remaining = dirs.filter_map(|dir| {
            let (logs, segments) = dir.recovery.remaining()?;
            let path = dir.path().to_owned();
            Some(RemainingRecovery {
                path,
                logs,
                segments,
            })
        });
        remaining.collect()
    }
}

/// The progress of one directory, told by those who load it.
#[derive(Default, Debug)]
pub(crate) struct Recovery(Mutex<Option<State>>);

#[derive(Default, Debug)]
struct State {
    logs: usize,
    /// The log that each thread has in work.
    threads: Vec<Option<TopicPartition>>,
    segments: BTreeMap<TopicPartition, usize>,
}

impl Recovery {
    pub(crate) fn begin(&self, logs: usize, threads: usize) {
        *self.0.lock() = Some(State {
            logs,
            threads: vec![None; threads],
            segments: BTreeMap::new(),
        });
    }

    pub(crate) fn take(&self, thread: usize, partition: &TopicPartition) {
        if let Some(place) = self
            .0
            .lock()
            .as_mut()
            .and_then(|state| state.threads.get_mut(thread))
        {
            *place = Some(partition.clone());
        }
    }

    /// So many segments of a log are left. Logs that are opened later tell nobody.
    pub(crate) fn set_segments(&self, partition: &TopicPartition, left: usize) {
        if let Some(state) = &mut *self.0.lock() {
            state.segments.insert(partition.clone(), left);
        }
    }

    /// A log is done; how many are left.
    pub(crate) fn finish(&self, thread: usize) -> usize {
        let mut state = self.0.lock();
        let Some(state) = state.as_mut() else {
            return 0;
        };
        state.logs = state.logs.saturating_sub(1);
        if let Some(done) = state.threads.get_mut(thread).and_then(Option::take) {
            state.segments.remove(&done);
        }
        state.logs
    }

    pub(crate) fn end(&self) {
        *self.0.lock() = None;
    }

    fn remaining(&self) -> Option<(usize, Vec<usize>)> {
        let state = self.0.lock();
        let state = state.as_ref()?;
        let of = |partition: &Option<TopicPartition>| {
            let partition = partition.as_ref()?;
            state.segments.get(partition).copied()
        };
        let segments = state.threads.iter().map(|log| of(log).unwrap_or(0));
        Some((state.logs, segments.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_and_segments_count_down() {
        let recovery = Recovery::default();
        let partition = |number| TopicPartition::new("t", number);
        recovery.set_segments(&partition(0), 3);
        assert_eq!(recovery.remaining(), None);
        recovery.begin(2, 2);
        assert_eq!(recovery.remaining(), Some((2, vec![0, 0])));
        recovery.take(1, &partition(0));
        recovery.set_segments(&partition(0), 3);
        assert_eq!(recovery.remaining(), Some((2, vec![0, 3])));
        assert_eq!(recovery.finish(1), 1);
        assert_eq!(recovery.remaining(), Some((1, vec![0, 0])));
        recovery.end();
        assert_eq!(recovery.remaining(), None);
    }
}
