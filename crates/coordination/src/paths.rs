//! Where Kafka keeps what: every znode path of a ZooKeeper-mode cluster (`kafka.zk.ZkData`).
//!
//! Constants for the fixed paths, builders for the others, and parsers for the paths that arrive
//! in watch events and listings. Topics, broker ids and addresses are written as they are; users
//! and client ids are percent-encoded, see [`sanitizer`].

pub mod config_entity;
pub mod sanitizer;

use ottla_model::{BrokerId, TopicName, TopicPartition};

pub use config_entity::{ConfigEntity, EntityName};

/// Offsets of version-0 requests, and the groups of the old consumers.
pub const CONSUMERS: &str = "/consumers";
/// Parent of everything about brokers and topics.
pub const BROKERS: &str = "/brokers";
/// Parent of the registrations of live brokers.
pub const BROKER_IDS: &str = "/brokers/ids";
/// Its version counts the broker ids that were generated.
pub const BROKER_SEQUENCE_ID: &str = "/brokers/seqid";
/// Parent of the topics.
pub const TOPICS: &str = "/brokers/topics";
/// Who is the controller (ephemeral).
pub const CONTROLLER: &str = "/controller";
/// How many controllers there were; its znode version fences the controller's writes.
pub const CONTROLLER_EPOCH: &str = "/controller_epoch";
/// Parent of the cluster's id.
pub const CLUSTER: &str = "/cluster";
/// The cluster's id.
pub const CLUSTER_ID: &str = "/cluster/id";
/// Finalized features (KIP-584).
pub const FEATURE: &str = "/feature";
/// The last block of producer ids that was given to a broker.
pub const LATEST_PRODUCER_ID_BLOCK: &str = "/latest_producer_id_block";
/// Parent of all configs.
pub const CONFIG: &str = "/config";
/// Parent of topic configs.
pub const CONFIG_TOPICS: &str = "/config/topics";
/// Parent of client-id quotas.
pub const CONFIG_CLIENTS: &str = "/config/clients";
/// Parent of user quotas and SCRAM credentials.
pub const CONFIG_USERS: &str = "/config/users";
/// Parent of dynamic broker configs.
pub const CONFIG_BROKERS: &str = "/config/brokers";
/// Parent of ip quotas.
pub const CONFIG_IPS: &str = "/config/ips";
/// Parent of config change notifications.
pub const CONFIG_CHANGES: &str = "/config/changes";
/// Parent of the administrator's orders.
pub const ADMIN: &str = "/admin";
/// Parent of the topics that are to be deleted.
pub const DELETE_TOPICS: &str = "/admin/delete_topics";
/// A reassignment ordered by an old tool.
pub const REASSIGN_PARTITIONS: &str = "/admin/reassign_partitions";
/// A preferred leader election ordered by an old tool.
pub const PREFERRED_REPLICA_ELECTION: &str = "/admin/preferred_replica_election";
/// Parent of the ISR changes that leaders older than 2.7 announce.
pub const ISR_CHANGE_NOTIFICATION: &str = "/isr_change_notification";
/// Parent of announced log directory failures.
pub const LOG_DIR_EVENT_NOTIFICATION: &str = "/log_dir_event_notification";
/// Parent of ACLs of literal resources.
pub const ACL: &str = "/kafka-acl";
/// Parent of ACLs of patterned resources, by pattern type.
pub const ACL_EXTENDED: &str = "/kafka-acl-extended";
/// Parent of ACLs of prefixed resources.
pub const ACL_PREFIXED: &str = "/kafka-acl-extended/prefixed";
/// Parent of notifications of literal ACL changes.
pub const ACL_CHANGES: &str = "/kafka-acl-changes";
/// Parent of notifications of other ACL changes.
pub const ACL_EXTENDED_CHANGES: &str = "/kafka-acl-extended-changes";
/// Parent of everything about delegation tokens.
pub const DELEGATION_TOKEN: &str = "/delegation_token";
/// Parent of the tokens.
pub const DELEGATION_TOKENS: &str = "/delegation_token/tokens";
/// Parent of token change notifications.
pub const DELEGATION_TOKEN_CHANGES: &str = "/delegation_token/token_changes";
/// A `KRaft` controller's mark during a migration; never touched by us.
pub const MIGRATION: &str = "/migration";

/// First part of the names below [`CONFIG_CHANGES`].
pub const CONFIG_CHANGE_PREFIX: &str = "config_change_";
/// First part of the names below [`ISR_CHANGE_NOTIFICATION`].
pub const ISR_CHANGE_PREFIX: &str = "isr_change_";
/// First part of the names below [`LOG_DIR_EVENT_NOTIFICATION`].
pub const LOG_DIR_EVENT_PREFIX: &str = "log_dir_event_";
/// First part of the names below [`ACL_CHANGES`] and [`ACL_EXTENDED_CHANGES`].
pub const ACL_CHANGE_PREFIX: &str = "acl_changes_";
/// First part of the names below [`DELEGATION_TOKEN_CHANGES`].
pub const TOKEN_CHANGE_PREFIX: &str = "token_change_";

/// What every broker creates at its start if missing, in this order, parents included, without
/// data (`ZkData.PersistentZkPaths`).
pub const PERSISTENT_PATHS: [&str; 14] = [
    CONSUMERS,
    BROKER_IDS,
    TOPICS,
    CONFIG_CHANGES,
    DELETE_TOPICS,
    BROKER_SEQUENCE_ID,
    ISR_CHANGE_NOTIFICATION,
    LATEST_PRODUCER_ID_BLOCK,
    LOG_DIR_EVENT_NOTIFICATION,
    CONFIG_TOPICS,
    CONFIG_CLIENTS,
    CONFIG_USERS,
    CONFIG_BROKERS,
    CONFIG_IPS,
];

/// Paths that begin so hold secrets: not readable by everyone when `zookeeper.set.acl` is set.
pub const SENSITIVE_ROOTS: [&str; 3] = [CONFIG_USERS, CONFIG_BROKERS, DELEGATION_TOKENS];

/// Who may touch a znode at this path (`ZkData.defaultAcls`): everyone, unless `zookeeper.set.acl`
/// is set; then only readable, or not even that below the [`SENSITIVE_ROOTS`]. `/consumers` itself
/// is always open.
pub fn acl_policy(path: &str, zookeeper_set_acl: bool) -> crate::AclPolicy {
    if !zookeeper_set_acl || path == CONSUMERS {
        crate::AclPolicy::Open
    } else if SENSITIVE_ROOTS.iter().any(|root| path.starts_with(root)) {
        crate::AclPolicy::Sensitive
    } else {
        crate::AclPolicy::Secure
    }
}

/// `/brokers/ids/<id>`: a broker's registration.
pub fn broker(id: BrokerId) -> String {
    format!("{BROKER_IDS}/{id}")
}

/// `/brokers/topics/<topic>`: a topic's assignment.
pub fn topic(topic: &str) -> String {
    format!("{TOPICS}/{topic}")
}

/// `/brokers/topics/<topic>/partitions`.
pub fn topic_partitions(topic: &str) -> String {
    format!("{TOPICS}/{topic}/partitions")
}

/// `/brokers/topics/<topic>/partitions/<partition>`.
pub fn topic_partition(partition: &TopicPartition) -> String {
    format!(
        "{TOPICS}/{}/partitions/{}",
        partition.topic, partition.partition
    )
}

/// `/brokers/topics/<topic>/partitions/<partition>/state`: leader and ISR.
pub fn partition_state(partition: &TopicPartition) -> String {
    format!(
        "{TOPICS}/{}/partitions/{}/state",
        partition.topic, partition.partition
    )
}

/// `/admin/delete_topics/<topic>`: the order to delete a topic.
pub fn delete_topic(topic: &str) -> String {
    format!("{DELETE_TOPICS}/{topic}")
}

/// `/config/topics/<topic>`: a topic's overrides.
pub fn topic_config(topic: &str) -> String {
    format!("{CONFIG_TOPICS}/{topic}")
}

/// The config of an entity, below `/config`.
pub fn entity_config(entity: &ConfigEntity) -> String {
    format!("{CONFIG}/{}", entity.entity_path())
}

/// What to create (persistent-sequential) to announce a config change.
pub fn config_change_prefix() -> String {
    format!("{CONFIG_CHANGES}/{CONFIG_CHANGE_PREFIX}")
}

/// What to create (persistent-sequential) to announce ISR changes.
pub fn isr_change_prefix() -> String {
    format!("{ISR_CHANGE_NOTIFICATION}/{ISR_CHANGE_PREFIX}")
}

/// What to create (persistent-sequential) to announce a failed log directory.
pub fn log_dir_event_prefix() -> String {
    format!("{LOG_DIR_EVENT_NOTIFICATION}/{LOG_DIR_EVENT_PREFIX}")
}

/// What to create (persistent-sequential) to announce a change of a token.
pub fn token_change_prefix() -> String {
    format!("{DELEGATION_TOKEN_CHANGES}/{TOKEN_CHANGE_PREFIX}")
}

/// What to create (persistent-sequential) to announce a change of a literal resource's ACLs.
pub fn acl_change_prefix() -> String {
    format!("{ACL_CHANGES}/{ACL_CHANGE_PREFIX}")
}

/// What to create (persistent-sequential) to announce a change of a prefixed resource's ACLs.
pub fn extended_acl_change_prefix() -> String {
    format!("{ACL_EXTENDED_CHANGES}/{ACL_CHANGE_PREFIX}")
}

/// `/kafka-acl/<Type>/<name>`; `resource_type` in Kafka's `PascalCase`, for instance `Topic`.
pub fn literal_acl(resource_type: &str, resource: &str) -> String {
    format!("{ACL}/{resource_type}/{resource}")
}

/// `/kafka-acl-extended/prefixed/<Type>/<name>`.
pub fn prefixed_acl(resource_type: &str, resource: &str) -> String {
    format!("{ACL_PREFIXED}/{resource_type}/{resource}")
}

/// `/delegation_token/tokens/<id>`.
pub fn delegation_token(token_id: &str) -> String {
    format!("{DELEGATION_TOKENS}/{token_id}")
}

/// `/consumers/<group>/offsets/<topic>/<partition>`; the group is not encoded.
pub fn consumer_offset(group: &str, partition: &TopicPartition) -> String {
    format!(
        "{CONSUMERS}/{group}/offsets/{}/{}",
        partition.topic, partition.partition
    )
}

/// A child's path.
pub fn child(parent: &str, name: &str) -> String {
    if parent == "/" {
        format!("/{name}")
    } else {
        format!("{parent}/{name}")
    }
}

/// The parent's path; `None` for `/` and for what is no absolute path.
pub fn parent(path: &str) -> Option<&str> {
    match path.rfind('/')? {
        0 if path.len() == 1 => None,
        0 => Some("/"),
        slash => path.get(..slash),
    }
}

/// The last component of a path.
pub fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The broker whose registration is at this path.
pub fn parse_broker(path: &str) -> Option<BrokerId> {
    parse_broker_name(only_child(path, BROKER_IDS)?)
}

/// The broker of a name below [`BROKER_IDS`].
pub fn parse_broker_name(name: &str) -> Option<BrokerId> {
    parse_int(name).map(BrokerId)
}

/// The topic whose assignment is at this path.
pub fn parse_topic(path: &str) -> Option<TopicName> {
    only_child(path, TOPICS).map(TopicName::from)
}

/// The partition whose state is at this path.
pub fn parse_partition_state(path: &str) -> Option<TopicPartition> {
    let rest = path.strip_prefix(TOPICS)?.strip_prefix('/')?;
    let (topic, rest) = rest.split_once('/')?;
    let partition = rest.strip_prefix("partitions/")?.strip_suffix("/state")?;
    Some(TopicPartition::new(topic, parse_int(partition)?))
}

/// The topic whose deletion is ordered at this path.
pub fn parse_delete_topic(path: &str) -> Option<TopicName> {
    only_child(path, DELETE_TOPICS).map(TopicName::from)
}

/// The entity whose config is at this path.
pub fn parse_entity_config(path: &str) -> Option<ConfigEntity> {
    ConfigEntity::parse(path.strip_prefix(CONFIG)?.strip_prefix('/')?)
}

/// The number of a sequential znode, given its name and the first part of that. Compare these and
/// not the names: the counter can wrap to a negative int32.
pub fn sequence_number(name: &str, prefix: &str) -> Option<i64> {
    name.strip_prefix(prefix)?.parse().ok()
}

fn only_child<'a>(path: &'a str, parent: &str) -> Option<&'a str> {
    let name = path.strip_prefix(parent)?.strip_prefix('/')?;
    (!name.is_empty() && !name.contains('/')).then_some(name)
}

/// A number as Kafka writes it: no sign but a leading minus, no zeros in front.
fn parse_int(text: &str) -> Option<i32> {
    let number: i32 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AclPolicy;

    #[test]
    fn builders_and_parsers_agree() {
        let partition = TopicPartition::new("t.1_x", 12);
        assert_eq!(
            partition_state(&partition),
            "/brokers/topics/t.1_x/partitions/12/state"
        );
        assert_eq!(
            parse_partition_state(&partition_state(&partition)),
            Some(partition.clone())
        );
        assert_eq!(parse_broker(&broker(BrokerId(1001))), Some(BrokerId(1001)));
        assert_eq!(parse_topic(&topic("t")), Some("t".into()));
        assert_eq!(parse_delete_topic(&delete_topic("t")), Some("t".into()));
        assert_eq!(
            consumer_offset("g", &partition),
            "/consumers/g/offsets/t.1_x/12"
        );
        let quota = ConfigEntity::Client(EntityName::Named("app/1".into()));
        assert_eq!(entity_config(&quota), "/config/clients/app%2F1");
        assert_eq!(parse_entity_config("/config/clients/app%2F1"), Some(quota));
    }

    #[test]
    fn foreign_paths_are_not_parsed() {
        for path in [
            "",
            "/",
            "/brokers/ids",
            "/brokers/ids/",
            "/brokers/ids/x",
            "/brokers/ids/1/2",
            "/brokers/ids/+1",
            "/brokers/ids/01",
            "/brokers/ids/99999999999",
            "/brokers/topics/t/partitions",
            "/brokers/topics/t/partitions/x/state",
        ] {
            assert_eq!(parse_broker(path), None, "{path}");
            assert_eq!(parse_partition_state(path), None, "{path}");
            assert_eq!(parse_delete_topic(path), None, "{path}");
        }
        assert_eq!(parse_topic("/brokers/topics/t/partitions"), None);
    }

    #[test]
    fn parents_end_at_the_root() {
        assert_eq!(parent("/a/b/c"), Some("/a/b"));
        assert_eq!(parent("/a"), Some("/"));
        assert_eq!(parent("/"), None);
        assert_eq!(parent(""), None);
        assert_eq!(child("/", "a"), "/a");
        assert_eq!(name("/a/b"), "b");
    }

    #[test]
    fn sequence_numbers_are_numbers() {
        assert_eq!(
            sequence_number("config_change_0000000012", CONFIG_CHANGE_PREFIX),
            Some(12)
        );
        assert_eq!(
            sequence_number("config_change_-2147483648", CONFIG_CHANGE_PREFIX),
            Some(-2_147_483_648)
        );
        assert_eq!(
            sequence_number("config_change_", CONFIG_CHANGE_PREFIX),
            None
        );
        assert_eq!(sequence_number("other_1", CONFIG_CHANGE_PREFIX), None);
    }

    #[test]
    fn secrets_are_not_world_readable_and_the_root_of_old_consumers_is_open() {
        assert_eq!(acl_policy("/config/users/alice", false), AclPolicy::Open);
        assert_eq!(
            acl_policy("/config/users/alice", true),
            AclPolicy::Sensitive
        );
        assert_eq!(acl_policy("/config/topics/t", true), AclPolicy::Secure);
        assert_eq!(acl_policy("/consumers", true), AclPolicy::Open);
        assert_eq!(acl_policy("/consumers/g", true), AclPolicy::Secure);
    }
}
