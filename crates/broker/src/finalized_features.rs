//! The features that are finalized for the cluster, by `/feature` (`FinalizedFeatureChangeListener`).
//!
//! A broker in ZooKeeper mode supports none (`BrokerFeatures.createEmpty`): one that is finalized
//! nevertheless belongs to a cluster in which this broker may not take part, and ends it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use ottla_coordination::payloads::{Feature, FeatureStatus};
use ottla_coordination::{Error, SessionEvent, paths};
use tokio::sync::watch;
use tracing::{error, warn};

use crate::coordination::{CoordinationHandle, Notice};
use crate::start::StartError;

/// What ApiVersions says of finalized features.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Finalized {
    /// The version of `/feature`; −1 while the znode is absent, disabled or unreadable.
    pub(crate) epoch: i64,
    /// Name and level of each feature, by name.
    pub(crate) levels: Vec<(String, i16)>,
}

/// Why this broker may not stay in the cluster (`FeatureCacheUpdateException`).
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Incompatible {
    /// What is finalized is not supported.
    #[error("{path} finalizes features that this broker does not support: {}", .0.join(", "), path = paths::FEATURE)]
    Unsupported(Vec<String>),
    /// The znode was made anew behind this broker's back.
    #[error("{path} has version {found} after version {known}", path = paths::FEATURE)]
    InvalidEpoch {
        /// The version now.
        found: i64,
        /// The version before.
        known: i64,
    },
}

/// The broker's copy, kept by [`FinalizedFeatures::follow`].
#[derive(Debug)]
pub(crate) struct FinalizedFeatures {
    latest: ArcSwap<Finalized>,
    incompatible: watch::Sender<bool>,
}

impl Finalized {
    fn unknown() -> Self {
        Self {
            epoch: -1,
            levels: Vec::new(),
        }
    }
}

impl FinalizedFeatures {
    /// Nothing is known yet.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            latest: ArcSwap::from_pointee(Finalized::unknown()),
            incompatible: watch::Sender::new(false),
        })
    }

    /// The first look, before the broker is registered.
    ///
    /// # Errors
    /// The service does not answer, or what is finalized is not for this broker.
    pub(crate) async fn load(&self, coordination: &CoordinationHandle) -> Result<(), StartError> {
        Ok(self.update(read(coordination).await?)?)
    }

    /// Ready when something was finalized with which this broker may not go on.
    pub(crate) async fn are_incompatible(&self) {
        let mut incompatible = self.incompatible.subscribe();
        // The sender lives as long as this does.
        _ = incompatible.wait_for(|incompatible| *incompatible).await;
    }

    fn update(&self, found: Finalized) -> Result<(), Incompatible> {
        let known = self.latest.load().epoch;
        if found.epoch != -1 && known > found.epoch {
            let found = found.epoch;
            return Err(Incompatible::InvalidEpoch { found, known });
        }
        if !found.levels.is_empty() {
            let name = |(name, level): &(String, i16)| format!("{name} {level}");
            let unsupported = found.levels.iter().map(name).collect();
            return Err(Incompatible::Unsupported(unsupported));
        }
        self.latest.store(Arc::new(found));
        Ok(())
    }

    /// What is finalized, as far as this broker has seen.
    pub(crate) fn latest(&self) -> Arc<Finalized> {
        self.latest.load_full()
    }

    /// Follows the znode until the broker's session is closed for good.
    pub(crate) async fn follow(self: Arc<Self>, coordination: Arc<CoordinationHandle>) {
        let mut notices = coordination.subscribe(|event| event.path == paths::FEATURE);
        loop {
            match read(&coordination).await {
                Ok(found) => {
                    if let Err(incompatible) = self.update(found) {
                        error!(%incompatible, "the broker ends");
                        self.incompatible.send_replace(true);
                        return;
                    }
                }
                // The watch or the next session brings the next attempt.
                Err(error) => warn!(%error, "cannot read the finalized features"),
            }
            loop {
                match notices.recv().await {
                    None => return,
                    Some(Notice::Watch(_) | Notice::Session(SessionEvent::Connected)) => break,
                    Some(Notice::Session(_)) => {}
                }
            }
        }
    }
}

/// Reads the znode, with a watch in any case.
async fn read(coordination: &CoordinationHandle) -> Result<Finalized, Error> {
    loop {
        if let Some((data, stat)) = coordination.find_data(paths::FEATURE, true).await? {
            return Ok(finalized(data.as_deref().unwrap_or_default(), stat.version));
        }
        if coordination.exists(paths::FEATURE, true).await?.is_none() {
            return Ok(Finalized::unknown());
        }
    }
}

fn finalized(data: &[u8], version: i32) -> Finalized {
    match Feature::decode(data) {
        Ok(feature) if feature.status == FeatureStatus::Enabled => Finalized {
            epoch: i64::from(version),
            levels: feature.features.into_iter().collect(),
        },
        Ok(_) => Finalized::unknown(),
        Err(error) => {
            error!(path = paths::FEATURE, %error, "the finalized features cannot be read");
            Finalized::unknown()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_enabled_features_count() {
        let check = |text: &str, expected: i64| {
            assert_eq!(finalized(text.as_bytes(), 7).epoch, expected, "{text}");
        };
        check(r#"{"version":2,"status":1,"features":{}}"#, 7);
        check(r#"{"version":2,"status":0,"features":{}}"#, -1);
        check("garbage", -1);
        check("", -1);
        let found = finalized(
            br#"{"version":2,"status":1,"features":{"x":{"max_version_level":3}}}"#,
            1,
        );
        assert_eq!(found.levels, [("x".to_owned(), 3)]);
    }

    #[test]
    fn what_is_finalized_must_be_supported_and_newer() {
        let features = FinalizedFeatures::new();
        let found = |epoch, levels: &[(&str, i16)]| Finalized {
            epoch,
            levels: levels
                .iter()
                .map(|(name, level)| ((*name).to_owned(), *level))
                .collect(),
        };
        assert_eq!(features.update(found(3, &[])), Ok(()));
        let (found_epoch, known) = (2, 3);
        let older = Err(Incompatible::InvalidEpoch {
            found: found_epoch,
            known,
        });
        assert_eq!(features.update(found(2, &[])), older);
        let unsupported = features.update(found(4, &[("metadata.version", 7)]));
        let text =
            "/feature finalizes features that this broker does not support: metadata.version 7";
        assert_eq!(
            unsupported.map_err(|error| error.to_string()),
            Err(text.to_owned())
        );
        assert_eq!(features.latest().epoch, 3);
        // Once it was seen to be gone it may begin again.
        assert_eq!(features.update(Finalized::unknown()), Ok(()));
        assert_eq!(features.update(found(0, &[])), Ok(()));
    }
}
