//! A broker's registration, whose creation zxid is the broker epoch
//! (`KafkaZkClient.CheckedEphemeral`).

use std::sync::atomic::Ordering;
use std::time::Duration;

use ottla_coordination::payloads::BrokerRegistration;
use ottla_coordination::{ANY_VERSION, CreateMode, Error, Op, OpResult, SessionEvent, paths};
use ottla_model::{BrokerEpoch, BrokerId};
use tokio::time::Instant;

use super::startup::StartupError;
use super::{CoordinationHandle, MultiError, Notice};

/// ZooKeeper ends sessions at its ticks only, by default every two seconds: a session lives up to
/// that much longer than its timeout.
const EXPIRY_TICK: Duration = Duration::from_secs(2);

/// How long a session with this timeout may outlive its process.
pub fn longest_expiry(session_timeout: Duration) -> Duration {
    session_timeout + EXPIRY_TICK
}

impl CoordinationHandle {
    /// Registers a broker that has just started; gives its epoch.
    ///
    /// Kinder than Kafka, which refuses: if our id is registered by another session with the very
    /// endpoints that we have ourselves, that can only be what a killed predecessor has left. Its
    /// session ends by itself, so this waits for that, no longer than `wait`.
    pub async fn register_started_broker(
        &self,
        id: BrokerId,
        registration: &BrokerRegistration,
        wait: Duration,
    ) -> Result<BrokerEpoch, StartupError> {
        let path = paths::broker(id);
        let watched = path.clone();
        let mut notices = self.subscribe(move |event| event.path == watched);
        let mut deadline = Instant::now() + wait;
        let mut told = false;
        loop {
            match self.register_broker(id, registration).await {
                Err(StartupError::BrokerIdTaken(_)) => {}
                // The start took longer than the session; the next one is being opened.
                Err(StartupError::Coordination(Error::SessionExpired)) => {
                    match notices.recv().await {
                        Some(_) => continue,
                        None => return Err(Error::SessionExpired.into()),
                    }
                }
                outcome => return outcome,
            }
            // The read arms the watch that ends the wait.
            let data = match self.find_data(path.as_str(), true).await {
                Ok(Some((data, _))) => data,
                Ok(None) | Err(Error::SessionExpired) => continue,
                Err(error) => return Err(error.into()),
            };
            let found = BrokerRegistration::decode(data.as_deref().unwrap_or_default());
            if found.map_or(true, |found| found.endpoints != registration.endpoints) {
                return Err(StartupError::BrokerIdTaken(id));
            }
            if !told {
                tracing::warn!(
                    broker_id = %id,
                    "this broker is still registered with the same endpoints by an earlier \
                     session; waiting up to {} ms for that session to expire",
                    wait.as_millis()
                );
                told = true;
            }
            // Whatever is heard, the next round looks again.
            match tokio::time::timeout_at(deadline, notices.recv()).await {
                // A server that takes over gives every session its full time again.
                Ok(Some(Notice::Session(SessionEvent::Connected))) => {
                    deadline = Instant::now() + wait;
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return Err(StartupError::BrokerIdTaken(id)),
            }
        }
    }

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

    /// The session of the last successful registration, −1 before it.
    pub fn registered_session(&self) -> i64 {
        self.registered_session.load(Ordering::Acquire)
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
        if stat.ephemeral_owner != self.registered_session() {
            return Err(StartupError::BrokerIdTaken(id));
        }
        match self.delete(path, ANY_VERSION).await {
            Ok(()) | Err(Error::NoNode) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
