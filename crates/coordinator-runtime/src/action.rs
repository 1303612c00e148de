//! What a coordinator asks its driver to do, and the names under which the driver answers.

use bytes::Bytes;
use ottla_model::{ErrorCode, Instant, Offset, ProducerEpoch, ProducerId, Timestamp};

/// A moment on both clocks, read once per event by the driver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// For deadlines.
    pub instant: Instant,
    /// For records and ages of stored state.
    pub timestamp: Timestamp,
}

/// A request that waits for its reply; numbered by the driver, which never reuses a number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(pub u64);

/// An append that waits for its result; numbered by the machine, which never reuses a number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AppendToken(pub u64);

/// One record of an internal topic; both sides start with their int16 version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CoordinatorRecord {
    /// The key, never empty.
    pub key: Bytes,
    /// The value; `None` is a tombstone.
    pub value: Option<Bytes>,
}

impl CoordinatorRecord {
    /// A record that removes what the key names.
    pub fn tombstone(key: Bytes) -> Self {
        Self { key, value: None }
    }
}

/// When an append counts as done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// With the acks that the coordinator is configured for
    /// (`offsets.commit.required.acks`, −1 for transactions): replicated before it is answered.
    Required,
    /// As soon as the leader's log has it (acks 0): lost tombstones are written again.
    Local,
}

/// One batch of format 2 to append to the machine's partition, all or nothing, CreateTime.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Append {
    /// Names the append in its result.
    pub token: AppendToken,
    /// The records in their order, never empty.
    pub records: Vec<CoordinatorRecord>,
    /// The timestamp of every record.
    pub timestamp: Timestamp,
    /// The batch's producer id; −1 except in transactional offset commits.
    pub producer_id: ProducerId,
    /// The batch's producer epoch; −1 without a producer.
    pub producer_epoch: ProducerEpoch,
    /// The batch's base sequence: −1, and 0 in offset commits as Kafka writes them.
    pub base_sequence: i32,
    /// The batch's transactional bit.
    pub transactional: bool,
    /// When it counts as done.
    pub durability: Durability,
}

/// The base offset of the appended batch, or the error with which the log or its replication
/// refused it, before any coordinator's mapping.
pub type AppendResult = Result<Offset, ErrorCode>;

/// What the driver has to do, in the order in which it was emitted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action<Response> {
    /// Append a batch; its result comes back as an event, exactly once.
    Append(Append),
    /// Answer a request; each request is answered exactly once.
    Reply {
        /// The request.
        request: RequestId,
        /// Its answer.
        response: Response,
    },
}
