//! The features that are finalized for the cluster, by `/feature` (`FinalizedFeatureChangeListener`).

use std::sync::Arc;

use arc_swap::ArcSwap;
use ottla_coordination::payloads::{Feature, FeatureStatus};
use ottla_coordination::{Error, SessionEvent, paths};
use tracing::{error, warn};

use crate::coordination::{CoordinationHandle, Notice};

/// What ApiVersions says of finalized features.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Finalized {
    /// The version of `/feature`; −1 while the znode is absent, disabled or unreadable.
    pub(crate) epoch: i64,
    /// Name and level of each feature, by name.
    pub(crate) levels: Vec<(String, i16)>,
}

/// The broker's copy, kept by [`FinalizedFeatures::follow`].
#[derive(Debug)]
pub(crate) struct FinalizedFeatures {
    latest: ArcSwap<Finalized>,
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
        })
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
                Ok(found) => self.latest.store(Arc::new(found)),
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
}
