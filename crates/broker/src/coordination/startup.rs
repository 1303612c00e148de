//! What a broker does first with its session (`KafkaServer.initZkClient` and after).

use bytes::Bytes;
use ottla_coordination::payloads::{BrokerRegistration, ClusterId, DecodeError};
use ottla_coordination::{ANY_VERSION, CreateMode, Error, paths};
use ottla_model::{BrokerEpoch, BrokerId, Endpoint, LiveBroker};

use super::CoordinationHandle;

/// Why a step of the start failed.
#[derive(Debug, thiserror::Error)]
pub enum StartupError {
    /// The coordination service.
    #[error(transparent)]
    Coordination(#[from] Error),
    /// A znode that cannot be understood.
    #[error("{path}: {error}")]
    Malformed {
        /// Which.
        path: String,
        /// Why.
        error: DecodeError,
    },
    /// Another broker has registered the same address.
    #[error(
        "Configured end points {endpoints} in advertised listeners are already registered by broker {broker}"
    )]
    EndpointsTaken {
        /// The addresses in common.
        endpoints: String,
        /// The other broker.
        broker: BrokerId,
    },
    /// Another broker has the same id.
    #[error("broker {0} is registered by another session")]
    BrokerIdTaken(BrokerId),
}

impl CoordinationHandle {
    /// Creates the top-level paths that are missing, in Kafka's order, with null data: Java brokers
    /// could not parse empty data in `/latest_producer_id_block`.
    pub async fn create_top_level_paths(&self) -> Result<(), Error> {
        for path in paths::PERSISTENT_PATHS {
            self.make_sure_exists(path).await?;
        }
        Ok(())
    }

    /// The cluster's id; the first broker creates it from `random`.
    pub async fn cluster_id(&self, random: [u8; 16]) -> Result<ClusterId, StartupError> {
        loop {
            if let Some((data, _)) = self.find_data(paths::CLUSTER_ID, false).await? {
                let decoded = ClusterId::decode(data.as_deref().unwrap_or_default());
                return decoded.map_err(malformed(paths::CLUSTER_ID));
            }
            let proposed = ClusterId::from_random(random);
            match self
                .create_recursive(paths::CLUSTER_ID, Some(proposed.encode()))
                .await
            {
                Ok(()) => return Ok(proposed),
                // Another broker was faster: read its id.
                Err(Error::NodeExists) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// A new broker id, greater than `reserved_broker_max_id`: the number of times that one was
    /// asked for is the version of `/brokers/seqid`.
    pub async fn generate_broker_id(&self, reserved_broker_max_id: i32) -> Result<BrokerId, Error> {
        loop {
            // Empty and not null, as a Java broker writes here.
            let empty = Some(Bytes::new());
            match self
                .set_data(paths::BROKER_SEQUENCE_ID, empty, ANY_VERSION)
                .await
            {
                Ok(stat) => {
                    let id = reserved_broker_max_id.checked_add(stat.version);
                    return id.map(BrokerId).ok_or(Error::SystemError);
                }
                Err(Error::NoNode) => self.make_sure_exists(paths::BROKER_SEQUENCE_ID).await?,
                Err(error) => return Err(error),
            }
        }
    }

    /// The registered brokers with their epochs, by id. One that vanishes meanwhile is left out.
    pub async fn registered_brokers(&self) -> Result<Vec<LiveBroker>, StartupError> {
        let names = self.get_children(paths::BROKER_IDS, false).await?;
        let mut ids: Vec<BrokerId> = names
            .iter()
            .filter_map(|name| paths::parse_broker_name(name))
            .collect();
        ids.sort_unstable();
        let mut brokers = Vec::with_capacity(ids.len());
        for id in ids {
            let path = paths::broker(id);
            if let Some((data, stat)) = self.find_data(path.clone(), false).await? {
                let registration = BrokerRegistration::decode(data.as_deref().unwrap_or_default());
                let registration = registration.map_err(malformed(&path))?;
                brokers.push(registration.to_live_broker(id, BrokerEpoch(stat.czxid)));
            }
        }
        Ok(brokers)
    }

    /// Fails if another broker advertises one of these addresses.
    pub async fn check_endpoints_are_free(
        &self,
        id: BrokerId,
        endpoints: &[Endpoint],
    ) -> Result<(), StartupError> {
        let address = |endpoint: &Endpoint| format!("{}:{}", endpoint.host, endpoint.port);
        let ours: Vec<String> = endpoints.iter().map(address).collect();
        for broker in self.registered_brokers().await? {
            let mut taken: Vec<String> = broker.endpoints.iter().map(address).collect();
            taken.retain(|theirs| ours.contains(theirs));
            if broker.id != id && !taken.is_empty() {
                let endpoints = taken.join(",");
                return Err(StartupError::EndpointsTaken {
                    endpoints,
                    broker: broker.id,
                });
            }
        }
        Ok(())
    }

    /// Announces that a log directory of this broker has failed.
    pub async fn announce_log_dir_failure(&self, id: BrokerId) -> Result<(), Error> {
        let event = ottla_coordination::payloads::LogDirEvent { broker_id: id };
        let path = paths::log_dir_event_prefix();
        let mode = CreateMode::PersistentSequential;
        self.create(&path, Some(event.encode()), mode)
            .await
            .map(|_| ())
    }
}

pub(super) fn malformed(path: &str) -> impl FnOnce(DecodeError) -> StartupError {
    let path = path.to_owned();
    move |error| StartupError::Malformed { path, error }
}
