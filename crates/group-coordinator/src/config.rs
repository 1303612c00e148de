//! The keys that decide something here.

/// Which versions of values to write: a matter of `inter.broker.protocol.version`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordVersions {
    /// Of OffsetCommitValue: 1 below 2.1-IV0, 2 below 2.1-IV1, else 3. A commit with an explicit
    /// expiry is written with 1 in any case.
    pub offset_commit_value: i16,
    /// Of GroupMetadataValue: 0 below 0.10.1-IV0, 1 below 2.1-IV0, 2 below 2.3-IV0, else 3.
    pub group_metadata_value: i16,
}

impl RecordVersions {
    /// What 3.9 writes with an inter-broker protocol of 2.3 or newer.
    pub const LATEST: Self = Self {
        offset_commit_value: 3,
        group_metadata_value: 3,
    };
}

/// The part of a broker's configuration that the coordinator needs, in Kafka's units.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupConfig {
    /// `group.min.session.timeout.ms`.
    pub group_min_session_timeout_ms: i32,
    /// `group.max.session.timeout.ms`.
    pub group_max_session_timeout_ms: i32,
    /// `group.initial.rebalance.delay.ms`.
    pub group_initial_rebalance_delay_ms: i32,
    /// `group.max.size`.
    pub group_max_size: i32,
    /// `offset.metadata.max.bytes`, compared with UTF-16 code units as in Java.
    pub offset_metadata_max_bytes: i32,
    /// `offsets.retention.minutes`, in milliseconds.
    pub offsets_retention_ms: i64,
    /// See [`RecordVersions`].
    pub record_versions: RecordVersions,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            group_min_session_timeout_ms: 6_000,
            group_max_session_timeout_ms: 1_800_000,
            group_initial_rebalance_delay_ms: 3_000,
            group_max_size: i32::MAX,
            offset_metadata_max_bytes: 4_096,
            offsets_retention_ms: 10_080 * 60_000,
            record_versions: RecordVersions::LATEST,
        }
    }
}
