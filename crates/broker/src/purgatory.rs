//! Requests that wait (`DelayedOperationPurgatory`): one object per request, completed once.
//!
//! A produce or delete request waits for each of its partitions to reach an offset: a
//! [`Countdown`] with one part per partition, which stands in each partition's [`OffsetQueue`].
//! A fetch waits for bytes anywhere: a [`FetchWaiter`], which stands in the [`WatchList`] of each
//! of its partitions. Whoever changes a partition takes what is ready under the partition's lock
//! and completes it after the lock is gone. Deadlines are tokio's timers: one queue for all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use ottla_model::Offset;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// A request that is answered when all of its parts are.
#[derive(Debug)]
pub(crate) struct Countdown<T> {
    parts: Mutex<Vec<Option<T>>>,
    left: AtomicUsize,
    done: Notify,
}

impl<T> Countdown<T> {
    /// A request of which this many parts are open.
    pub(crate) fn new(parts: usize) -> Arc<Self> {
        Arc::new(Self {
            parts: Mutex::new((0..parts).map(|_| None).collect()),
            left: AtomicUsize::new(parts),
            done: Notify::new(),
        })
    }

    /// Answers a part; only its first answer counts.
    pub(crate) fn complete(&self, part: usize, answer: T) {
        {
            let mut parts = self.parts.lock();
            match parts.get_mut(part) {
                Some(open @ None) => *open = Some(answer),
                _ => return,
            }
        }
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.done.notify_one();
        }
    }

    /// Waits until all parts are answered.
    pub(crate) async fn wait(&self) {
        if self.left.load(Ordering::Acquire) > 0 {
            self.done.notified().await;
        }
    }

    /// Waits until all parts are answered or the deadline passes, and takes the answers; a part
    /// that is still open then is `None`.
    pub(crate) async fn wait_until(&self, deadline: Instant) -> Vec<Option<T>> {
        // The outcome is told by the parts themselves.
        let _timely = tokio::time::timeout_at(deadline, self.wait()).await;
        std::mem::take(&mut *self.parts.lock())
    }
}

/// A place in an [`OffsetQueue`]: the offset that is waited for, and a number that makes it unique.
pub(crate) type QueuePlace = (Offset, u64);

/// Parts of requests that wait for a partition to reach an offset, the nearest first.
#[derive(Debug)]
pub(crate) struct OffsetQueue<T> {
    waiting: BTreeMap<QueuePlace, (Arc<Countdown<T>>, usize)>,
    next: u64,
}

impl<T> Default for OffsetQueue<T> {
    fn default() -> Self {
        Self {
            waiting: BTreeMap::new(),
            next: 0,
        }
    }
}

/// Parts that were taken out of a queue and are to be completed.
pub(crate) type Ready<T> = Vec<(Offset, Arc<Countdown<T>>, usize)>;

impl<T> OffsetQueue<T> {
    /// Queues a part of a request.
    pub(crate) fn push(
        &mut self,
        offset: Offset,
        request: Arc<Countdown<T>>,
        part: usize,
    ) -> QueuePlace {
        let place = (offset, self.next);
        self.next += 1;
        self.waiting.insert(place, (request, part));
        place
    }

    /// Gives a place up.
    pub(crate) fn remove(&mut self, place: &QueuePlace) {
        self.waiting.remove(place);
    }

    /// Takes all that wait for `reached` or less.
    pub(crate) fn take_up_to(&mut self, reached: Offset) -> Ready<T> {
        if self
            .waiting
            .first_key_value()
            .is_none_or(|((offset, _), _)| *offset > reached)
        {
            return Vec::new();
        }
        let later = match reached.checked_add(1) {
            Some(next) => self.waiting.split_off(&(next, 0)),
            None => BTreeMap::new(),
        };
        ready(std::mem::replace(&mut self.waiting, later))
    }

    /// Takes all: the partition will not reach any offset any more.
    pub(crate) fn take_all(&mut self) -> Ready<T> {
        ready(std::mem::take(&mut self.waiting))
    }

    /// Whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

fn ready<T>(waiting: BTreeMap<QueuePlace, (Arc<Countdown<T>>, usize)>) -> Ready<T> {
    waiting
        .into_iter()
        .map(|((offset, _), (request, part))| (offset, request, part))
        .collect()
}

/// A fetch that waits for enough bytes.
#[derive(Debug)]
pub(crate) struct FetchWaiter {
    /// Bytes that must still come before it is worth looking again.
    missing: AtomicI64,
    wake: Notify,
}

impl FetchWaiter {
    /// A fetch that lacks this many bytes.
    pub(crate) fn new(missing: i64) -> Arc<Self> {
        Arc::new(Self {
            missing: AtomicI64::new(missing),
            wake: Notify::new(),
        })
    }

    /// Waits for the next look; false if the deadline came first.
    pub(crate) async fn wait_until(&self, deadline: Instant) -> bool {
        tokio::time::timeout_at(deadline, self.wake.notified())
            .await
            .is_ok()
    }

    /// After a look that found too little: how many bytes are still missing.
    pub(crate) fn set_missing(&self, missing: i64) {
        self.missing.store(missing, Ordering::Release);
    }

    /// Tells that bytes have come; wakes when they may be enough.
    fn add_bytes(&self, bytes: i64) {
        let before = self.missing.fetch_sub(bytes, Ordering::AcqRel);
        if before > 0 && before <= bytes {
            self.wake.notify_one();
        }
    }

    /// Wakes for another reason than bytes: leadership, epochs, directories.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }
}

/// The fetches that wait at a partition. Empty most of the time, and then costs one load.
#[derive(Debug, Default)]
pub(crate) struct WatchList {
    count: AtomicUsize,
    waiters: Mutex<Vec<Arc<FetchWaiter>>>,
}

impl WatchList {
    /// Adds a waiter.
    pub(crate) fn add(&self, waiter: &Arc<FetchWaiter>) {
        let mut waiters = self.waiters.lock();
        waiters.push(Arc::clone(waiter));
        self.count.store(waiters.len(), Ordering::SeqCst);
    }

    /// Removes a waiter.
    pub(crate) fn remove(&self, waiter: &Arc<FetchWaiter>) {
        let mut waiters = self.waiters.lock();
        if let Some(index) = waiters.iter().position(|w| Arc::ptr_eq(w, waiter)) {
            waiters.swap_remove(index);
        }
        self.count.store(waiters.len(), Ordering::SeqCst);
    }

    /// Tells all waiters that this many bytes have become readable.
    pub(crate) fn bytes_came(&self, bytes: usize) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        for waiter in self.waiters.lock().iter() {
            waiter.add_bytes(bytes);
        }
    }

    /// Makes all waiters look again.
    pub(crate) fn wake_all(&self) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        for waiter in self.waiters.lock().iter() {
            waiter.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(1)
    }

    fn far() -> Instant {
        Instant::now() + Duration::from_secs(600)
    }

    #[tokio::test]
    async fn a_request_is_done_when_its_last_part_is_and_only_first_answers_count() {
        let request = Countdown::new(2);
        request.complete(0, "a");
        request.complete(0, "again");
        request.complete(7, "no such part");
        let waiting = Arc::clone(&request);
        let task = tokio::spawn(async move { waiting.wait_until(far()).await });
        request.complete(1, "b");
        assert_eq!(task.await.unwrap(), [Some("a"), Some("b")]);
    }

    #[tokio::test]
    async fn open_parts_are_told_at_the_deadline() {
        let request = Countdown::new(2);
        request.complete(1, ());
        assert_eq!(request.wait_until(soon()).await, [None, Some(())]);
    }

    #[test]
    fn a_queue_gives_what_is_reached_in_order() {
        let mut queue = OffsetQueue::default();
        let request = Countdown::<()>::new(4);
        for (part, offset) in [5, 3, 9, 5].into_iter().enumerate() {
            queue.push(offset, Arc::clone(&request), part);
        }
        let given_up = queue.push(4, Arc::clone(&request), 0);
        queue.remove(&given_up);
        let offsets = |ready: Ready<()>| ready.into_iter().map(|(o, ..)| o).collect::<Vec<_>>();
        assert_eq!(offsets(queue.take_up_to(2)), [0; 0]);
        assert_eq!(offsets(queue.take_up_to(5)), [3, 5, 5]);
        assert_eq!(offsets(queue.take_up_to(8)), [0; 0]);
        assert_eq!(offsets(queue.take_up_to(i64::MAX)), [9]);
        assert!(queue.is_empty());
    }

    #[tokio::test]
    async fn a_fetch_is_woken_once_its_bytes_have_come() {
        let list = WatchList::default();
        let waiter = FetchWaiter::new(100);
        list.add(&waiter);
        list.bytes_came(99);
        assert!(!waiter.wait_until(soon()).await);
        list.bytes_came(1);
        assert!(waiter.wait_until(far()).await);
        list.bytes_came(1);
        assert!(!waiter.wait_until(soon()).await, "already woken");
        waiter.set_missing(10);
        list.wake_all();
        assert!(waiter.wait_until(far()).await);
        list.remove(&waiter);
        list.wake_all();
        assert!(!waiter.wait_until(soon()).await);
    }
}
