//! Reading and writing configs of entities below `/config` (`AdminZkClient`).

use ottla_coordination::paths::{self, ConfigEntity};
use ottla_coordination::payloads::{ConfigChange, Controller, EntityConfig};
use ottla_coordination::{ANY_VERSION, CreateMode, Error, Op};

use super::startup::{StartupError, malformed};
use super::{CoordinationHandle, FencedError};

/// Why a config could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ConfigWriteError {
    /// There is no controller, or it is a `KRaft` controller: nobody may write.
    #[error("there is no ZooKeeper controller")]
    NoController,
    /// Reading or writing failed; a controller that has moved is a bad version here.
    #[error(transparent)]
    Store(#[from] StartupError),
}

impl CoordinationHandle {
    /// An entity's overrides; absent is none.
    pub async fn entity_config(&self, entity: &ConfigEntity) -> Result<EntityConfig, StartupError> {
        let path = paths::entity_config(entity);
        match self.find_data(path.clone(), false).await? {
            Some((Some(data), _)) => EntityConfig::decode(&data).map_err(malformed(&path)),
            Some((None, _)) | None => Ok(EntityConfig::default()),
        }
    }

    /// Replaces an entity's overrides, while the controller that was read stays (or creates them),
    /// and announces that.
    pub async fn write_entity_config(
        &self,
        entity: &ConfigEntity,
        config: &EntityConfig,
    ) -> Result<(), ConfigWriteError> {
        self.set_or_create_entity_config(entity, config).await?;
        self.announce_config_change(entity)
            .await
            .map_err(coordination)
    }

    /// As [`CoordinationHandle::write_entity_config`] without the announcement: for new topics.
    pub async fn set_or_create_entity_config(
        &self,
        entity: &ConfigEntity,
        config: &EntityConfig,
    ) -> Result<(), ConfigWriteError> {
        let path = paths::entity_config(entity);
        let data = Some(config.encode());
        loop {
            let version = self.zookeeper_controller_version().await?;
            let set = Op::SetData {
                path: path.clone(),
                data: data.clone(),
                version: ANY_VERSION,
            };
            match self.fenced(paths::CONTROLLER, version, set).await {
                Ok(_) => return Ok(()),
                Err(FencedError::Write(Error::NoNode)) => {}
                Err(FencedError::Write(error)) => return Err(coordination(error)),
                Err(FencedError::Moved) => return Err(coordination(Error::BadVersion)),
            }
            match self.create_recursive(&path, data.clone()).await {
                Err(Error::NodeExists) => {}
                result => return result.map_err(coordination),
            }
        }
    }

    /// Deletes an entity's overrides: for quotas that have become empty.
    pub async fn delete_entity_config(&self, entity: &ConfigEntity) -> Result<(), Error> {
        match self.delete(paths::entity_config(entity), ANY_VERSION).await {
            Err(Error::NoNode) => Ok(()),
            result => result,
        }
    }

    /// Tells all brokers that an entity's config has changed.
    pub async fn announce_config_change(&self, entity: &ConfigEntity) -> Result<(), Error> {
        let data = Some(ConfigChange::of(entity).encode());
        let mode = CreateMode::PersistentSequential;
        self.create(&paths::config_change_prefix(), data, mode)
            .await
            .map(|_| ())
    }

    /// The version of `/controller`, if a ZooKeeper controller holds it.
    async fn zookeeper_controller_version(&self) -> Result<i32, ConfigWriteError> {
        let found = self
            .find_data(paths::CONTROLLER, false)
            .await
            .map_err(coordination)?;
        let Some((data, stat)) = found else {
            return Err(ConfigWriteError::NoController);
        };
        let controller = Controller::decode(data.as_deref().unwrap_or_default())
            .map_err(malformed(paths::CONTROLLER))?;
        if controller.is_kraft() {
            Err(ConfigWriteError::NoController)
        } else {
            Ok(stat.version)
        }
    }
}

fn coordination(error: Error) -> ConfigWriteError {
    ConfigWriteError::Store(StartupError::Coordination(error))
}
