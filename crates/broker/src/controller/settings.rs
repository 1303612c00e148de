//! What of the broker's configuration concerns the controller.

use std::time::Duration;

use ottla_config::{BrokerConfig, MetadataVersion};
use ottla_controller::{Capabilities, ControllerConfig};
use ottla_model::LiveBroker;

/// The configuration of the controller of this broker.
pub(super) fn controller_config(config: &BrokerConfig, broker: LiveBroker) -> ControllerConfig {
    let version = config.inter_broker_protocol_version();
    let check_interval = u64::try_from(config.leader_imbalance_check_interval_seconds);
    ControllerConfig {
        registration_version: if at_least(version, "2.7-IV0") {
            5
        } else if at_least(version, "0.10.0-IV1") {
            4
        } else {
            2
        },
        delete_topic_enable: config.delete_topic_enable,
        unclean_leader_election_enable: config.unclean_leader_election_enable,
        auto_leader_rebalance_enable: config.auto_leader_rebalance_enable,
        leader_imbalance_per_broker_percentage: config.leader_imbalance_per_broker_percentage,
        leader_imbalance_check_interval: Duration::from_secs(check_interval.unwrap_or(0)),
        zookeeper_set_acl: config.zookeeper_set_acl,
        capabilities: Capabilities {
            stop_replica_per_partition: at_least(version, "2.6-IV0"),
            feature_versioning: at_least(version, "2.7-IV0"),
            alter_partition: at_least(version, "2.7-IV2"),
            topic_ids: at_least(version, "2.8-IV0"),
            leader_recovery: at_least(version, "3.2-IV0"),
            feature_znode_version_2: at_least(version, "3.3-IV0"),
        },
        ..ControllerConfig::new(broker)
    }
}

/// Versions of the requests to brokers: fixed by the protocol version, never negotiated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct RequestVersions {
    pub(super) leader_and_isr: i16,
    pub(super) update_metadata: i16,
    pub(super) stop_replica: i16,
}

impl RequestVersions {
    pub(super) fn of(version: MetadataVersion) -> Self {
        let first = |table: &[(&str, i16)]| {
            let allowed = table.iter().find(|(name, _)| at_least(version, name));
            allowed.map_or(0, |(_, version)| *version)
        };
        Self {
            leader_and_isr: first(&[
                ("3.4-IV0", 7),
                ("3.2-IV0", 6),
                ("2.8-IV1", 5),
                ("2.4-IV1", 4),
                ("2.4-IV0", 3),
                ("2.2-IV0", 2),
                ("1.0-IV0", 1),
            ]),
            update_metadata: first(&[
                ("3.4-IV0", 8),
                ("2.8-IV1", 7),
                ("2.4-IV1", 6),
                ("2.2-IV0", 5),
                ("1.0-IV0", 4),
                ("0.10.2-IV0", 3),
                ("0.10.0-IV1", 2),
                ("0.9.0", 1),
            ]),
            stop_replica: first(&[
                ("3.4-IV0", 4),
                ("2.6-IV0", 3),
                ("2.4-IV1", 2),
                ("2.2-IV0", 1),
            ]),
        }
    }
}

/// Whether a protocol version is this one or a later one.
pub(super) fn at_least(version: MetadataVersion, name: &str) -> bool {
    MetadataVersion::parse(name).is_some_and(|named| version >= named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_versions_follow_the_protocol_version() {
        let versions = |name: &str| {
            let version = MetadataVersion::parse(name).unwrap();
            let RequestVersions {
                leader_and_isr,
                update_metadata,
                stop_replica,
            } = RequestVersions::of(version);
            (leader_and_isr, update_metadata, stop_replica)
        };
        assert_eq!(versions("3.9"), (7, 8, 4));
        assert_eq!(versions("3.3"), (6, 7, 3));
        assert_eq!(versions("2.8-IV0"), (4, 6, 3));
        assert_eq!(versions("2.8-IV1"), (5, 7, 3));
        assert_eq!(versions("2.5"), (4, 6, 2));
        assert_eq!(versions("2.4-IV0"), (3, 5, 1));
        assert_eq!(versions("1.1"), (1, 4, 0));
        assert_eq!(versions("0.9.0"), (0, 1, 0));
    }
}
