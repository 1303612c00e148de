//! What DescribeLogDirs tells.

use std::path::PathBuf;

use ottla_model::{Offset, TopicPartition};

use super::{LogManager, ManagedLog};
use crate::directory::VolumeSpace;

/// One directory of `log.dirs`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogDirDescription {
    /// Its absolute path.
    pub path: PathBuf,
    /// It failed: KAFKA_STORAGE_ERROR, and nothing else is known.
    pub is_offline: bool,
    /// Size of its volume.
    pub space: Option<VolumeSpace>,
    /// Its logs by partition; those that wait for their removal are not among them.
    pub logs: Vec<LogDescription>,
}

/// One log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogDescription {
    /// The partition.
    pub topic_partition: TopicPartition,
    /// Bytes of all segments.
    pub size_in_bytes: u64,
    /// How far the log is behind: a current log of its high watermark, a moving one of the current.
    /// −1 if that is not known.
    pub offset_lag: Offset,
    /// It moves here from another directory.
    pub is_future: bool,
}

impl LogManager {
    /// Describes all directories, in the order of `log.dirs`.
    pub fn describe_log_dirs(&self) -> Vec<LogDirDescription> {
        let mut logs = Vec::new();
        {
            let tables = self.tables.lock();
            for (partition, log) in &tables.current {
                let offsets = log.reader.offsets();
                let behind = offsets.high_watermark.offset - offsets.log_end_offset.offset;
                logs.push((
                    log.reader.log_dir(),
                    describe_log(partition, log, behind.max(0), false),
                ));
            }
            for (partition, log) in &tables.future {
                let current = tables.current.get(partition);
                let current = current.map(|current| current.reader.log_end_offset());
                let behind = current.map_or(-1, |current| current - log.reader.log_end_offset());
                logs.push((
                    log.reader.log_dir(),
                    describe_log(partition, log, behind, true),
                ));
            }
        }
        let describe = |dir: &super::ManagedDir| {
            let log_dir = &dir.log_dir;
            let space = self.directory.space(log_dir.path());
            let here = logs
                .iter()
                .filter(|(at, _)| std::sync::Arc::ptr_eq(at, log_dir));
            LogDirDescription {
                path: log_dir.path().to_owned(),
                is_offline: log_dir.is_offline(),
                space: space.ok().filter(|_| !log_dir.is_offline()),
                logs: if log_dir.is_offline() {
                    Vec::new()
                } else {
                    here.map(|(_, description)| description.clone()).collect()
                },
            }
        };
        self.dirs.iter().map(describe).collect()
    }
}

fn describe_log(
    partition: &TopicPartition,
    log: &ManagedLog,
    offset_lag: Offset,
    is_future: bool,
) -> LogDescription {
    LogDescription {
        topic_partition: partition.clone(),
        size_in_bytes: log.reader.size_in_bytes(),
        offset_lag,
        is_future,
    }
}
