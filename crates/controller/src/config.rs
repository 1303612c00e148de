//! What the controller must know of the broker's configuration.

use std::time::Duration;

use ottla_model::{BrokerId, LiveBroker};

/// Delay of the first automatic leader rebalance after a failover.
pub(crate) const FIRST_REBALANCE_DELAY: Duration = Duration::from_secs(5);

/// A controller's settings.
#[derive(Clone, Debug)]
pub struct ControllerConfig {
    /// This broker as it is registered: id, all advertised endpoints, rack.
    pub broker: LiveBroker,
    /// The version of the registration znode: 5 since 2.7-IV0.
    pub registration_version: i32,
    /// `jmx_port` of the registration, −1 for none.
    pub jmx_port: i32,
    /// `delete.topic.enable`
    pub delete_topic_enable: bool,
    /// `unclean.leader.election.enable` of the broker: the default of topics without an override.
    pub unclean_leader_election_enable: bool,
    /// `auto.leader.rebalance.enable`
    pub auto_leader_rebalance_enable: bool,
    /// `leader.imbalance.per.broker.percentage`
    pub leader_imbalance_per_broker_percentage: i32,
    /// `leader.imbalance.check.interval.seconds`
    pub leader_imbalance_check_interval: Duration,
    /// `zookeeper.set.acl`
    pub zookeeper_set_acl: bool,
    /// What `inter.broker.protocol.version` allows.
    pub capabilities: Capabilities,
}

impl ControllerConfig {
    /// Kafka's defaults for a broker.
    pub fn new(broker: LiveBroker) -> Self {
        Self {
            broker,
            registration_version: 5,
            jmx_port: -1,
            delete_topic_enable: true,
            unclean_leader_election_enable: false,
            auto_leader_rebalance_enable: true,
            leader_imbalance_per_broker_percentage: 10,
            leader_imbalance_check_interval: Duration::from_secs(300),
            zookeeper_set_acl: false,
            capabilities: Capabilities::default(),
        }
    }

    /// `broker.id`
    pub fn broker_id(&self) -> BrokerId {
        self.broker.id
    }
}

/// What an inter-broker protocol version allows the controller to do; all of it since 3.3-IV0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capabilities {
    /// ≥ 2.6-IV0: a StopReplica tells per partition whether to delete. Before, one request deletes
    /// and another does not.
    pub stop_replica_per_partition: bool,
    /// ≥ 2.7-IV0: `/feature` is enabled.
    pub feature_versioning: bool,
    /// ≥ 2.7-IV2: leaders ask for ISR changes by AlterPartition.
    pub alter_partition: bool,
    /// ≥ 2.8-IV0: topics have ids.
    pub topic_ids: bool,
    /// ≥ 3.2-IV0: unclean leaders recover.
    pub leader_recovery: bool,
    /// ≥ 3.3-IV0: `/feature` is written as version 2.
    pub feature_znode_version_2: bool,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self {
            stop_replica_per_partition: true,
            feature_versioning: true,
            alter_partition: true,
            topic_ids: true,
            leader_recovery: true,
            feature_znode_version_2: true,
        }
    }
}
