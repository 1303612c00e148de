//! Values that must fit each other (`KafkaConfig.validateValues`, `LogConfig.validate`).

use std::collections::BTreeSet;

use ottla_model::SecurityProtocol;

use crate::broker_config::BrokerConfig;
use crate::error::ConfigError;
use crate::field::Properties;
use crate::metadata_version::MetadataVersion;
use crate::topic_config::TopicConfig;
use crate::value::{java_trim, split_list};

/// Kafka's `require`.
fn require(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), ConfigError> {
    if holds {
        return Ok(());
    }
    Err(ConfigError::conflict(format!(
        "requirement failed: {}",
        otherwise()
    )))
}

pub(crate) fn check(config: &BrokerConfig) -> Result<(), ConfigError> {
    check_identity(config)?;
    check_logs(config)?;
    check_replication(config)?;
    check_listeners(config)?;
    check_versions(config)?;
    check_connections(config)?;
    check_groups(config)
}

fn check_identity(config: &BrokerConfig) -> Result<(), ConfigError> {
    if config.node_id != config.broker_id {
        return Err(ConfigError::conflict(
            "You must set `node.id` to the same value as `broker.id`.",
        ));
    }
    if config.broker_id_generation_enable {
        let in_range = (-1..=config.reserved_broker_max_id).contains(&config.broker_id);
        require(in_range, || {
            "broker.id must be greater than or equal to -1 and not greater than \
             reserved.broker.max.id"
                .to_owned()
        })
    } else {
        require(config.broker_id >= 0, || {
            "broker.id must be greater than or equal to 0".to_owned()
        })
    }
}

fn check_logs(config: &BrokerConfig) -> Result<(), ConfigError> {
    require(config.log_roll_ms() >= 1, || {
        "log.roll.ms must be greater than or equal to 1".to_owned()
    })?;
    require(config.log_roll_jitter_ms() >= 0, || {
        "log.roll.jitter.ms must be greater than or equal to 0".to_owned()
    })?;
    let retention = config.log_retention_ms();
    require(retention >= 1 || retention == -1, || {
        "log.retention.ms must be unlimited (-1) or, greater than or equal to 1".to_owned()
    })?;
    require(!config.log_dirs().is_empty(), || {
        "At least one log directory must be defined via log.dirs or log.dir.".to_owned()
    })?;
    let threads = i64::from(config.log_cleaner_threads);
    let per_thread = config
        .log_cleaner_dedupe_buffer_size
        .checked_div(threads)
        .ok_or_else(|| ConfigError::conflict("/ by zero"))?; // Java's words, which clients see
    require(per_thread > 1024 * 1024, || {
        "log.cleaner.dedupe.buffer.size must be at least 1MB per cleaner thread.".to_owned()
    })
}

fn check_replication(config: &BrokerConfig) -> Result<(), ConfigError> {
    require(
        config.replica_fetch_wait_max_ms <= config.replica_socket_timeout_ms,
        || {
            "replica.socket.timeout.ms should always be at least replica.fetch.wait.max.ms to prevent \
         unnecessary socket timeouts"
            .to_owned()
        },
    )?;
    require(
        i64::from(config.replica_fetch_wait_max_ms) <= config.replica_lag_time_max_ms,
        || {
            "replica.fetch.wait.max.ms should always be less than or equal to replica.lag.time.max.ms \
         to prevent frequent changes in ISR"
            .to_owned()
        },
    )
}

fn check_listeners(config: &BrokerConfig) -> Result<(), ConfigError> {
    let names = |endpoints: &[ottla_model::Endpoint]| -> BTreeSet<String> {
        endpoints
            .iter()
            .map(|endpoint| endpoint.listener.clone())
            .collect()
    };
    let list = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(",");
    let advertised = names(config.advertised_listeners());
    let listening = names(config.listeners());
    if config.process_roles.is_empty() && !config.zookeeper_metadata_migration_enable {
        let controllers = config
            .controller_listener_names
            .as_deref()
            .unwrap_or_default();
        require(controllers.is_empty(), || {
            let names = controllers.split(',').collect::<Vec<_>>().join(", ");
            format!(
                "controller.listener.names must be empty when not running in KRaft mode: [{names}]"
            )
        })?;
    }
    require(!advertised.is_empty(), || {
        "There must be at least one broker advertised listener.".to_owned()
    })?;
    require(
        advertised.contains(config.inter_broker_listener_name()),
        || {
            format!(
                "inter.broker.listener.name must be a listener name defined in advertised.listeners. \
             The valid options based on currently configured listeners are {}",
                list(&advertised)
            )
        },
    )?;
    require(advertised.is_subset(&listening), || {
        format!(
            "advertised.listeners listener names must be equal to or a subset of the ones defined \
             in listeners. Found {}. The valid options based on the current configuration are {}",
            list(&advertised),
            list(&listening)
        )
    })?;
    let routable = config
        .advertised_listeners()
        .iter()
        .all(|endpoint| endpoint.host != "0.0.0.0");
    require(routable, || {
        "advertised.listeners cannot use the nonroutable meta-address 0.0.0.0. Use a routable IP \
         address."
            .to_owned()
    })?;
    let Some(control_plane) = config.control_plane_listener_name() else {
        return Ok(());
    };
    require(advertised.contains(control_plane), || {
        format!(
            "control.plane.listener.name must be a listener name defined in advertised.listeners. \
             The valid options based on currently configured listeners are {}",
            list(&advertised)
        )
    })?;
    require(control_plane != config.inter_broker_listener_name(), || {
        format!(
            "control.plane.listener.name, when defined, should have a different value from the \
             inter broker listener name. Currently they both have the value \
             ListenerName({control_plane})"
        )
    })
}

fn check_versions(config: &BrokerConfig) -> Result<(), ConfigError> {
    let between_brokers = config.inter_broker_protocol_version();
    if between_brokers < MetadataVersion::IBP_3_0_IV1 {
        let format = &config.log_message_format_version;
        let magic = MetadataVersion::parse(format).map(MetadataVersion::highest_record_magic);
        let magic = magic.unwrap_or(2);
        let least = match magic {
            0 => "0.8.0",
            1 => "0.10.0",
            _ => "0.11.0",
        };
        require(between_brokers.highest_record_magic() >= magic, || {
            format!(
                "log.message.format.version {format} can only be used when \
                 inter.broker.protocol.version is set to version {least} or higher"
            )
        })?;
    }
    let protocol = config.endpoints.inter_broker_protocol;
    let sasl = matches!(
        protocol,
        SecurityProtocol::SaslPlaintext | SecurityProtocol::SaslSsl
    );
    let mechanism = &config.sasl_mechanism_inter_broker_protocol;
    require(
        !sasl || config.sasl_enabled_mechanisms.contains(mechanism),
        || {
            "sasl.mechanism.inter.broker.protocol must be included in sasl.enabled.mechanisms when \
         SASL is used for inter-broker communication"
                .to_owned()
        },
    )
}

fn check_connections(config: &BrokerConfig) -> Result<(), ConfigError> {
    let queued = config.queued_max_request_bytes;
    require(
        queued <= 0 || queued >= i64::from(config.socket_request_max_bytes),
        || {
            "queued.max.request.bytes must be larger or equal to socket.request.max.bytes"
                .to_owned()
        },
    )?;
    let overrides = connection_overrides(&config.max_connections_per_ip_overrides)?;
    require(
        config.max_connections_per_ip != 0 || !overrides.is_empty(),
        || {
            "max.connections.per.ip can be set to zero only if max.connections.per.ip.overrides \
         property is set."
                .to_owned()
        },
    )?;
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-%._:".contains(&byte);
    let invalid: Vec<&str> = overrides
        .iter()
        .map(|(address, _)| address.as_str())
        .filter(|address| !address.bytes().all(is_host))
        .collect();
    if !invalid.is_empty() {
        return Err(ConfigError::conflict(format!(
            "max.connections.per.ip.overrides contains invalid addresses : {}",
            invalid.join(",")
        )));
    }
    let (delay, idle) = (
        config.connection_failed_authentication_delay_ms,
        config.connections_max_idle_ms,
    );
    require(idle < 0 || i64::from(delay) < idle, || {
        format!(
            "connection.failed.authentication.delay.ms={delay} should always be less than \
             connections.max.idle.ms={idle} to prevent failed authentication responses from timing \
             out"
        )
    })
}

/// Reads `address:count,…`; the last colon separates, since addresses have colons too.
pub(crate) fn connection_overrides(text: &str) -> Result<Vec<(String, i32)>, ConfigError> {
    split_list(java_trim(text))
        .into_iter()
        .map(|pair| {
            let (address, count) = pair.rsplit_once(':').ok_or_else(|| {
                ConfigError::conflict(format!(
                    "Error parsing configuration property 'max.connections.per.ip.overrides': \
                     '{pair}' is not of the form address:count"
                ))
            })?;
            let count = java_trim(count).parse().map_err(|_| {
                ConfigError::conflict(format!("For input string: \"{}\"", java_trim(count)))
            })?;
            Ok((java_trim(address).to_owned(), count))
        })
        .collect()
}

fn check_groups(config: &BrokerConfig) -> Result<(), ConfigError> {
    let offsets_codec = config.offsets_topic_compression_codec;
    if !(0..=4).contains(&offsets_codec) {
        return Err(ConfigError::conflict(format!(
            "Unknown compression type id: {offsets_codec}"
        )));
    }
    let acks = config.offsets_commit_required_acks;
    if acks < -1 || acks > config.offsets_topic_replication_factor {
        return Err(ConfigError::conflict(
            "offsets.commit.required.acks must be greater or equal to -1 and less or equal to \
             offsets.topic.replication.factor",
        ));
    }
    let protocols = &config.group_coordinator_rebalance_protocols;
    if !protocols.iter().any(|protocol| protocol == "classic") {
        return Err(ConfigError::conflict(
            "Disabling the 'classic' protocol is not supported.",
        ));
    }
    Ok(())
}

/// Checks a topic's values against each other. `existing` are the overrides in force.
pub(crate) fn check_topic(config: &TopicConfig, existing: &Properties) -> Result<(), ConfigError> {
    let (min, max) = (config.min_compaction_lag_ms, config.max_compaction_lag_ms);
    if min > max {
        return Err(ConfigError::conflict(format!(
            "conflict topic config setting min.compaction.lag.ms ({min}) > max.compaction.lag.ms \
             ({max})"
        )));
    }
    if config.remote_log_delete_on_disable || config.remote_log_copy_disable {
        return Err(ConfigError::conflict(
            "It is invalid to set `remote.log.delete.on.disable` or `remote.log.copy.disable` \
             under Zookeeper's mode.",
        ));
    }
    if config.remote_storage_enable {
        return Err(ConfigError::conflict(
            "Tiered Storage functionality is disabled in the broker. Topic cannot be configured \
             with remote log storage.",
        ));
    }
    let was_remote = existing
        .get("remote.storage.enable")
        .is_some_and(|v| v.eq_ignore_ascii_case("true"));
    if was_remote {
        return Err(ConfigError::conflict(
            "It is invalid to disable remote storage without deleting remote data. If you want to \
             keep the remote data and turn to read only, please set \
             `remote.storage.enable=true,remote.log.copy.disable=true`. If you want to disable \
             remote storage and delete all remote data, please set \
             `remote.storage.enable=false,remote.log.delete.on.disable=true`.",
        ));
    }
    Ok(())
}
