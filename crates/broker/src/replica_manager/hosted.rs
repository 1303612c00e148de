//! One partition as this broker hosts it: decisions and log under one lock, and a view of both for
//! readers who take no lock.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use ottla_config::TopicConfig;
use ottla_model::{BrokerId, ErrorCode, Instant, Offset, TopicId, TopicName, TopicPartition};
use ottla_replication::partition::Surroundings;
use ottla_replication::{LogOffsets, Partition};
use ottla_storage::{Log, LogHandle, LogReader};
use parking_lot::{Mutex, MutexGuard};

use crate::metadata_cache::MetadataCache;
use crate::metrics::TopicCounts;
use crate::purgatory::{OffsetQueue, Ready, WatchList};

/// The answer of DeleteRecords for one partition: error and low watermark.
pub(crate) type DeleteAnswer = (ErrorCode, Offset);

/// See the module.
pub(crate) struct HostedPartition {
    topic_partition: TopicPartition,
    inner: Mutex<Inner>,
    view: ArcSwap<View>,
    /// Fetches of consumers that wait for the high watermark.
    pub(crate) consumers: WatchList,
    /// Fetches of followers that wait for the log end.
    pub(crate) followers: WatchList,
    /// Shared with the topic's other partitions here.
    pub(crate) topic_counts: Arc<TopicCounts>,
}

/// What the lock protects.
pub(crate) struct Inner {
    pub(crate) partition: Partition,
    /// `None` until a command has made this broker a replica. Its own lock is for background
    /// duties, which take no other one; it is always taken inside this one.
    pub(crate) log: Option<LogHandle>,
    /// The log of a move to another directory that is under way.
    pub(crate) future: Option<FutureLog>,
    pub(crate) config: Arc<TopicConfig>,
    pub(crate) produce_queue: OffsetQueue<ErrorCode>,
    pub(crate) delete_queue: OffsetQueue<DeleteAnswer>,
}

/// Where a partition moves to, within this broker.
pub(crate) struct FutureLog {
    pub(crate) log: LogHandle,
    /// It may hold what the current log does not: it is cut first, here if no epoch can tell.
    pub(crate) cut_first: Option<Offset>,
}

/// What readers need to know of a partition: who leads it, under which epoch, and its log. The
/// in-sync replicas in it may be out of date.
pub(crate) struct View {
    partition: Partition,
    reader: Option<LogReader>,
    topic_id: Option<TopicId>,
    /// Data of this topic may be compressed with zstd by the broker itself.
    pub(crate) config: Arc<TopicConfig>,
}

impl View {
    /// Leadership and epochs.
    pub(crate) fn partition(&self) -> &Partition {
        &self.partition
    }

    /// The log; NOT_LEADER_OR_FOLLOWER if there is none here.
    pub(crate) fn reader(&self) -> Result<&LogReader, ErrorCode> {
        self.reader.as_ref().ok_or(ErrorCode::NotLeaderOrFollower)
    }

    /// The id in the log.
    pub(crate) fn topic_id(&self) -> Option<TopicId> {
        self.topic_id
    }
}

impl HostedPartition {
    /// A partition without a role and without a log.
    pub(crate) fn new(
        topic_partition: TopicPartition,
        local: BrokerId,
        lag_max: Duration,
        config: Arc<TopicConfig>,
        topic_counts: Arc<TopicCounts>,
    ) -> Arc<Self> {
        let partition = Partition::new(topic_partition.clone(), local, lag_max);
        let view = View {
            partition: partition.clone(),
            reader: None,
            topic_id: None,
            config: Arc::clone(&config),
        };
        Arc::new(Self {
            topic_partition,
            inner: Mutex::new(Inner {
                partition,
                log: None,
                future: None,
                config,
                produce_queue: OffsetQueue::default(),
                delete_queue: OffsetQueue::default(),
            }),
            view: ArcSwap::from_pointee(view),
            consumers: WatchList::default(),
            followers: WatchList::default(),
            topic_counts,
        })
    }

    pub(crate) fn topic_partition(&self) -> &TopicPartition {
        &self.topic_partition
    }

    /// The view for readers.
    pub(crate) fn view(&self) -> Guard<Arc<View>> {
        self.view.load()
    }

    /// Decisions and log.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    /// Shows a changed role, log or configuration to readers; call with the lock held.
    pub(crate) fn publish(&self, inner: &Inner) {
        self.view.store(Arc::new(View {
            partition: inner.partition.clone(),
            reader: inner.log.as_ref().map(|log| log.lock().reader()),
            topic_id: inner.log.as_ref().and_then(|log| log.lock().topic_id()),
            config: Arc::clone(&inner.config),
        }));
    }

    /// Does what must not be done under the lock.
    pub(crate) fn carry_out(&self, effects: Effects) {
        for (_, request, part) in effects.produced {
            request.complete(part, effects.produce_answer);
        }
        for (_, request, part) in effects.deleted {
            request.complete(part, effects.delete_answer);
        }
        match effects.fetches {
            Fetches::Sleep => {}
            Fetches::Appended {
                bytes,
                is_committed,
            } => {
                self.followers.bytes_came(bytes);
                if is_committed {
                    self.consumers.bytes_came(bytes);
                }
            }
            Fetches::Committed => self.consumers.wake_all(),
            Fetches::Changed => {
                self.followers.wake_all();
                self.consumers.wake_all();
            }
        }
    }
}

/// Which waiting fetches should look again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Fetches {
    /// None.
    #[default]
    Sleep,
    /// Bytes were appended, and committed at once or not.
    Appended { bytes: usize, is_committed: bool },
    /// The high watermark rose over what had been appended before.
    Committed,
    /// Leadership, epoch or directory changed.
    Changed,
}

/// What a change of a partition sets off: to be carried out when its lock is gone.
pub(crate) struct Effects {
    pub(crate) produced: Ready<ErrorCode>,
    pub(crate) produce_answer: ErrorCode,
    pub(crate) deleted: Ready<DeleteAnswer>,
    pub(crate) delete_answer: DeleteAnswer,
    pub(crate) fetches: Fetches,
}

impl Default for Effects {
    fn default() -> Self {
        Self {
            produced: Vec::new(),
            produce_answer: ErrorCode::None,
            deleted: Vec::new(),
            delete_answer: (ErrorCode::None, -1),
            fetches: Fetches::Sleep,
        }
    }
}

impl Inner {
    /// The log's offsets; all 0 without a log.
    pub(crate) fn offsets(&self) -> LogOffsets {
        self.log.as_ref().map_or_else(LogOffsets::default, |log| {
            to_log_offsets(&log.lock().offsets())
        })
    }

    /// The effective `min.insync.replicas`.
    pub(crate) fn min_insync_replicas(&self) -> i32 {
        self.config.min_insync_replicas
    }

    /// Moves the high watermark as far as it may go; whether it moved.
    pub(crate) fn advance_high_watermark(
        &mut self,
        now: Instant,
        metadata: &MetadataCache,
    ) -> bool {
        let Some(log) = &self.log else {
            return false;
        };
        let mut log = log.lock();
        advance_high_watermark(&self.partition, &mut log, &self.config, now, metadata)
    }

    /// Takes the producers that can be answered now.
    pub(crate) fn take_produced(&mut self, effects: &mut Effects) {
        if self.produce_queue.is_empty() {
            return;
        }
        let high_watermark = self.offsets().high_watermark;
        let min_isr = self.min_insync_replicas();
        if !self.partition.is_leader() {
            effects.produced = self.produce_queue.take_all();
            effects.produce_answer = ErrorCode::NotLeaderOrFollower;
            return;
        }
        effects.produced = self.produce_queue.take_up_to(high_watermark);
        effects.produce_answer = self
            .partition
            .produce_is_ready(high_watermark, high_watermark, min_isr)
            .unwrap_or(ErrorCode::None);
    }

    /// Takes the DeleteRecords that can be answered now.
    pub(crate) fn take_deleted(&mut self, metadata: &MetadataCache, effects: &mut Effects) {
        if self.delete_queue.is_empty() {
            return;
        }
        if !self.partition.is_leader() {
            effects.deleted = self.delete_queue.take_all();
            effects.delete_answer = (ErrorCode::NotLeaderOrFollower, -1);
            return;
        }
        let low_watermark = self.low_watermark(metadata);
        effects.deleted = self.delete_queue.take_up_to(low_watermark);
        effects.delete_answer = (ErrorCode::None, low_watermark);
    }

    /// The least log start of the live replicas.
    pub(crate) fn low_watermark(&self, metadata: &MetadataCache) -> Offset {
        let snapshot = metadata.snapshot();
        let future = self.future.as_ref();
        let future_start = future.map(|future| future.log.lock().log_start_offset());
        self.partition
            .low_watermark(&self.offsets(), future_start, &|id| snapshot.is_alive(id))
    }

    /// The current log was cut: the future log has to be, before anything is added to it.
    pub(crate) fn current_log_was_cut(&mut self, offset: Offset) {
        if let Some(future) = &mut self.future {
            future.cut_first = Some(offset);
        }
    }

    /// Ends all waiting: the partition leaves this broker, or its directory failed.
    pub(crate) fn end(&mut self, error: ErrorCode) -> Effects {
        self.partition.clear();
        Effects {
            produced: self.produce_queue.take_all(),
            produce_answer: error,
            deleted: self.delete_queue.take_all(),
            delete_answer: (error, -1),
            fetches: Fetches::Changed,
        }
    }
}

/// Moves the high watermark of a led partition as far as it may go; whether it moved.
pub(crate) fn advance_high_watermark(
    partition: &Partition,
    log: &mut Log,
    config: &TopicConfig,
    now: Instant,
    metadata: &MetadataCache,
) -> bool {
    let around = Surroundings {
        now,
        min_insync_replicas: config.min_insync_replicas,
        is_alive: &|id| metadata.snapshot().is_alive(id),
    };
    match partition.next_high_watermark(&to_log_offsets(&log.offsets()), &around) {
        Some(next) => {
            log.update_high_watermark(next);
            true
        }
        None => false,
    }
}

/// Storage's offsets without their places.
pub(crate) fn to_log_offsets(offsets: &ottla_storage::LogOffsets) -> LogOffsets {
    LogOffsets {
        log_start_offset: offsets.log_start_offset,
        high_watermark: offsets.high_watermark.offset,
        last_stable_offset: offsets.last_stable_offset.offset,
        log_end_offset: offsets.log_end_offset.offset,
    }
}

/// A partition in the table of this broker.
#[derive(Clone)]
pub(crate) enum Hosted {
    /// Served, or about to be.
    Online(Arc<HostedPartition>),
    /// In a directory that failed.
    Offline,
}

/// All partitions of this broker, immutable: commands swap it whole. Topics are shared between
/// versions.
#[derive(Clone, Default)]
pub(crate) struct HostedTable {
    topics: HashMap<TopicName, Arc<BTreeMap<i32, Hosted>>>,
}

impl HostedTable {
    /// What is hosted of a partition.
    pub(crate) fn get(&self, topic: &str, partition: i32) -> Option<&Hosted> {
        self.topics.get(topic)?.get(&partition)
    }

    /// A topic's name as this table shares it.
    pub(crate) fn topic_name(&self, topic: &str) -> Option<&TopicName> {
        self.topics.get_key_value(topic).map(|(name, _)| name)
    }

    pub(crate) fn insert(&mut self, tp: &TopicPartition, hosted: Hosted) {
        let topic = self.topics.entry(tp.topic.clone()).or_default();
        Arc::make_mut(topic).insert(tp.partition, hosted);
    }

    pub(crate) fn remove(&mut self, tp: &TopicPartition) {
        if let Some(topic) = self.topics.get_mut(&tp.topic) {
            Arc::make_mut(topic).remove(&tp.partition);
            if topic.is_empty() {
                self.topics.remove(&tp.topic);
            }
        }
    }

    /// What the topic's partitions here count together.
    pub(crate) fn topic_counts(&self, topic: &str) -> Arc<TopicCounts> {
        let hosted = self
            .topics
            .get(topic)
            .into_iter()
            .flat_map(|topic| topic.values());
        let online = hosted.filter_map(|hosted| match hosted {
            Hosted::Online(partition) => Some(Arc::clone(&partition.topic_counts)),
            Hosted::Offline => None,
        });
        online.into_iter().next().unwrap_or_default()
    }

    /// All topics, in no order.
    pub(crate) fn topic_names(&self) -> Vec<TopicName> {
        self.topics.keys().cloned().collect()
    }

    /// All partitions, in no order.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Hosted> {
        self.topics.values().flat_map(|topic| topic.values())
    }

    /// All partitions that are served, in no order.
    pub(crate) fn online(&self) -> impl Iterator<Item = &Arc<HostedPartition>> {
        self.all().filter_map(|hosted| match hosted {
            Hosted::Online(partition) => Some(partition),
            Hosted::Offline => None,
        })
    }

    /// The partitions of one topic that are served.
    pub(crate) fn online_of(&self, topic: &str) -> Vec<Arc<HostedPartition>> {
        let Some(partitions) = self.topics.get(topic) else {
            return Vec::new();
        };
        let online = partitions.values().filter_map(|hosted| match hosted {
            Hosted::Online(partition) => Some(Arc::clone(partition)),
            Hosted::Offline => None,
        });
        online.collect()
    }
}
