//! Asking the controller to move leaders away before this broker stops
//! (`KafkaServer.controlledShutdown`).

use std::time::Duration;

use kafka_protocol::messages::ControlledShutdownRequest;
use ottla_client::{ClientError, Connection, ConnectionConfig};
use ottla_config::{BrokerConfig, MetadataVersion};
use ottla_controller::{Answer, ApiRequest};
use ottla_model::{BrokerId, ErrorCode};

use crate::broker::Broker;

/// What came of one try.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    /// Nothing is left that others could lead.
    Done,
    /// So many partitions are still led here.
    Remaining(usize),
    /// The controller's error.
    Refused(ErrorCode),
}

/// Why a try had no outcome.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// No UpdateMetadata has named a controller that can be reached.
    #[error("no controller is known")]
    NoController,
    /// `controller.socket.timeout.ms` has passed.
    #[error("the controller does not answer")]
    Late,
    /// The way to it.
    #[error(transparent)]
    Connection(#[from] ClientError),
}

/// Asks up to `controlled.shutdown.max.retries` times. Whatever comes of it, the broker stops then.
pub(super) async fn controlled_shutdown(broker: &Broker) {
    let config = broker.configs.broker();
    if !config.controlled_shutdown_enable {
        return;
    }
    let backoff = millis(config.controlled_shutdown_retry_backoff_ms);
    let mut connection = None;
    let tries = config.controlled_shutdown_max_retries;
    for remaining_tries in (0..tries).rev() {
        match ask(broker, &config, &mut connection).await {
            Ok(Outcome::Done) => {
                tracing::info!("controlled shutdown: the controller has moved all leaders away");
                return;
            }
            Ok(Outcome::Remaining(partitions)) => {
                tracing::info!(
                    partitions,
                    "controlled shutdown: partitions are still led here"
                );
            }
            Ok(Outcome::Refused(error)) => {
                tracing::warn!(%error, "controlled shutdown: the controller refuses");
            }
            Err(error) => {
                connection = None;
                tracing::warn!(%error, "controlled shutdown: the controller was not reached");
            }
        }
        if remaining_tries > 0 {
            tokio::time::sleep(backoff).await;
        }
    }
    tracing::warn!("controlled shutdown did not succeed, stopping without it");
}

/// One try, at the controller that the metadata names now.
async fn ask(
    broker: &Broker,
    config: &BrokerConfig,
    connection: &mut Option<(BrokerId, Connection)>,
) -> Result<Outcome, Failure> {
    let snapshot = broker.metadata_cache.snapshot();
    let controller = snapshot.controller.ok_or(Failure::NoController)?;
    let broker_epoch = broker.controller.broker_epoch();
    let timeout = millis(config.controller_socket_timeout_ms.into());
    if controller == broker.id {
        let request = ApiRequest::ControlledShutdown {
            broker: broker.id,
            broker_epoch,
        };
        // Over the wire the answer would be late, too, while ZooKeeper is away.
        let asked = tokio::time::timeout(timeout, broker.controller.ask(request));
        return Ok(match asked.await.map_err(|_| Failure::Late)? {
            Answer::ControlledShutdown(Ok(remaining)) => outcome(remaining.len()),
            Answer::ControlledShutdown(Err(error)) => Outcome::Refused(error),
            // Resigned meanwhile.
            _ => Outcome::Refused(ErrorCode::StaleControllerEpoch),
        });
    }
    let open = match connection {
        Some((id, open)) if *id == controller && !open.is_closed() => open.clone(),
        _ => {
            let inter_broker = config.inter_broker_listener_name();
            let listener = config.control_plane_listener_name().unwrap_or(inter_broker);
            let endpoint = snapshot
                .brokers
                .get(&controller)
                .and_then(|live| live.endpoint(listener))
                .ok_or(Failure::NoController)?;
            let port = u16::try_from(endpoint.port).map_err(|_| Failure::NoController)?;
            let client = ConnectionConfig {
                connect_timeout: timeout,
                request_timeout: timeout,
                ..ConnectionConfig::new(broker.id.to_string())
            };
            let open = Connection::connect(&endpoint.host, port, &client).await?;
            *connection = Some((controller, open.clone()));
            open
        }
    };
    let request = ControlledShutdownRequest::default()
        .with_broker_id(broker.id.0.into())
        .with_broker_epoch(broker_epoch.0);
    let version = request_version(config.inter_broker_protocol_version());
    let response = open.send(&request, version).await?;
    Ok(match ErrorCode::from_code(response.error_code) {
        ErrorCode::None => outcome(response.remaining_partitions.len()),
        error => Outcome::Refused(error),
    })
}

fn millis(value: i64) -> Duration {
    Duration::from_millis(u64::try_from(value).unwrap_or(0))
}

fn outcome(remaining: usize) -> Outcome {
    match remaining {
        0 => Outcome::Done,
        count => Outcome::Remaining(count),
    }
}

/// The version by `inter.broker.protocol.version`; never negotiated.
fn request_version(protocol: MetadataVersion) -> i16 {
    let since = |name: &str| MetadataVersion::parse(name).is_some_and(|named| protocol >= named);
    match () {
        () if since("2.4-IV1") => 3,
        () if since("2.2-IV0") => 2,
        () if since("0.9.0") => 1,
        () => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_version_follows_the_protocol_version() {
        let version = |name: &str| request_version(MetadataVersion::parse(name).unwrap());
        assert_eq!(version("3.9"), 3);
        assert_eq!(version("2.4-IV1"), 3);
        assert_eq!(version("2.4-IV0"), 2);
        assert_eq!(version("2.2"), 2);
        assert_eq!(version("2.1"), 1);
        assert_eq!(version("0.9.0"), 1);
    }

    #[test]
    fn only_an_empty_answer_is_a_success() {
        assert_eq!(outcome(0), Outcome::Done);
        assert_eq!(outcome(2), Outcome::Remaining(2));
    }
}
