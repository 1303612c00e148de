//! A broker's registration, whose creation zxid is the broker epoch
//! (`KafkaZkClient.CheckedEphemeral`).

use std::sync::atomic::Ordering;

use ottla_coordination::payloads::BrokerRegistration;
use ottla_coordination::{ANY_VERSION, CreateMode, Error, Op, OpResult, paths};
use ottla_model::{BrokerEpoch, BrokerId};

use super::startup::StartupError;
use super::{CoordinationHandle, MultiError};

impl CoordinationHandle {
    /// Registers the broker, at its start and again after each new session; gives its new epoch.
    ///
    /// A registration that is there already is accepted if this session made it (a retry whose
    /// first try had succeeded), deleted if our own previous session did (ZOOKEEPER-2985), and
    /// otherwise somebody else has our id.
    pub async fn register_broker(
        &self,
        id: BrokerId,
        registration: &BrokerRegistration,
    ) -> Result<BrokerEpoch, StartupError> {
        let path = paths::broker(id);
        loop {
            let session_id = self.session_id();
            // The create's answer has no stat; the set's has, and its czxid is the epoch.
            let multi = vec![
                self.create_op(&path, None, CreateMode::Ephemeral),
                Op::SetData {
                    path: path.clone(),
                    data: Some(registration.encode()),
                    version: 0,
                },
            ];
            let epoch = match self.multi(multi).await {
                Ok(results) => match results.get(1) {
                    Some(OpResult::Set(stat)) => BrokerEpoch(stat.czxid),
                    _ => return Err(Error::SystemError.into()),
                },
                Err(MultiError::Failed {
                    error: Error::NodeExists,
                    ..
                }) => match self.existing_registration(id, &path, session_id).await? {
                    Some(epoch) => epoch,
                    None => continue,
                },
                Err(MultiError::Failed { error, .. } | MultiError::Request(error)) => {
                    return Err(error.into());
                }
            };
            self.registered_session.store(session_id, Ordering::Release);
            return Ok(epoch);
        }
    }

    /// Replaces what the registration says, after a dynamic change of listeners. The epoch stays.
    pub async fn update_registration(
        &self,
        id: BrokerId,
        registration: &BrokerRegistration,
    ) -> Result<(), Error> {
        let data = Some(registration.encode());
        self.set_data(paths::broker(id), data, ANY_VERSION)
            .await
            .map(|_| ())
    }

    /// The epoch of a registration that is ours; `None` if the way is free again.
    async fn existing_registration(
        &self,
        id: BrokerId,
        path: &str,
        session_id: i64,
    ) -> Result<Option<BrokerEpoch>, StartupError> {
        let Some((_, stat)) = self.find_data(path, false).await? else {
            return Ok(None);
        };
        if stat.ephemeral_owner == session_id {
            return Ok(Some(BrokerEpoch(stat.czxid)));
        }
        if stat.ephemeral_owner != self.registered_session.load(Ordering::Acquire) {
            return Err(StartupError::BrokerIdTaken(id));
        }
        match self.delete(path, ANY_VERSION).await {
            Ok(()) | Err(Error::NoNode) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
