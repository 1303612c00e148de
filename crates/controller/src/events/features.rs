//! UpdateFeatures. Brokers in ZooKeeper mode support no feature, so every named update is refused;
//! the checks before that give each refusal Kafka's words.

use ottla_model::ErrorCode;

use crate::core::Core;
use crate::event::{Answer, ApiError, FeatureUpdate, Token, UpgradeType};
use crate::failure::Failure;

impl Core {
    pub(super) async fn process_update_features(
        &mut self,
        token: Token,
        updates: Vec<FeatureUpdate>,
    ) -> Result<(), Failure> {
        let answer = if self.is_active() {
            Ok(self.update_features(updates).await?)
        } else {
            Err(ApiError::of(ErrorCode::NotController))
        };
        self.exchange.answer(token, Answer::UpdateFeatures(answer));
        Ok(())
    }

    async fn update_features(
        &mut self,
        updates: Vec<FeatureUpdate>,
    ) -> Result<std::collections::BTreeMap<String, ApiError>, Failure> {
        let mut target = self.finalized_features.clone();
        let mut results = std::collections::BTreeMap::new();
        for update in updates {
            let result = self.check_feature_update(&update);
            if result.is_ok() {
                // Only the deletion of a finalized feature can get here.
                target.remove(&update.feature);
            }
            results.insert(update.feature, result.err().unwrap_or(ApiError::NONE));
        }
        if target != self.finalized_features {
            self.write_features(target, &mut results).await;
        }
        Ok(results)
    }

    async fn write_features(
        &mut self,
        target: std::collections::BTreeMap<String, i16>,
        results: &mut std::collections::BTreeMap<String, ApiError>,
    ) {
        let feature = ottla_coordination::payloads::Feature {
            version: if self.config.capabilities.feature_znode_version_2 {
                2
            } else {
                1
            },
            status: ottla_coordination::payloads::FeatureStatus::Enabled,
            features: target,
        };
        match self.exchange.set_feature(&feature).await {
            Ok(()) => self.finalized_features = feature.features,
            Err(failure) => {
                tracing::warn!(%failure, "features cannot be written");
                for result in results.values_mut().filter(|result| result.error.is_none()) {
                    *result = ApiError::of(ErrorCode::FeatureUpdateFailed);
                }
            }
        }
    }

    fn check_feature_update(&self, update: &FeatureUpdate) -> Result<(), ApiError> {
        let refuse = |message: String| Err(ApiError::with(ErrorCode::InvalidRequest, message));
        let level = update.version_level;
        let existing = self.finalized_features.get(&update.feature).copied();
        let safe_downgrade = update.upgrade_type == UpgradeType::SafeDowngrade;
        if update.feature.is_empty() {
            return refuse("Feature name can not be empty.".to_owned());
        }
        if update.upgrade_type == UpgradeType::Unknown {
            return refuse("Received unknown upgrade type.".to_owned());
        }
        if level < 1 && update.upgrade_type != UpgradeType::Upgrade {
            return match existing {
                Some(_) => Ok(()),
                None => refuse("Can not delete non-existing finalized feature.".to_owned()),
            };
        }
        if level < 1 {
            return refuse(format!(
                "Can not provide versionLevel: {level} less than 1 without setting the SAFE downgradeType in the request."
            ));
        }
        match existing {
            Some(existing) if level == existing => {
                let verb = if safe_downgrade { "downgrade" } else { "upgrade" };
                refuse(format!(
                    "Can not {verb} a finalized feature from existing versionLevel:{existing} to the same value."
                ))
            }
            Some(existing) if level < existing && !safe_downgrade => refuse(format!(
                "Can not downgrade finalized feature from existing versionLevel:{existing} to provided versionLevel:{level} without setting the downgradeType to SAFE in the request."
            )),
            Some(existing) if level > existing && update.upgrade_type != UpgradeType::Upgrade => {
                refuse(format!(
                    "When the downgradeType is set to SAFE in the request, the provided versionLevel:{level} can not be greater than existing versionLevel:{existing}."
                ))
            }
            Some(_) | None => refuse(
                "Could not apply finalized feature update because the provided feature is not supported."
                    .to_owned(),
            ),
        }
    }
}
