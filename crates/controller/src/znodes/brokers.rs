//! `/brokers/ids`: registrations.

use ottla_coordination::payloads::BrokerRegistration;
use ottla_coordination::{ANY_VERSION, CreateMode, Error, Op, OpResult, Reply, Request, Stat};
use ottla_coordination::{multi_error, paths};
use ottla_model::{BrokerEpoch, BrokerId};

use super::data_or_none;
use crate::config::ControllerConfig;
use crate::context::RegisteredBroker;
use crate::exchange::Exchange;
use crate::failure::Failure;

impl Exchange {
    /// All registered brokers, ascending. A registration that is unreadable counts as what was
    /// known of it before, by `known`, if it is still the same one; else it is ignored.
    pub(crate) async fn brokers<'a>(
        &self,
        known: impl Fn(BrokerId) -> Option<&'a RegisteredBroker>,
    ) -> Result<Vec<RegisteredBroker>, Failure> {
        let names = self.children(paths::BROKER_IDS).await?;
        let mut ids: Vec<_> = names
            .iter()
            .filter_map(|n| paths::parse_broker_name(n))
            .collect();
        ids.sort_unstable();
        let reads = ids
            .iter()
            .map(|id| self.get_data(paths::broker(*id)))
            .collect();
        let mut brokers = Vec::new();
        for (id, outcome) in ids.into_iter().zip(self.batch(reads).await) {
            if let Some((data, stat)) = data_or_none(outcome)? {
                let found = data.and_then(|data| decode(id, &data, &stat));
                let before = || known(id).filter(|known| known.epoch.0 == stat.czxid);
                brokers.extend(found.or_else(|| before().cloned()));
            }
        }
        Ok(brokers)
    }

    /// One broker's registration.
    pub(crate) async fn broker(&self, id: BrokerId) -> Result<Option<RegisteredBroker>, Failure> {
        let outcome = self.request(self.get_data(paths::broker(id))).await;
        let found = data_or_none(outcome)?;
        Ok(found.and_then(|(data, stat)| decode(id, &data?, &stat)))
    }

    /// Registers this broker in the present session and tells its epoch. A leftover of our own
    /// earlier session `previous_session` is replaced (ZOOKEEPER-2985), another owner is an error.
    pub(crate) async fn register_broker(
        &self,
        config: &ControllerConfig,
        previous_session: Option<i64>,
    ) -> Result<BrokerEpoch, Failure> {
        let path = paths::broker(config.broker_id());
        let registration = registration(config, self.now().wall);
        loop {
            let create = Op::Create {
                path: path.clone(),
                data: None,
                mode: CreateMode::Ephemeral,
                acl: paths::acl_policy(&path, config.zookeeper_set_acl),
            };
            // The second write is there for its stat: a create tells none.
            let set = Op::SetData {
                path: path.clone(),
                data: Some(registration.encode()),
                version: 0,
            };
            let reply = self.request(Request::Multi(vec![create, set])).await?;
            let Reply::Multi(results) = reply else {
                return Err(Error::SystemError.into());
            };
            match (multi_error(&results), results.last()) {
                (None, Some(OpResult::Set(stat))) => return Ok(BrokerEpoch(stat.czxid)),
                (Some((_, Error::NodeExists)), _) => {}
                (Some((_, error)), _) => return Err(error.into()),
                (None, _) => return Err(Error::SystemError.into()),
            }
            let outcome = self.request(Request::get_data(path.as_str())).await;
            let Some((_, stat)) = data_or_none(outcome)? else {
                continue;
            };
            if stat.ephemeral_owner == self.session_id() {
                return Ok(BrokerEpoch(stat.czxid));
            }
            if Some(stat.ephemeral_owner) != previous_session {
                return Err(Error::NodeExists.into());
            }
            let delete = Request::Delete {
                path: path.clone(),
                version: ANY_VERSION,
            };
            match self.request(delete).await {
                Ok(_) | Err(Error::NoNode) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn registration(config: &ControllerConfig, now: ottla_model::Timestamp) -> BrokerRegistration {
    BrokerRegistration {
        version: config.registration_version,
        endpoints: config.broker.endpoints.clone(),
        rack: config.broker.rack.clone(),
        jmx_port: config.jmx_port,
        timestamp: now,
        features: std::collections::BTreeMap::new(),
    }
}

fn decode(id: BrokerId, data: &[u8], stat: &Stat) -> Option<RegisteredBroker> {
    match BrokerRegistration::decode(data) {
        Ok(registration) => Some(RegisteredBroker {
            id,
            epoch: BrokerEpoch(stat.czxid),
            endpoints: registration.endpoints,
            rack: registration.rack,
            features: registration.features,
        }),
        Err(error) => {
            tracing::warn!(broker = %id, %error, "broker registration is unreadable");
            None
        }
    }
}
