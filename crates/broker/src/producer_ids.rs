//! Producer ids in blocks of a thousand, allocated by the controller and handed out here
//! (`RPCProducerIdManager`). A block that is not used up before a restart is lost, as in Kafka.

use std::sync::Arc;
use std::time::Duration;

use ottla_model::{ErrorCode, ProducerId};
use parking_lot::Mutex;

/// A new block is asked for once this share of the current one is handed out.
const PREFETCH_PERCENT: i64 = 90;
/// How long to wait for a block before a client is told to come again.
const WAIT: Duration = Duration::from_secs(5);

/// Ids `start..start + length`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerIdBlock {
    /// The first id.
    pub start: i64,
    /// How many ids.
    pub length: i32,
}

impl ProducerIdBlock {
    fn end(self) -> i64 {
        self.start.saturating_add(i64::from(self.length))
    }
}

#[derive(Debug, Default)]
struct Blocks {
    current: Option<ProducerIdBlock>,
    next_id: i64,
    next: Option<ProducerIdBlock>,
}

impl Blocks {
    /// The next id, and whether another block should be asked for.
    fn take(&mut self) -> (Option<ProducerId>, bool) {
        let Some(block) = self.current else {
            return (None, true);
        };
        let id = ProducerId(self.next_id);
        self.next_id += 1;
        let used = self.next_id - block.start;
        let low = used * 100 >= i64::from(block.length) * PREFETCH_PERCENT;
        if self.next_id >= block.end() {
            self.current = self.next.take();
            self.next_id = self.current.map_or(0, |block| block.start);
        }
        (Some(id), low && self.next.is_none())
    }

    fn give(&mut self, block: ProducerIdBlock) {
        if self.current.is_none() {
            self.current = Some(block);
            self.next_id = block.start;
        } else {
            self.next = Some(block);
        }
    }
}

/// Who allocates blocks: the controller, wherever it is.
pub trait AllocateBlock: Send + Sync + 'static {
    /// Asks for the next block.
    fn allocate(&self) -> impl Future<Output = Result<ProducerIdBlock, ErrorCode>> + Send;
}

/// Hands out producer ids.
#[derive(Debug)]
pub struct ProducerIds<A> {
    allocator: A,
    blocks: Mutex<Blocks>,
    /// One request for a block at a time.
    asking: tokio::sync::Mutex<()>,
}

impl<A: AllocateBlock> ProducerIds<A> {
    /// Starts without a block.
    pub fn new(allocator: A) -> Arc<Self> {
        Arc::new(Self {
            allocator,
            blocks: Mutex::default(),
            asking: tokio::sync::Mutex::new(()),
        })
    }

    /// The next id; COORDINATOR_LOAD_IN_PROGRESS when the controller gives none in time, which
    /// clients retry.
    pub async fn next(self: &Arc<Self>) -> Result<ProducerId, ErrorCode> {
        let (id, ask) = self.blocks.lock().take();
        if let Some(id) = id {
            if ask && let Ok(asking) = self.asking.try_lock() {
                drop(asking);
                let this = Arc::clone(self);
                tokio::spawn(async move { this.refill(false).await });
            }
            return Ok(id);
        }
        match tokio::time::timeout(WAIT, self.refill(true)).await {
            Ok(Some(id)) => Ok(id),
            Ok(None) | Err(_) => Err(ErrorCode::CoordinatorLoadInProgress),
        }
    }

    async fn refill(&self, take: bool) -> Option<ProducerId> {
        let _asking = self.asking.lock().await;
        if take && let (Some(id), _) = self.blocks.lock().take() {
            return Some(id);
        }
        if !take && self.blocks.lock().next.is_some() {
            return None;
        }
        match self.allocator.allocate().await {
            Ok(block) => {
                let mut blocks = self.blocks.lock();
                blocks.give(block);
                take.then(|| blocks.take().0).flatten()
            }
            Err(error) => {
                tracing::warn!(%error, "no block of producer ids from the controller");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    struct Thousands(AtomicI64);

    impl AllocateBlock for Thousands {
        async fn allocate(&self) -> Result<ProducerIdBlock, ErrorCode> {
            let start = self.0.fetch_add(1000, Ordering::Relaxed);
            Ok(ProducerIdBlock {
                start,
                length: 1000,
            })
        }
    }

    #[tokio::test]
    async fn ids_rise_without_gaps_over_blocks() {
        let ids = ProducerIds::new(Thousands(AtomicI64::new(0)));
        for expected in 0..2500 {
            assert_eq!(ids.next().await, Ok(ProducerId(expected)));
            tokio::task::yield_now().await;
        }
    }

    struct Nobody;

    impl AllocateBlock for Nobody {
        async fn allocate(&self) -> Result<ProducerIdBlock, ErrorCode> {
            Err(ErrorCode::NotController)
        }
    }

    #[tokio::test]
    async fn without_a_controller_clients_are_told_to_retry() {
        let ids = ProducerIds::new(Nobody);
        assert_eq!(ids.next().await, Err(ErrorCode::CoordinatorLoadInProgress));
    }
}
