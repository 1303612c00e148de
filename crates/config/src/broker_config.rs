//! The broker's configuration, typed.

use std::fmt;
use std::path::PathBuf;

use ottla_model::Endpoint;

use crate::error::ConfigError;
use crate::field::{self, Properties, typed_config};
use crate::keys;
use crate::listeners::Listeners;
use crate::metadata_version::MetadataVersion;
use crate::value::{Password, split_csv};

/// What the configuration was made from; keys print, values (which may be secret) do not.
#[derive(Clone, PartialEq)]
pub(crate) struct Sources {
    /// As the file and the command line say.
    pub(crate) at_start: Properties,
    /// With dynamic values over them.
    pub(crate) effective: Properties,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.effective.keys()).finish()
    }
}

typed_config! {
    /// Every broker key of Kafka 3.9 with its value in force. A field is called like its key, with
    /// underscores for dots; what Kafka derives from several keys is a method.
    pub struct BrokerConfig {
        advertised_listeners: Option<String> = "advertised.listeners",
        alter_config_policy_class_name: Option<String> = "alter.config.policy.class.name",
        alter_log_dirs_replication_quota_window_num: i32 = "alter.log.dirs.replication.quota.window.num",
        alter_log_dirs_replication_quota_window_size_seconds: i32 = "alter.log.dirs.replication.quota.window.size.seconds",
        authorizer_class_name: String = "authorizer.class.name",
        auto_create_topics_enable: bool = "auto.create.topics.enable",
        auto_include_jmx_reporter: bool = "auto.include.jmx.reporter",
        auto_leader_rebalance_enable: bool = "auto.leader.rebalance.enable",
        background_threads: i32 = "background.threads",
        broker_heartbeat_interval_ms: i32 = "broker.heartbeat.interval.ms",
        broker_id: i32 = "broker.id",
        broker_id_generation_enable: bool = "broker.id.generation.enable",
        broker_rack: Option<String> = "broker.rack",
        broker_session_timeout_ms: i32 = "broker.session.timeout.ms",
        client_quota_callback_class: Option<String> = "client.quota.callback.class",
        compression_gzip_level: i32 = "compression.gzip.level",
        compression_lz4_level: i32 = "compression.lz4.level",
        compression_type: String = "compression.type",
        compression_zstd_level: i32 = "compression.zstd.level",
        connection_failed_authentication_delay_ms: i32 = "connection.failed.authentication.delay.ms",
        connections_max_idle_ms: i64 = "connections.max.idle.ms",
        connections_max_reauth_ms: i64 = "connections.max.reauth.ms",
        control_plane_listener_name: Option<String> = "control.plane.listener.name",
        controlled_shutdown_enable: bool = "controlled.shutdown.enable",
        controlled_shutdown_max_retries: i32 = "controlled.shutdown.max.retries",
        controlled_shutdown_retry_backoff_ms: i64 = "controlled.shutdown.retry.backoff.ms",
        controller_listener_names: Option<String> = "controller.listener.names",
        controller_quorum_append_linger_ms: i32 = "controller.quorum.append.linger.ms",
        controller_quorum_bootstrap_servers: Vec<String> = "controller.quorum.bootstrap.servers",
        controller_quorum_election_backoff_max_ms: i32 = "controller.quorum.election.backoff.max.ms",
        controller_quorum_election_timeout_ms: i32 = "controller.quorum.election.timeout.ms",
        controller_quorum_fetch_timeout_ms: i32 = "controller.quorum.fetch.timeout.ms",
        controller_quorum_request_timeout_ms: i32 = "controller.quorum.request.timeout.ms",
        controller_quorum_retry_backoff_ms: i32 = "controller.quorum.retry.backoff.ms",
        controller_quorum_voters: Vec<String> = "controller.quorum.voters",
        controller_quota_window_num: i32 = "controller.quota.window.num",
        controller_quota_window_size_seconds: i32 = "controller.quota.window.size.seconds",
        controller_socket_timeout_ms: i32 = "controller.socket.timeout.ms",
        create_topic_policy_class_name: Option<String> = "create.topic.policy.class.name",
        default_replication_factor: i32 = "default.replication.factor",
        delegation_token_expiry_check_interval_ms: i64 = "delegation.token.expiry.check.interval.ms",
        delegation_token_expiry_time_ms: i64 = "delegation.token.expiry.time.ms",
        delegation_token_master_key: Option<Password> = "delegation.token.master.key",
        delegation_token_max_lifetime_ms: i64 = "delegation.token.max.lifetime.ms",
        delegation_token_secret_key: Option<Password> = "delegation.token.secret.key",
        delete_records_purgatory_purge_interval_requests: i32 = "delete.records.purgatory.purge.interval.requests",
        delete_topic_enable: bool = "delete.topic.enable",
        early_start_listeners: Option<String> = "early.start.listeners",
        eligible_leader_replicas_enable: bool = "eligible.leader.replicas.enable",
        fetch_max_bytes: i32 = "fetch.max.bytes",
        fetch_purgatory_purge_interval_requests: i32 = "fetch.purgatory.purge.interval.requests",
        group_consumer_assignors: Vec<String> = "group.consumer.assignors",
        group_consumer_heartbeat_interval_ms: i32 = "group.consumer.heartbeat.interval.ms",
        group_consumer_max_heartbeat_interval_ms: i32 = "group.consumer.max.heartbeat.interval.ms",
        group_consumer_max_session_timeout_ms: i32 = "group.consumer.max.session.timeout.ms",
        group_consumer_max_size: i32 = "group.consumer.max.size",
        group_consumer_migration_policy: String = "group.consumer.migration.policy",
        group_consumer_min_heartbeat_interval_ms: i32 = "group.consumer.min.heartbeat.interval.ms",
        group_consumer_min_session_timeout_ms: i32 = "group.consumer.min.session.timeout.ms",
        group_consumer_session_timeout_ms: i32 = "group.consumer.session.timeout.ms",
        group_coordinator_append_linger_ms: i32 = "group.coordinator.append.linger.ms",
        group_coordinator_new_enable: bool = "group.coordinator.new.enable",
        group_coordinator_rebalance_protocols: Vec<String> = "group.coordinator.rebalance.protocols",
        group_coordinator_threads: i32 = "group.coordinator.threads",
        group_initial_rebalance_delay_ms: i32 = "group.initial.rebalance.delay.ms",
        group_max_session_timeout_ms: i32 = "group.max.session.timeout.ms",
        group_max_size: i32 = "group.max.size",
        group_min_session_timeout_ms: i32 = "group.min.session.timeout.ms",
        group_share_delivery_count_limit: i32 = "group.share.delivery.count.limit",
        group_share_enable: bool = "group.share.enable",
        group_share_heartbeat_interval_ms: i32 = "group.share.heartbeat.interval.ms",
        group_share_max_groups: i16 = "group.share.max.groups",
        group_share_max_heartbeat_interval_ms: i32 = "group.share.max.heartbeat.interval.ms",
        group_share_max_record_lock_duration_ms: i32 = "group.share.max.record.lock.duration.ms",
        group_share_max_session_timeout_ms: i32 = "group.share.max.session.timeout.ms",
        group_share_max_size: i16 = "group.share.max.size",
        group_share_min_heartbeat_interval_ms: i32 = "group.share.min.heartbeat.interval.ms",
        group_share_min_record_lock_duration_ms: i32 = "group.share.min.record.lock.duration.ms",
        group_share_min_session_timeout_ms: i32 = "group.share.min.session.timeout.ms",
        group_share_partition_max_record_locks: i32 = "group.share.partition.max.record.locks",
        group_share_record_lock_duration_ms: i32 = "group.share.record.lock.duration.ms",
        group_share_session_timeout_ms: i32 = "group.share.session.timeout.ms",
        initial_broker_registration_timeout_ms: i32 = "initial.broker.registration.timeout.ms",
        inter_broker_listener_name: Option<String> = "inter.broker.listener.name",
        inter_broker_protocol_version: String = "inter.broker.protocol.version",
        kafka_metrics_polling_interval_secs: i32 = "kafka.metrics.polling.interval.secs",
        kafka_metrics_reporters: Vec<String> = "kafka.metrics.reporters",
        leader_imbalance_check_interval_seconds: i64 = "leader.imbalance.check.interval.seconds",
        leader_imbalance_per_broker_percentage: i32 = "leader.imbalance.per.broker.percentage",
        listener_security_protocol_map: String = "listener.security.protocol.map",
        listeners: String = "listeners",
        log_cleaner_backoff_ms: i64 = "log.cleaner.backoff.ms",
        log_cleaner_dedupe_buffer_size: i64 = "log.cleaner.dedupe.buffer.size",
        log_cleaner_delete_retention_ms: i64 = "log.cleaner.delete.retention.ms",
        log_cleaner_enable: bool = "log.cleaner.enable",
        log_cleaner_io_buffer_load_factor: f64 = "log.cleaner.io.buffer.load.factor",
        log_cleaner_io_buffer_size: i32 = "log.cleaner.io.buffer.size",
        log_cleaner_io_max_bytes_per_second: f64 = "log.cleaner.io.max.bytes.per.second",
        log_cleaner_max_compaction_lag_ms: i64 = "log.cleaner.max.compaction.lag.ms",
        log_cleaner_min_cleanable_ratio: f64 = "log.cleaner.min.cleanable.ratio",
        log_cleaner_min_compaction_lag_ms: i64 = "log.cleaner.min.compaction.lag.ms",
        log_cleaner_threads: i32 = "log.cleaner.threads",
        log_cleanup_policy: Vec<String> = "log.cleanup.policy",
        log_dir: String = "log.dir",
        log_dir_failure_timeout_ms: i64 = "log.dir.failure.timeout.ms",
        log_dirs: Option<String> = "log.dirs",
        log_flush_interval_messages: i64 = "log.flush.interval.messages",
        log_flush_interval_ms: Option<i64> = "log.flush.interval.ms",
        log_flush_offset_checkpoint_interval_ms: i32 = "log.flush.offset.checkpoint.interval.ms",
        log_flush_scheduler_interval_ms: i64 = "log.flush.scheduler.interval.ms",
        log_flush_start_offset_checkpoint_interval_ms: i32 = "log.flush.start.offset.checkpoint.interval.ms",
        log_index_interval_bytes: i32 = "log.index.interval.bytes",
        log_index_size_max_bytes: i32 = "log.index.size.max.bytes",
        log_initial_task_delay_ms: i64 = "log.initial.task.delay.ms",
        log_local_retention_bytes: i64 = "log.local.retention.bytes",
        log_local_retention_ms: i64 = "log.local.retention.ms",
        log_message_downconversion_enable: bool = "log.message.downconversion.enable",
        log_message_format_version: String = "log.message.format.version",
        log_message_timestamp_after_max_ms: i64 = "log.message.timestamp.after.max.ms",
        log_message_timestamp_before_max_ms: i64 = "log.message.timestamp.before.max.ms",
        log_message_timestamp_difference_max_ms: i64 = "log.message.timestamp.difference.max.ms",
        log_message_timestamp_type: String = "log.message.timestamp.type",
        log_preallocate: bool = "log.preallocate",
        log_retention_bytes: i64 = "log.retention.bytes",
        log_retention_check_interval_ms: i64 = "log.retention.check.interval.ms",
        log_retention_hours: i32 = "log.retention.hours",
        log_retention_minutes: Option<i32> = "log.retention.minutes",
        log_retention_ms: Option<i64> = "log.retention.ms",
        log_roll_hours: i32 = "log.roll.hours",
        log_roll_jitter_hours: i32 = "log.roll.jitter.hours",
        log_roll_jitter_ms: Option<i64> = "log.roll.jitter.ms",
        log_roll_ms: Option<i64> = "log.roll.ms",
        log_segment_bytes: i32 = "log.segment.bytes",
        log_segment_delete_delay_ms: i64 = "log.segment.delete.delay.ms",
        max_connection_creation_rate: i32 = "max.connection.creation.rate",
        max_connections: i32 = "max.connections",
        max_connections_per_ip: i32 = "max.connections.per.ip",
        max_connections_per_ip_overrides: String = "max.connections.per.ip.overrides",
        max_incremental_fetch_session_cache_slots: i32 = "max.incremental.fetch.session.cache.slots",
        max_request_partition_size_limit: i32 = "max.request.partition.size.limit",
        message_max_bytes: i32 = "message.max.bytes",
        metadata_log_dir: Option<String> = "metadata.log.dir",
        metadata_log_max_record_bytes_between_snapshots: i64 = "metadata.log.max.record.bytes.between.snapshots",
        metadata_log_max_snapshot_interval_ms: i64 = "metadata.log.max.snapshot.interval.ms",
        metadata_log_segment_bytes: i32 = "metadata.log.segment.bytes",
        metadata_log_segment_min_bytes: i32 = "metadata.log.segment.min.bytes",
        metadata_log_segment_ms: i64 = "metadata.log.segment.ms",
        metadata_max_idle_interval_ms: i32 = "metadata.max.idle.interval.ms",
        metadata_max_retention_bytes: i64 = "metadata.max.retention.bytes",
        metadata_max_retention_ms: i64 = "metadata.max.retention.ms",
        metric_reporters: Vec<String> = "metric.reporters",
        metrics_num_samples: i32 = "metrics.num.samples",
        metrics_recording_level: String = "metrics.recording.level",
        metrics_sample_window_ms: i64 = "metrics.sample.window.ms",
        min_insync_replicas: i32 = "min.insync.replicas",
        node_id: i32 = "node.id",
        num_io_threads: i32 = "num.io.threads",
        num_network_threads: i32 = "num.network.threads",
        num_partitions: i32 = "num.partitions",
        num_recovery_threads_per_data_dir: i32 = "num.recovery.threads.per.data.dir",
        num_replica_alter_log_dirs_threads: Option<i32> = "num.replica.alter.log.dirs.threads",
        num_replica_fetchers: i32 = "num.replica.fetchers",
        offset_metadata_max_bytes: i32 = "offset.metadata.max.bytes",
        offsets_commit_required_acks: i16 = "offsets.commit.required.acks",
        offsets_commit_timeout_ms: i32 = "offsets.commit.timeout.ms",
        offsets_load_buffer_size: i32 = "offsets.load.buffer.size",
        offsets_retention_check_interval_ms: i64 = "offsets.retention.check.interval.ms",
        offsets_retention_minutes: i32 = "offsets.retention.minutes",
        offsets_topic_compression_codec: i32 = "offsets.topic.compression.codec",
        offsets_topic_num_partitions: i32 = "offsets.topic.num.partitions",
        offsets_topic_replication_factor: i16 = "offsets.topic.replication.factor",
        offsets_topic_segment_bytes: i32 = "offsets.topic.segment.bytes",
        password_encoder_cipher_algorithm: String = "password.encoder.cipher.algorithm",
        password_encoder_iterations: i32 = "password.encoder.iterations",
        password_encoder_key_length: i32 = "password.encoder.key.length",
        password_encoder_keyfactory_algorithm: Option<String> = "password.encoder.keyfactory.algorithm",
        password_encoder_old_secret: Option<Password> = "password.encoder.old.secret",
        password_encoder_secret: Option<Password> = "password.encoder.secret",
        principal_builder_class: String = "principal.builder.class",
        process_roles: Vec<String> = "process.roles",
        producer_id_expiration_check_interval_ms: i32 = "producer.id.expiration.check.interval.ms",
        producer_id_expiration_ms: i32 = "producer.id.expiration.ms",
        producer_purgatory_purge_interval_requests: i32 = "producer.purgatory.purge.interval.requests",
        queued_max_request_bytes: i64 = "queued.max.request.bytes",
        queued_max_requests: i32 = "queued.max.requests",
        quota_window_num: i32 = "quota.window.num",
        quota_window_size_seconds: i32 = "quota.window.size.seconds",
        remote_fetch_max_wait_ms: i32 = "remote.fetch.max.wait.ms",
        remote_log_index_file_cache_total_size_bytes: i64 = "remote.log.index.file.cache.total.size.bytes",
        remote_log_manager_copier_thread_pool_size: i32 = "remote.log.manager.copier.thread.pool.size",
        remote_log_manager_copy_max_bytes_per_second: i64 = "remote.log.manager.copy.max.bytes.per.second",
        remote_log_manager_copy_quota_window_num: i32 = "remote.log.manager.copy.quota.window.num",
        remote_log_manager_copy_quota_window_size_seconds: i32 = "remote.log.manager.copy.quota.window.size.seconds",
        remote_log_manager_expiration_thread_pool_size: i32 = "remote.log.manager.expiration.thread.pool.size",
        remote_log_manager_fetch_max_bytes_per_second: i64 = "remote.log.manager.fetch.max.bytes.per.second",
        remote_log_manager_fetch_quota_window_num: i32 = "remote.log.manager.fetch.quota.window.num",
        remote_log_manager_fetch_quota_window_size_seconds: i32 = "remote.log.manager.fetch.quota.window.size.seconds",
        remote_log_manager_task_interval_ms: i64 = "remote.log.manager.task.interval.ms",
        remote_log_manager_task_retry_backoff_max_ms: i64 = "remote.log.manager.task.retry.backoff.max.ms",
        remote_log_manager_task_retry_backoff_ms: i64 = "remote.log.manager.task.retry.backoff.ms",
        remote_log_manager_task_retry_jitter: f64 = "remote.log.manager.task.retry.jitter",
        remote_log_manager_thread_pool_size: i32 = "remote.log.manager.thread.pool.size",
        remote_log_metadata_custom_metadata_max_bytes: i32 = "remote.log.metadata.custom.metadata.max.bytes",
        remote_log_metadata_manager_class_name: String = "remote.log.metadata.manager.class.name",
        remote_log_metadata_manager_class_path: Option<String> = "remote.log.metadata.manager.class.path",
        remote_log_metadata_manager_impl_prefix: String = "remote.log.metadata.manager.impl.prefix",
        remote_log_metadata_manager_listener_name: Option<String> = "remote.log.metadata.manager.listener.name",
        remote_log_reader_max_pending_tasks: i32 = "remote.log.reader.max.pending.tasks",
        remote_log_reader_threads: i32 = "remote.log.reader.threads",
        remote_log_storage_manager_class_name: Option<String> = "remote.log.storage.manager.class.name",
        remote_log_storage_manager_class_path: Option<String> = "remote.log.storage.manager.class.path",
        remote_log_storage_manager_impl_prefix: String = "remote.log.storage.manager.impl.prefix",
        remote_log_storage_system_enable: bool = "remote.log.storage.system.enable",
        replica_fetch_backoff_ms: i32 = "replica.fetch.backoff.ms",
        replica_fetch_max_bytes: i32 = "replica.fetch.max.bytes",
        replica_fetch_min_bytes: i32 = "replica.fetch.min.bytes",
        replica_fetch_response_max_bytes: i32 = "replica.fetch.response.max.bytes",
        replica_fetch_wait_max_ms: i32 = "replica.fetch.wait.max.ms",
        replica_high_watermark_checkpoint_interval_ms: i64 = "replica.high.watermark.checkpoint.interval.ms",
        replica_lag_time_max_ms: i64 = "replica.lag.time.max.ms",
        replica_selector_class: Option<String> = "replica.selector.class",
        replica_socket_receive_buffer_bytes: i32 = "replica.socket.receive.buffer.bytes",
        replica_socket_timeout_ms: i32 = "replica.socket.timeout.ms",
        replication_quota_window_num: i32 = "replication.quota.window.num",
        replication_quota_window_size_seconds: i32 = "replication.quota.window.size.seconds",
        request_timeout_ms: i32 = "request.timeout.ms",
        reserved_broker_max_id: i32 = "reserved.broker.max.id",
        sasl_client_callback_handler_class: Option<String> = "sasl.client.callback.handler.class",
        sasl_enabled_mechanisms: Vec<String> = "sasl.enabled.mechanisms",
        sasl_jaas_config: Option<Password> = "sasl.jaas.config",
        sasl_kerberos_kinit_cmd: String = "sasl.kerberos.kinit.cmd",
        sasl_kerberos_min_time_before_relogin: i64 = "sasl.kerberos.min.time.before.relogin",
        sasl_kerberos_principal_to_local_rules: Vec<String> = "sasl.kerberos.principal.to.local.rules",
        sasl_kerberos_service_name: Option<String> = "sasl.kerberos.service.name",
        sasl_kerberos_ticket_renew_jitter: f64 = "sasl.kerberos.ticket.renew.jitter",
        sasl_kerberos_ticket_renew_window_factor: f64 = "sasl.kerberos.ticket.renew.window.factor",
        sasl_login_callback_handler_class: Option<String> = "sasl.login.callback.handler.class",
        sasl_login_class: Option<String> = "sasl.login.class",
        sasl_login_connect_timeout_ms: Option<i32> = "sasl.login.connect.timeout.ms",
        sasl_login_read_timeout_ms: Option<i32> = "sasl.login.read.timeout.ms",
        sasl_login_refresh_buffer_seconds: i16 = "sasl.login.refresh.buffer.seconds",
        sasl_login_refresh_min_period_seconds: i16 = "sasl.login.refresh.min.period.seconds",
        sasl_login_refresh_window_factor: f64 = "sasl.login.refresh.window.factor",
        sasl_login_refresh_window_jitter: f64 = "sasl.login.refresh.window.jitter",
        sasl_login_retry_backoff_max_ms: i64 = "sasl.login.retry.backoff.max.ms",
        sasl_login_retry_backoff_ms: i64 = "sasl.login.retry.backoff.ms",
        sasl_mechanism_controller_protocol: String = "sasl.mechanism.controller.protocol",
        sasl_mechanism_inter_broker_protocol: String = "sasl.mechanism.inter.broker.protocol",
        sasl_oauthbearer_clock_skew_seconds: i32 = "sasl.oauthbearer.clock.skew.seconds",
        sasl_oauthbearer_expected_audience: Option<Vec<String>> = "sasl.oauthbearer.expected.audience",
        sasl_oauthbearer_expected_issuer: Option<String> = "sasl.oauthbearer.expected.issuer",
        sasl_oauthbearer_jwks_endpoint_refresh_ms: i64 = "sasl.oauthbearer.jwks.endpoint.refresh.ms",
        sasl_oauthbearer_jwks_endpoint_retry_backoff_max_ms: i64 = "sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms",
        sasl_oauthbearer_jwks_endpoint_retry_backoff_ms: i64 = "sasl.oauthbearer.jwks.endpoint.retry.backoff.ms",
        sasl_oauthbearer_jwks_endpoint_url: Option<String> = "sasl.oauthbearer.jwks.endpoint.url",
        sasl_oauthbearer_scope_claim_name: String = "sasl.oauthbearer.scope.claim.name",
        sasl_oauthbearer_sub_claim_name: String = "sasl.oauthbearer.sub.claim.name",
        sasl_oauthbearer_token_endpoint_url: Option<String> = "sasl.oauthbearer.token.endpoint.url",
        sasl_server_callback_handler_class: Option<String> = "sasl.server.callback.handler.class",
        sasl_server_max_receive_size: i32 = "sasl.server.max.receive.size",
        security_inter_broker_protocol: String = "security.inter.broker.protocol",
        security_providers: Option<String> = "security.providers",
        server_max_startup_time_ms: i64 = "server.max.startup.time.ms",
        socket_connection_setup_timeout_max_ms: i64 = "socket.connection.setup.timeout.max.ms",
        socket_connection_setup_timeout_ms: i64 = "socket.connection.setup.timeout.ms",
        socket_listen_backlog_size: i32 = "socket.listen.backlog.size",
        socket_receive_buffer_bytes: i32 = "socket.receive.buffer.bytes",
        socket_request_max_bytes: i32 = "socket.request.max.bytes",
        socket_send_buffer_bytes: i32 = "socket.send.buffer.bytes",
        ssl_allow_dn_changes: bool = "ssl.allow.dn.changes",
        ssl_allow_san_changes: bool = "ssl.allow.san.changes",
        ssl_cipher_suites: Vec<String> = "ssl.cipher.suites",
        ssl_client_auth: String = "ssl.client.auth",
        ssl_enabled_protocols: Vec<String> = "ssl.enabled.protocols",
        ssl_endpoint_identification_algorithm: String = "ssl.endpoint.identification.algorithm",
        ssl_engine_factory_class: Option<String> = "ssl.engine.factory.class",
        ssl_key_password: Option<Password> = "ssl.key.password",
        ssl_keymanager_algorithm: String = "ssl.keymanager.algorithm",
        ssl_keystore_certificate_chain: Option<Password> = "ssl.keystore.certificate.chain",
        ssl_keystore_key: Option<Password> = "ssl.keystore.key",
        ssl_keystore_location: Option<String> = "ssl.keystore.location",
        ssl_keystore_password: Option<Password> = "ssl.keystore.password",
        ssl_keystore_type: String = "ssl.keystore.type",
        ssl_principal_mapping_rules: String = "ssl.principal.mapping.rules",
        ssl_protocol: String = "ssl.protocol",
        ssl_provider: Option<String> = "ssl.provider",
        ssl_secure_random_implementation: Option<String> = "ssl.secure.random.implementation",
        ssl_trustmanager_algorithm: String = "ssl.trustmanager.algorithm",
        ssl_truststore_certificates: Option<Password> = "ssl.truststore.certificates",
        ssl_truststore_location: Option<String> = "ssl.truststore.location",
        ssl_truststore_password: Option<Password> = "ssl.truststore.password",
        ssl_truststore_type: String = "ssl.truststore.type",
        telemetry_max_bytes: i32 = "telemetry.max.bytes",
        transaction_abort_timed_out_transaction_cleanup_interval_ms: i32 = "transaction.abort.timed.out.transaction.cleanup.interval.ms",
        transaction_max_timeout_ms: i32 = "transaction.max.timeout.ms",
        transaction_partition_verification_enable: bool = "transaction.partition.verification.enable",
        transaction_remove_expired_transaction_cleanup_interval_ms: i32 = "transaction.remove.expired.transaction.cleanup.interval.ms",
        transaction_state_log_load_buffer_size: i32 = "transaction.state.log.load.buffer.size",
        transaction_state_log_min_isr: i32 = "transaction.state.log.min.isr",
        transaction_state_log_num_partitions: i32 = "transaction.state.log.num.partitions",
        transaction_state_log_replication_factor: i16 = "transaction.state.log.replication.factor",
        transaction_state_log_segment_bytes: i32 = "transaction.state.log.segment.bytes",
        transactional_id_expiration_ms: i32 = "transactional.id.expiration.ms",
        unclean_leader_election_enable: bool = "unclean.leader.election.enable",
        unclean_leader_election_interval_ms: i64 = "unclean.leader.election.interval.ms",
        unstable_api_versions_enable: bool = "unstable.api.versions.enable",
        unstable_feature_versions_enable: bool = "unstable.feature.versions.enable",
        zookeeper_clientCnxnSocket: Option<String> = "zookeeper.clientCnxnSocket",
        zookeeper_connect: Option<String> = "zookeeper.connect",
        zookeeper_connection_timeout_ms: Option<i32> = "zookeeper.connection.timeout.ms",
        zookeeper_max_in_flight_requests: i32 = "zookeeper.max.in.flight.requests",
        zookeeper_metadata_migration_enable: bool = "zookeeper.metadata.migration.enable",
        zookeeper_metadata_migration_min_batch_size: i32 = "zookeeper.metadata.migration.min.batch.size",
        zookeeper_session_timeout_ms: i32 = "zookeeper.session.timeout.ms",
        zookeeper_set_acl: bool = "zookeeper.set.acl",
        zookeeper_ssl_cipher_suites: Option<Vec<String>> = "zookeeper.ssl.cipher.suites",
        zookeeper_ssl_client_enable: bool = "zookeeper.ssl.client.enable",
        zookeeper_ssl_crl_enable: bool = "zookeeper.ssl.crl.enable",
        zookeeper_ssl_enabled_protocols: Option<Vec<String>> = "zookeeper.ssl.enabled.protocols",
        zookeeper_ssl_endpoint_identification_algorithm: String = "zookeeper.ssl.endpoint.identification.algorithm",
        zookeeper_ssl_keystore_location: Option<String> = "zookeeper.ssl.keystore.location",
        zookeeper_ssl_keystore_password: Option<Password> = "zookeeper.ssl.keystore.password",
        zookeeper_ssl_keystore_type: Option<String> = "zookeeper.ssl.keystore.type",
        zookeeper_ssl_ocsp_enable: bool = "zookeeper.ssl.ocsp.enable",
        zookeeper_ssl_protocol: String = "zookeeper.ssl.protocol",
        zookeeper_ssl_truststore_location: Option<String> = "zookeeper.ssl.truststore.location",
        zookeeper_ssl_truststore_password: Option<Password> = "zookeeper.ssl.truststore.password",
        zookeeper_ssl_truststore_type: Option<String> = "zookeeper.ssl.truststore.type",
    } with {
        sources: Sources,
        endpoints: Listeners,
    }
}

impl BrokerConfig {
    /// Reads the properties of a configuration file: values are parsed, checked one by one and
    /// against each other. Keys that Kafka does not know are kept and have no effect.
    ///
    /// # Errors
    /// The first value that is wrong, with Kafka's message.
    pub fn from_properties(properties: Properties) -> Result<Self, ConfigError> {
        let at_start = with_node_id(properties);
        let effective = at_start.clone();
        Self::from_sources(Sources {
            at_start,
            effective,
        })
    }

    pub(crate) fn from_sources(sources: Sources) -> Result<Self, ConfigError> {
        let values = field::parse(keys::broker_keys(), &sources.effective)?;
        let endpoints = Listeners::parse(&values, &sources.effective)?;
        let config = Self::from_values(&values, sources, endpoints);
        crate::validation::check(&config)?;
        Ok(config)
    }

    /// The properties it was started with: as written, unknown keys included.
    pub fn static_properties(&self) -> &Properties {
        &self.sources.at_start
    }

    /// The properties in force, dynamic ones included: as written, unknown keys included.
    pub fn properties(&self) -> &Properties {
        &self.sources.effective
    }

    /// `log.dirs`, or else `log.dir`.
    pub fn log_dirs(&self) -> Vec<PathBuf> {
        let dirs = self.log_dirs.as_ref().unwrap_or(&self.log_dir);
        split_csv(dirs).into_iter().map(PathBuf::from).collect()
    }

    /// Where to listen. An empty host means every address; port 0 means any free port.
    pub fn listeners(&self) -> &[Endpoint] {
        &self.endpoints.listeners
    }

    /// What to tell clients and other brokers; an empty host means this machine's own name.
    pub fn advertised_listeners(&self) -> &[Endpoint] {
        &self.endpoints.advertised
    }

    /// The listener that brokers use between each other.
    pub fn inter_broker_listener_name(&self) -> &str {
        &self.endpoints.inter_broker
    }

    /// The listener on which the controller talks to this broker, if it is not the one for all.
    pub fn control_plane_listener_name(&self) -> Option<&str> {
        self.endpoints.control_plane.as_deref()
    }

    /// `inter.broker.protocol.version`.
    pub fn inter_broker_protocol_version(&self) -> MetadataVersion {
        MetadataVersion::parse(&self.inter_broker_protocol_version)
            .unwrap_or(MetadataVersion::LATEST_PRODUCTION)
    }

    /// How long records stay: `log.retention.ms`, `.minutes` or `.hours`; −1 is for ever.
    pub fn log_retention_ms(&self) -> i64 {
        let minutes = || {
            self.log_retention_minutes
                .map(|minutes| i64::from(minutes) * MINUTE_MS)
        };
        let hours = || i64::from(self.log_retention_hours) * HOUR_MS;
        let retention = self.log_retention_ms.or_else(minutes).unwrap_or_else(hours);
        retention.max(-1)
    }

    /// When a segment is closed for its age: `log.roll.ms` or `.hours`.
    pub fn log_roll_ms(&self) -> i64 {
        self.log_roll_ms
            .unwrap_or_else(|| i64::from(self.log_roll_hours) * HOUR_MS)
    }

    /// By how much at most that is brought forward at random: `log.roll.jitter.ms` or `.hours`.
    pub fn log_roll_jitter_ms(&self) -> i64 {
        self.log_roll_jitter_ms
            .unwrap_or_else(|| i64::from(self.log_roll_jitter_hours) * HOUR_MS)
    }

    /// When unflushed records are flushed for their age: `log.flush.interval.ms`, or else
    /// `log.flush.scheduler.interval.ms`.
    pub fn log_flush_interval_ms(&self) -> i64 {
        self.log_flush_interval_ms
            .unwrap_or(self.log_flush_scheduler_interval_ms)
    }

    /// How much older than the broker's clock a record's timestamp may be. The deprecated
    /// difference counts while the newer key has its default.
    pub fn log_message_timestamp_before_max_ms(&self) -> i64 {
        match self.log_message_timestamp_before_max_ms {
            i64::MAX => self.log_message_timestamp_difference_max_ms,
            before => before,
        }
    }

    /// How much newer than the broker's clock a record's timestamp may be. The deprecated
    /// difference counts while the newer key has its default.
    pub fn log_message_timestamp_after_max_ms(&self) -> i64 {
        match self.log_message_timestamp_after_max_ms {
            i64::MAX => self.log_message_timestamp_difference_max_ms,
            after => after,
        }
    }

    /// Connections per address, for the addresses that differ from `max.connections.per.ip`.
    pub fn max_connections_per_ip_overrides(&self) -> Vec<(String, i32)> {
        crate::validation::connection_overrides(&self.max_connections_per_ip_overrides)
            .unwrap_or_default()
    }
}

const MINUTE_MS: i64 = 60 * 1000;
const HOUR_MS: i64 = 60 * MINUTE_MS;

/// `broker.id` and `node.id` stand for each other where only one is set.
fn with_node_id(mut properties: Properties) -> Properties {
    let (broker, node) = ("broker.id".to_owned(), "node.id".to_owned());
    match (
        properties.get(&broker).cloned(),
        properties.get(&node).cloned(),
    ) {
        (Some(id), None) => properties.insert(node, id),
        (None, Some(id)) => properties.insert(broker, id),
        _ => None,
    };
    properties
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(properties: &[(&str, &str)]) -> Result<BrokerConfig, ConfigError> {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        BrokerConfig::from_properties(properties.iter().map(own).collect())
    }

    #[test]
    fn every_key_has_a_field_and_every_field_a_key() {
        let keys: Vec<&str> = keys::broker_keys().map(|key| key.name).collect();
        let mut fields = BrokerConfig::FIELDS.to_vec();
        fields.sort_unstable();
        assert_eq!(keys, fields);
    }

    #[test]
    fn the_defaults_are_a_configuration() {
        let config = config(&[]).unwrap();
        assert_eq!(config.broker_id, -1);
        assert_eq!(config.log_retention_ms(), 604_800_000);
        assert_eq!(config.log_roll_ms(), 604_800_000);
        assert_eq!(config.log_flush_interval_ms(), i64::MAX);
        assert_eq!(config.log_dirs(), [PathBuf::from("/tmp/kafka-logs")]);
        assert_eq!(config.inter_broker_listener_name(), "PLAINTEXT");
        assert_eq!(config.listeners()[0].port, 9092);
        assert_eq!(config.listeners()[0].host, "");
    }

    #[test]
    fn finer_units_are_stronger() {
        let config = config(&[
            ("log.retention.hours", "1"),
            ("log.retention.minutes", "2"),
            ("log.roll.hours", "3"),
            ("log.roll.ms", "4"),
        ])
        .unwrap();
        assert_eq!(config.log_retention_ms(), 120_000);
        assert_eq!(config.log_roll_ms(), 4);
    }

    #[test]
    fn node_id_and_broker_id_stand_for_each_other() {
        assert_eq!(config(&[("node.id", "4")]).unwrap().broker_id, 4);
        assert_eq!(config(&[("broker.id", "5")]).unwrap().node_id, 5);
        let error = config(&[("node.id", "4"), ("broker.id", "5")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "You must set `node.id` to the same value as `broker.id`."
        );
    }

    #[test]
    fn a_generated_id_survives_dynamic_changes() {
        let mut config = config(&[]).unwrap();
        (config.broker_id, config.node_id) = (1001, 1001);
        let changed = config.with_dynamic(&Default::default()).unwrap();
        assert_eq!((changed.broker_id, changed.node_id), (1001, 1001));
    }

    #[test]
    fn secrets_do_not_print() {
        let config = config(&[("ssl.keystore.password", "hush")]).unwrap();
        assert!(!format!("{config:?}").contains("hush"));
    }

    #[test]
    fn values_that_contradict_each_other_are_refused_in_kafkas_words() {
        let check = |properties: &[(&str, &str)], expect: &str| {
            assert_eq!(config(properties).unwrap_err().to_string(), expect);
        };
        check(
            &[("num.partitions", "0")],
            "Invalid value 0 for configuration num.partitions: Value must be at least 1",
        );
        check(
            &[("log.retention.ms", "0")],
            "requirement failed: log.retention.ms must be unlimited (-1) or, greater than or equal \
             to 1",
        );
        check(
            &[("broker.id", "1001")],
            "requirement failed: broker.id must be greater than or equal to -1 and not greater \
             than reserved.broker.max.id",
        );
        check(
            &[("inter.broker.protocol.version", "5.0")],
            "Invalid value 5.0 for configuration inter.broker.protocol.version: Version 5.0 is not \
             a valid version",
        );
        check(
            &[("max.connections.per.ip", "0")],
            "requirement failed: max.connections.per.ip can be set to zero only if \
             max.connections.per.ip.overrides property is set.",
        );
        check(
            &[
                ("log.message.format.version", "2.8"),
                ("inter.broker.protocol.version", "0.10.2"),
            ],
            "requirement failed: log.message.format.version 2.8 can only be used when \
             inter.broker.protocol.version is set to version 0.11.0 or higher",
        );
    }

    #[test]
    fn listeners_are_read_and_checked_as_kafka_does() {
        let names = |config: &BrokerConfig| -> Vec<(String, String, i32)> {
            let parts = |e: &Endpoint| (e.listener.clone(), e.host.clone(), e.port);
            config.advertised_listeners().iter().map(parts).collect()
        };
        let both = config(&[
            ("listeners", "INTERNAL://:9092, external://[::1]:9093"),
            (
                "listener.security.protocol.map",
                "INTERNAL:PLAINTEXT,EXTERNAL:PLAINTEXT",
            ),
            ("inter.broker.listener.name", "internal"),
            (
                "advertised.listeners",
                "INTERNAL://a-1.example:9092,EXTERNAL://kafka:9092",
            ),
        ])
        .unwrap();
        assert_eq!(both.inter_broker_listener_name(), "INTERNAL");
        assert_eq!(both.listeners()[1].host, "::1");
        assert_eq!(
            names(&both),
            [
                ("INTERNAL".to_owned(), "a-1.example".to_owned(), 9092),
                ("EXTERNAL".to_owned(), "kafka".to_owned(), 9092)
            ]
        );
        let check = |listeners: &str, expect: &str| {
            let error = config(&[("listeners", listeners)]).unwrap_err();
            assert_eq!(error.to_string(), expect);
        };
        check(
            "FOO://:1",
            "Error creating broker listeners from 'FOO://:1': No security protocol defined for \
             listener FOO",
        );
        check(
            "PLAINTEXT:9092",
            "Error creating broker listeners from 'PLAINTEXT:9092': Unable to parse PLAINTEXT:9092 \
             to a broker endpoint",
        );
        check(
            "PLAINTEXT://:1,PLAINTEXT://:2",
            "requirement failed: Each listener must have a different name, listeners: \
             PLAINTEXT://:1,PLAINTEXT://:2",
        );
        check(
            "PLAINTEXT://a:1,SSL://b:1",
            "requirement failed: Each listener must have a different port, listeners: \
             PLAINTEXT://a:1,SSL://b:1",
        );
        check(
            "PLAINTEXT://0.0.0.0:1",
            "requirement failed: advertised.listeners cannot use the nonroutable meta-address \
             0.0.0.0. Use a routable IP address.",
        );
        assert!(config(&[("listeners", "PLAINTEXT://127.0.0.1:1,SSL://[::1]:1")]).is_ok());
        assert!(config(&[("listeners", "PLAINTEXT://:0,SSL://:0")]).is_ok());
    }
}
