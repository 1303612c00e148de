//! `/controller`, `/controller_epoch`, `/feature` and `/latest_producer_id_block`.

use ottla_coordination::payloads::{
    Controller, DecodeError, Feature, ProducerIdBlock, decode_controller_epoch,
    encode_controller_epoch,
};
use ottla_coordination::{
    ANY_VERSION, CreateMode, Error, Op, OpResult, Reply, Request, multi_error, paths,
};
use ottla_model::{BrokerId, ControllerEpoch};

use super::{Fence, data_or_none};
use crate::config::ControllerConfig;
use crate::exchange::Exchange;
use crate::failure::Failure;

impl Exchange {
    /// Who is controller, [`BrokerId::NONE`] for nobody.
    pub(crate) async fn controller_id(&self) -> Result<BrokerId, Failure> {
        let outcome = self
            .request(self.get_data(paths::CONTROLLER.to_owned()))
            .await;
        let Some((data, _)) = data_or_none(outcome)? else {
            return Ok(BrokerId::NONE);
        };
        match Controller::decode(&data.unwrap_or_default()) {
            Ok(controller) => Ok(controller.broker_id),
            // As in Kafka: nobody, and whoever was it is it no longer.
            Err(DecodeError::NotJson(_)) => Ok(BrokerId::NONE),
            Err(error) => Err(Failure::Malformed(format!(
                "{}: {error}",
                paths::CONTROLLER
            ))),
        }
    }

    async fn controller_epoch(&self) -> Result<Option<(ControllerEpoch, i32)>, Failure> {
        let outcome = self
            .request(Request::get_data(paths::CONTROLLER_EPOCH))
            .await;
        let Some((data, stat)) = data_or_none(outcome)? else {
            return Ok(None);
        };
        let epoch = decode_controller_epoch(&data.unwrap_or_default())
            .map_err(|error| Failure::Malformed(format!("{}: {error}", paths::CONTROLLER_EPOCH)))?;
        Ok(Some((epoch, stat.version)))
    }

    /// Takes `/controller` and raises the epoch in one multi. Somebody else being faster is
    /// [`Failure::ControllerMoved`].
    pub(crate) async fn register_controller(
        &self,
        config: &ControllerConfig,
    ) -> Result<(ControllerEpoch, Fence), Failure> {
        let (epoch, version) = match self.controller_epoch().await? {
            Some(found) => found,
            None => self.create_controller_epoch(config).await?,
        };
        let next = epoch.0.checked_add(1).map(ControllerEpoch);
        let next = next.ok_or_else(|| {
            Failure::Malformed(format!("{}: {epoch} is the last", paths::CONTROLLER_EPOCH))
        })?;
        let create = Op::Create {
            path: paths::CONTROLLER.to_owned(),
            data: Some(Controller::of(config.broker_id(), self.now().wall).encode()),
            mode: CreateMode::Ephemeral,
            acl: paths::acl_policy(paths::CONTROLLER, config.zookeeper_set_acl),
        };
        let raise = Op::SetData {
            path: paths::CONTROLLER_EPOCH.to_owned(),
            data: Some(encode_controller_epoch(next)),
            version,
        };
        let reply = self.request(Request::Multi(vec![create, raise])).await?;
        let Reply::Multi(results) = reply else {
            return Err(Error::SystemError.into());
        };
        match (multi_error(&results), results.last()) {
            (None, Some(OpResult::Set(stat))) => Ok((next, Fence(stat.version))),
            (Some((_, Error::NodeExists | Error::BadVersion)), _) => {
                self.check_own_election(config.broker_id(), next).await
            }
            (Some((_, error)), _) => Err(error.into()),
            (None, _) => Err(Error::SystemError.into()),
        }
    }

    async fn create_controller_epoch(
        &self,
        config: &ControllerConfig,
    ) -> Result<(ControllerEpoch, i32), Failure> {
        let initial = ControllerEpoch(0);
        let create = Request::Create {
            path: paths::CONTROLLER_EPOCH.to_owned(),
            data: Some(encode_controller_epoch(initial)),
            mode: CreateMode::Persistent,
            acl: paths::acl_policy(paths::CONTROLLER_EPOCH, config.zookeeper_set_acl),
        };
        match self.request(create).await {
            Ok(_) => Ok((initial, 0)),
            Err(Error::NodeExists) => self.controller_epoch().await?.ok_or_else(|| {
                Failure::IllegalState(format!(
                    "{} existed before but goes away while trying to read it",
                    paths::CONTROLLER_EPOCH
                ))
            }),
            Err(error) => Err(error.into()),
        }
    }

    /// The multi failed; if `/controller` names us with this very epoch, an earlier try of the same
    /// multi had succeeded and only its reply was lost.
    async fn check_own_election(
        &self,
        own_id: BrokerId,
        epoch: ControllerEpoch,
    ) -> Result<(ControllerEpoch, Fence), Failure> {
        if self.controller_id().await? == own_id
            && let Some((current, version)) = self.controller_epoch().await?
            && current == epoch
        {
            return Ok((epoch, Fence(version)));
        }
        Err(Failure::ControllerMoved)
    }

    /// Gives up `/controller`, unless a successor owns it already.
    pub(crate) async fn delete_controller(&self, fence: Fence) -> Result<(), Failure> {
        self.delete_if_there(fence, paths::CONTROLLER.to_owned())
            .await
    }

    /// The finalized features; `None` if the znode is absent.
    pub(crate) async fn feature(&self) -> Result<Option<Feature>, Failure> {
        let outcome = self.request(Request::get_data(paths::FEATURE)).await;
        let Some((data, _)) = data_or_none(outcome)? else {
            return Ok(None);
        };
        Feature::decode(&data.unwrap_or_default())
            .map(Some)
            .map_err(|error| Failure::Malformed(format!("{}: {error}", paths::FEATURE)))
    }

    pub(crate) async fn create_feature(
        &self,
        config: &ControllerConfig,
        feature: &Feature,
    ) -> Result<(), Failure> {
        let create = Request::Create {
            path: paths::FEATURE.to_owned(),
            data: Some(feature.encode()),
            mode: CreateMode::Persistent,
            acl: paths::acl_policy(paths::FEATURE, config.zookeeper_set_acl),
        };
        self.request(create).await?;
        Ok(())
    }

    pub(crate) async fn set_feature(&self, feature: &Feature) -> Result<(), Failure> {
        let set = Request::SetData {
            path: paths::FEATURE.to_owned(),
            data: Some(feature.encode()),
            version: ANY_VERSION,
        };
        self.request(set).await?;
        Ok(())
    }

    /// Reserves the next block of producer ids for a broker; `None` when the ids are used up.
    pub(crate) async fn allocate_producer_ids(
        &self,
        config: &ControllerConfig,
        broker: BrokerId,
    ) -> Result<Option<ProducerIdBlock>, Failure> {
        loop {
            let outcome = self
                .request(Request::get_data(paths::LATEST_PRODUCER_ID_BLOCK))
                .await;
            let found = data_or_none(outcome)?;
            let latest = found.as_ref().and_then(|(data, _)| data.as_deref());
            let latest = latest.map(ProducerIdBlock::decode).transpose();
            let latest = latest.map_err(|error| Failure::Malformed(error.to_string()))?;
            let Some(next) = ProducerIdBlock::after(latest.as_ref(), broker) else {
                return Ok(None);
            };
            let path = paths::LATEST_PRODUCER_ID_BLOCK.to_owned();
            let data = Some(next.encode());
            let write = match found {
                Some((_, stat)) => Request::SetData {
                    path,
                    data,
                    version: stat.version,
                },
                None => Request::Create {
                    acl: paths::acl_policy(&path, config.zookeeper_set_acl),
                    mode: CreateMode::Persistent,
                    path,
                    data,
                },
            };
            match self.request(write).await {
                Ok(_) => return Ok(Some(next)),
                Err(Error::BadVersion | Error::NodeExists | Error::NoNode) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
