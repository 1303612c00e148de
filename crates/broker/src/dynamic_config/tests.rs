use std::collections::BTreeMap;

use ottla_config::BrokerConfig;
use ottla_coordination::memory::{MemoryService, MemorySession};
use ottla_coordination::{Coordination, CreateMode};
use ottla_model::Timestamp;

use super::*;
use crate::coordination::Opener;

struct Broker {
    config: Arc<DynamicConfig>,
    coordination: Arc<CoordinationHandle>,
    configs: Arc<Configs>,
}

/// A broker with id 0 beside a controller.
async fn broker() -> Broker {
    let service = MemoryService::new(Box::new(|| Timestamp(1)));
    let opener: Opener = Arc::new(move |sink| {
        let session: MemorySession = service.open(sink);
        Ok(Arc::new(session) as Arc<dyn Coordination>)
    });
    let coordination = CoordinationHandle::connect(opener, false).await.unwrap();
    coordination.create_top_level_paths().await.unwrap();
    let controller = r#"{"version":2,"brokerid":0,"timestamp":"1","kraftControllerEpoch":-1}"#;
    let data = Some(bytes::Bytes::from_static(controller.as_bytes()));
    coordination
        .create(paths::CONTROLLER, data, CreateMode::Ephemeral)
        .await
        .unwrap();

    let at_start = properties(&[("broker.id", "0"), ("log.retention.hours", "1")]);
    let at_start = BrokerConfig::from_properties(at_start).unwrap();
    let configs = Arc::new(Configs::new(at_start).unwrap());
    let loggers = Arc::new(Loggers::new("info", Box::new(|_| Ok(()))));
    let (c, k) = (Arc::clone(&coordination), Arc::clone(&configs));
    Broker {
        config: DynamicConfig::new(BrokerId(0), c, k, loggers),
        coordination,
        configs,
    }
}

impl Broker {
    async fn stored(&self, path: &str) -> Option<String> {
        let (data, _) = self.coordination.find_data(path, false).await.unwrap()?;
        Some(String::from_utf8(data.unwrap_or_default().to_vec()).unwrap())
    }

    async fn round(&self, last_number: &mut i64) {
        self.config
            .process_announcements(last_number, Timestamp(2))
            .await
            .unwrap();
    }
}

fn properties(values: &[(&str, &str)]) -> Properties {
    values
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn set(name: &str, value: &str) -> Wanted {
    let (name, value) = (name.to_owned(), Some(value.to_owned()));
    Wanted::Changes(vec![Operation {
        name,
        kind: Some(OperationKind::Set),
        id: 0,
        value,
    }])
}

#[tokio::test]
async fn a_change_is_written_announced_and_then_applied() {
    let broker = broker().await;
    let mut changes = broker.config.subscribe();
    broker
        .config
        .alter_topic("t", true, set("retention.ms", "5"), false)
        .await
        .unwrap();
    assert_eq!(
        broker.stored("/config/topics/t").await.as_deref(),
        Some(r#"{"version":1,"config":{"retention.ms":"5"}}"#)
    );
    assert_eq!(
        broker
            .stored("/config/changes/config_change_0000000000")
            .await
            .as_deref(),
        Some(r#"{"version":2,"entity_path":"topics/t"}"#)
    );
    assert_eq!(
        broker.configs.topic("t").retention_ms,
        3_600_000,
        "not applied before it is read"
    );

    let mut last_number = -1;
    broker.round(&mut last_number).await;
    assert_eq!(last_number, 0);
    assert_eq!(broker.configs.topic("t").retention_ms, 5);
    assert_eq!(changes.try_recv(), Ok(Changed::Topic("t".into())));
}

#[tokio::test]
async fn only_checking_writes_nothing() {
    let broker = broker().await;
    broker
        .config
        .alter_topic("t", true, set("retention.ms", "5"), true)
        .await
        .unwrap();
    let all = Wanted::All(properties(&[("log.retention.ms", "7")]));
    broker
        .config
        .alter_broker(DynamicLevel::Default, all, true)
        .await
        .unwrap();
    assert_eq!(broker.stored("/config/topics/t").await, None);
    assert_eq!(broker.stored("/config/brokers/<default>").await, None);
}

#[tokio::test]
async fn values_of_one_broker_are_stronger_than_those_of_all() {
    let broker = broker().await;
    let (one, all) = (DynamicLevel::Broker, DynamicLevel::Default);
    broker
        .config
        .alter_broker(all, set("log.retention.ms", "7"), false)
        .await
        .unwrap();
    broker
        .config
        .alter_broker(one, set("log.retention.ms", "8"), false)
        .await
        .unwrap();
    let mut last_number = -1;
    broker.round(&mut last_number).await;
    assert_eq!(broker.configs.broker().log_retention_ms(), 8);
    assert_eq!(broker.configs.topic("any").retention_ms, 8);

    broker
        .config
        .alter_broker(one, Wanted::All(Properties::new()), false)
        .await
        .unwrap();
    broker.round(&mut last_number).await;
    assert_eq!(broker.configs.broker().log_retention_ms(), 7);
    assert_eq!(
        broker.config.in_force().default,
        properties(&[("log.retention.ms", "7")])
    );

    broker
        .config
        .alter_broker(all, Wanted::All(Properties::new()), false)
        .await
        .unwrap();
    broker.round(&mut last_number).await;
    assert_eq!(
        broker.configs.broker().log_retention_ms(),
        3_600_000,
        "as at the start"
    );
}

#[tokio::test]
async fn everything_stored_is_applied_at_the_start() {
    let broker = broker().await;
    for (path, config) in [
        (
            "/config/topics/t",
            r#"{"version":1,"config":{"retention.ms":"5"}}"#,
        ),
        (
            "/config/brokers/0",
            r#"{"version":1,"config":{"background.threads":"12","x":"y"}}"#,
        ),
        (
            "/config/brokers/1",
            r#"{"version":1,"config":{"background.threads":"13"}}"#,
        ),
    ] {
        let data = Some(bytes::Bytes::from_static(config.as_bytes()));
        broker
            .coordination
            .create_recursive(path, data)
            .await
            .unwrap();
    }
    broker.config.load().await.unwrap();
    assert_eq!(broker.configs.topic("t").retention_ms, 5);
    assert_eq!(broker.configs.broker().background_threads, 12);
}

#[tokio::test]
async fn refused_changes_have_kafkas_codes_and_texts() {
    let broker = broker().await;
    let check = |result: Result<(), ApiError>, code: ErrorCode, text: &str| {
        assert_eq!(result, Err(ApiError::new(code, text)));
    };
    let topic = |name: &'static str, key, value| {
        broker
            .config
            .alter_topic(name, name != "gone", set(key, value), false)
    };
    check(
        topic("", "retention.ms", "1").await,
        ErrorCode::InvalidRequest,
        "Default topic resources are not allowed.",
    );
    check(
        topic("gone", "retention.ms", "1").await,
        ErrorCode::UnknownTopicOrPartition,
        "The topic 'gone' does not exist.",
    );
    check(
        topic("t", "nosuch", "1").await,
        ErrorCode::InvalidConfig,
        "Unknown topic config name: nosuch",
    );
    check(
        topic("t", "retention.ms", "x").await,
        ErrorCode::InvalidConfig,
        "Invalid config value for resource ConfigResource(type=TOPIC, name='t'): Invalid value x \
         for configuration retention.ms: Not a number of type LONG",
    );
    check(
        topic("t", "remote.storage.enable", "true").await,
        ErrorCode::InvalidConfig,
        "Invalid config value for resource ConfigResource(type=TOPIC, name='t'): Tiered Storage \
         functionality is disabled in the broker. Topic cannot be configured with remote log \
         storage.",
    );
    let own = |key, value| {
        broker
            .config
            .alter_broker(DynamicLevel::Broker, set(key, value), false)
    };
    check(
        own("broker.id", "1").await,
        ErrorCode::InvalidRequest,
        "Cannot update these configs dynamically: Set(broker.id)",
    );
    check(
        own("listener.name.plaintext.ssl.keystore.password", "x").await,
        ErrorCode::InvalidConfig,
        "Invalid config value for resource ConfigResource(type=BROKER, name='0'): Password encoder \
         secret not configured",
    );
    broker
        .coordination
        .delete(paths::CONTROLLER, -1)
        .await
        .unwrap();
    check(
        topic("t", "retention.ms", "1").await,
        ErrorCode::StaleControllerEpoch,
        "Cannot set entity configs for topics t when there is no controller.",
    );
}

#[tokio::test]
async fn passwords_that_a_java_broker_stored_survive_a_change() {
    let broker = broker().await;
    let stored = r#"{"version":1,"config":{"listener.name.x.ssl.key.password":"encoded"}}"#;
    let data = Some(bytes::Bytes::from_static(stored.as_bytes()));
    broker
        .coordination
        .create_recursive("/config/brokers/0", data)
        .await
        .unwrap();
    let change = set("log.retention.ms", "8");
    broker
        .config
        .alter_broker(DynamicLevel::Broker, change, false)
        .await
        .unwrap();
    let stored = broker.stored("/config/brokers/0").await.unwrap();
    assert!(
        stored.contains(r#""listener.name.x.ssl.key.password":"encoded""#),
        "{stored}"
    );
    assert!(stored.contains(r#""log.retention.ms":"8""#), "{stored}");
}

#[tokio::test]
async fn old_announcements_are_deleted_by_whoever_sees_them() {
    let broker = broker().await;
    broker
        .config
        .alter_topic("t", true, set("retention.ms", "5"), false)
        .await
        .unwrap();
    let mut last_number = -1;
    let limit = Timestamp(1 + 15 * 60 * 1000);
    broker
        .config
        .process_announcements(&mut last_number, limit)
        .await
        .unwrap();
    let path = "/config/changes/config_change_0000000000";
    assert!(broker.stored(path).await.is_some(), "just in time");
    let later = Timestamp(limit.0 + 1);
    broker
        .config
        .process_announcements(&mut last_number, later)
        .await
        .unwrap();
    assert_eq!(broker.stored(path).await, None);
}

#[tokio::test]
async fn announcements_that_make_no_sense_are_skipped() {
    let broker = broker().await;
    for data in [
        "not json",
        r#"{"version":9}"#,
        r#"{"version":2,"entity_path":"groups/g"}"#,
    ] {
        let data = Some(bytes::Bytes::from_static(data.as_bytes()));
        let prefix = paths::config_change_prefix();
        let mode = CreateMode::PersistentSequential;
        broker
            .coordination
            .create(&prefix, data, mode)
            .await
            .unwrap();
    }
    broker
        .config
        .alter_topic("t", true, set("retention.ms", "5"), false)
        .await
        .unwrap();
    let mut last_number = -1;
    broker.round(&mut last_number).await;
    assert_eq!(
        (last_number, broker.configs.topic("t").retention_ms),
        (3, 5)
    );
}

fn entity(parts: &[(&str, Option<&str>)]) -> QuotaEntity {
    parts
        .iter()
        .map(|(kind, name)| ((*kind).to_owned(), name.map(str::to_owned)))
        .collect()
}

fn quota(key: &str, value: Option<f64>) -> QuotaOperation {
    QuotaOperation {
        key: key.to_owned(),
        value,
    }
}

#[tokio::test]
async fn quotas_are_stored_as_kafka_stores_them() {
    let broker = broker().await;
    let alter = async |parts: &[(&str, Option<&str>)], key: &str, value: Option<f64>| {
        broker
            .config
            .alter_quotas(&entity(parts), &[quota(key, value)], false)
            .await
    };
    let user = &[("user", Some("bob smith*"))];
    alter(user, "producer_byte_rate", Some(1024.0))
        .await
        .unwrap();
    alter(user, "request_percentage", Some(50.5)).await.unwrap();
    assert_eq!(
        broker
            .stored("/config/users/bob%20smith%2A")
            .await
            .as_deref(),
        Some(r#"{"version":1,"config":{"producer_byte_rate":"1024","request_percentage":"50.5"}}"#)
    );
    let both = &[("user", None), ("client-id", Some("app"))];
    alter(both, "controller_mutation_rate", Some(5.0))
        .await
        .unwrap();
    assert_eq!(
        broker
            .stored("/config/users/<default>/clients/app")
            .await
            .as_deref(),
        Some(r#"{"version":1,"config":{"controller_mutation_rate":"5.0"}}"#)
    );
    alter(
        &[("ip", Some("127.0.0.1"))],
        "connection_creation_rate",
        Some(10.0),
    )
    .await
    .unwrap();

    let all = broker.config.describe_quotas(&[], false).await.unwrap();
    assert_eq!(all.len(), 3);
    let wanted = Component {
        kind: "user".to_owned(),
        matches: Match::Default,
    };
    let listed = broker
        .config
        .describe_quotas(std::slice::from_ref(&wanted), false)
        .await
        .unwrap();
    let quotas = BTreeMap::from([("controller_mutation_rate".to_owned(), 5.0)]);
    assert_eq!(listed, [(entity(both), quotas)]);
    assert_eq!(
        broker
            .config
            .describe_quotas(&[wanted], true)
            .await
            .unwrap(),
        []
    );

    alter(both, "controller_mutation_rate", None).await.unwrap();
    assert_eq!(
        broker.stored("/config/users/<default>").await,
        None,
        "nothing is left behind"
    );
}

#[tokio::test]
async fn impossible_quotas_are_refused_in_kafkas_words() {
    let broker = broker().await;
    let check = async |parts: &[(&str, Option<&str>)], key: &str, value: f64, text: &str| {
        let operation = [quota(key, Some(value))];
        let result = broker
            .config
            .alter_quotas(&entity(parts), &operation, false)
            .await;
        assert_eq!(result, Err(ApiError::invalid_request(text)));
    };
    let user = &[("user", Some("u"))][..];
    check(
        &[],
        "producer_byte_rate",
        1.0,
        "Invalid empty client quota entity",
    )
    .await;
    check(user, "nosuch", 1.0, "Invalid configuration key nosuch").await;
    let text = "Configuration producer_byte_rate must be a LONG value";
    check(user, "producer_byte_rate", 1.5, text).await;
    check(
        &[("user", Some(""))],
        "producer_byte_rate",
        1.0,
        "Empty user not supported",
    )
    .await;
    let text = "Unhandled client quota entity type: group";
    check(&[("group", None)], "producer_byte_rate", 1.0, text).await;
    let mixed = &[("ip", None), ("user", None)];
    let text = "Invalid quota entity combination, IP entity should not be used with user/client ID \
                entity.";
    check(mixed, "producer_byte_rate", 1.0, text).await;
}
