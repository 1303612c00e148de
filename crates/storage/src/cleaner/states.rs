//! Which logs are being cleaned, and which must not be (`LogCleaningState`).

use std::collections::{BTreeMap, BTreeSet};

use ottla_model::TopicPartition;
use parking_lot::{Condvar, Mutex};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    InProgress,
    /// Somebody waits for the end of a cleaning; so many.
    Aborted(u32),
    /// Nobody may begin; so many asked for that.
    Paused(u32),
}

/// The states of all logs of a broker. Logs that are not mentioned may be cleaned.
#[derive(Default, Debug)]
pub(crate) struct CleaningStates {
    table: Mutex<Table>,
    changed: Condvar,
    dirtiest: Mutex<f64>,
}

#[derive(Default, Debug)]
struct Table {
    states: BTreeMap<TopicPartition, State>,
    uncleanable: BTreeSet<TopicPartition>,
    stopped: bool,
}

impl CleaningStates {
    /// Takes a log for cleaning, if nobody has it and it may be cleaned.
    pub(crate) fn begin(&self, partition: &TopicPartition) -> bool {
        let mut table = self.table.lock();
        let is_free = !table.stopped
            && !table.states.contains_key(partition)
            && !table.uncleanable.contains(partition);
        if is_free {
            table.states.insert(partition.clone(), State::InProgress);
        }
        is_free
    }

    /// The cleaning that [`CleaningStates::begin`] allowed is over, one way or the other.
    pub(crate) fn end(&self, partition: &TopicPartition) {
        let mut table = self.table.lock();
        match table.states.remove(partition) {
            Some(State::Aborted(waiting)) => {
                table
                    .states
                    .insert(partition.clone(), State::Paused(waiting));
            }
            Some(State::InProgress) | None => {}
            Some(paused @ State::Paused(_)) => {
                table.states.insert(partition.clone(), paused);
            }
        }
        self.changed.notify_all();
    }

    /// Whether a cleaning may go on.
    pub(crate) fn may_go_on(&self, partition: &TopicPartition) -> bool {
        let table = self.table.lock();
        !table.stopped && table.states.get(partition) == Some(&State::InProgress)
    }

    /// Ends a cleaning of a log, waits for that, and lets none begin until
    /// [`CleaningStates::resume`]. Not to be called with the log locked.
    pub(crate) fn abort_and_pause(&self, partition: &TopicPartition) {
        let mut table = self.table.lock();
        let state = match table.states.get(partition) {
            None => State::Paused(1),
            Some(State::InProgress) => State::Aborted(1),
            Some(State::Aborted(waiting)) => State::Aborted(waiting + 1),
            Some(State::Paused(count)) => State::Paused(count + 1),
        };
        table.states.insert(partition.clone(), state);
        while matches!(table.states.get(partition), Some(State::Aborted(_))) {
            self.changed.wait(&mut table);
        }
    }

    /// Takes back one [`CleaningStates::abort_and_pause`].
    pub(crate) fn resume(&self, partition: &TopicPartition) {
        let mut table = self.table.lock();
        match table.states.get(partition).copied() {
            Some(State::Paused(count)) if count > 1 => {
                table
                    .states
                    .insert(partition.clone(), State::Paused(count - 1));
            }
            Some(State::Paused(_)) => drop(table.states.remove(partition)),
            other => unreachable!("only a paused log is resumed, {partition} is {other:?}"),
        }
    }

    /// The log cannot be cleaned, until a restart.
    pub(crate) fn set_uncleanable(&self, partition: &TopicPartition) {
        self.table.lock().uncleanable.insert(partition.clone());
    }

    /// A log is gone: another one of its name may be cleaned.
    pub(crate) fn forget(&self, partition: &TopicPartition) {
        self.table.lock().uncleanable.remove(partition);
    }

    /// The dirty share, of 1, of the dirtiest log, when a thread last looked for work.
    pub(crate) fn dirtiest(&self) -> f64 {
        *self.dirtiest.lock()
    }

    /// A thread has looked at all logs.
    pub(crate) fn set_dirtiest(&self, ratio: f64) {
        *self.dirtiest.lock() = ratio;
    }

    /// Logs that cannot be cleaned.
    pub(crate) fn uncleanable(&self) -> Vec<TopicPartition> {
        self.table.lock().uncleanable.iter().cloned().collect()
    }

    /// Ends all cleaning for good and waits for that.
    pub(crate) fn stop(&self) {
        let mut table = self.table.lock();
        table.stopped = true;
        let is_busy = |state: &State| !matches!(state, State::Paused(_));
        while table.states.values().any(is_busy) {
            self.changed.wait(&mut table);
        }
    }

    /// Whether cleaning ended for good.
    pub(crate) fn is_stopped(&self) -> bool {
        self.table.lock().stopped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cleaning_is_aborted_before_others_touch_the_log_and_pauses_nest() {
        let states = CleaningStates::default();
        let partition = TopicPartition::new("t", 0);
        assert!(states.begin(&partition));
        assert!(!states.begin(&partition));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| states.abort_and_pause(&partition));
            while states.may_go_on(&partition) {
                std::thread::yield_now();
            }
            states.end(&partition);
            waiting.join().unwrap();
        });
        states.abort_and_pause(&partition);
        assert!(!states.begin(&partition));
        states.resume(&partition);
        assert!(!states.begin(&partition));
        states.resume(&partition);
        assert!(states.begin(&partition));
        states.end(&partition);
        states.set_uncleanable(&partition);
        assert!(!states.begin(&partition));
        states.forget(&partition);
        states.stop();
        assert!(!states.begin(&partition));
    }
}
