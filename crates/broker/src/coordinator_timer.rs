//! The deadlines of many shards, waited for by one task.

use ottla_coordinator_runtime::DeadlineQueue;
use ottla_model::Instant;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::clock::Clock;

/// Each shard's next deadline, by partition.
#[derive(Default)]
pub(crate) struct CoordinatorTimer {
    deadlines: Mutex<DeadlineQueue<i32>>,
    /// Told when the next deadline is earlier than it was.
    earlier: Notify,
}

impl CoordinatorTimer {
    /// Sets a shard's next deadline.
    pub(crate) fn set(&self, partition: i32, next: Option<Instant>) {
        let mut deadlines = self.deadlines.lock();
        if deadlines.deadline_of(&partition) == next {
            return;
        }
        let before = deadlines.next_deadline();
        match next {
            Some(at) => deadlines.schedule(partition, at),
            None => _ = deadlines.cancel(&partition),
        }
        let is_earlier = match (deadlines.next_deadline(), before) {
            (Some(after), Some(before)) => after < before,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if is_earlier {
            self.earlier.notify_one();
        }
    }

    /// Takes the shards whose deadline has come.
    pub(crate) fn take_due(&self, now: Instant) -> Vec<i32> {
        let mut deadlines = self.deadlines.lock();
        std::iter::from_fn(|| deadlines.pop_due(now)).collect()
    }

    /// Waits for the next deadline, or until an earlier one is set.
    pub(crate) async fn wait(&self, clock: Clock) {
        let next = self.deadlines.lock().next_deadline();
        let earlier = self.earlier.notified();
        match next {
            Some(at) => tokio::select! {
                () = tokio::time::sleep_until(clock.tokio_deadline(at)) => {}
                () = earlier => {}
            },
            None => earlier.await,
        }
    }
}
