//! The state that procedures work on, and the small steps that many of them share.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_model::{BrokerEpoch, BrokerId, TopicPartition};

use crate::config::ControllerConfig;
use crate::context::{Context, RegisteredBroker};
use crate::exchange::Exchange;
use crate::gauges::Gauges;
use crate::request_batch::RequestBatch;
use crate::znodes::Fence;

/// Moves into the procedure of the event in work and comes back with its end, so that nothing else
/// can touch it meanwhile.
pub(crate) struct Core {
    pub(crate) config: ControllerConfig,
    pub(crate) context: Context,
    pub(crate) exchange: Exchange,
    pub(crate) active_controller_id: BrokerId,
    /// The session in which this broker is registered.
    pub(crate) registration_session: Option<i64>,
    /// Finalized features, as found at failover.
    pub(crate) finalized_features: BTreeMap<String, i16>,
    /// The broker shuts down: this was the last event.
    pub(crate) stopped: bool,
}

impl Core {
    pub(crate) fn is_active(&self) -> bool {
        self.active_controller_id == self.config.broker_id()
    }

    pub(crate) fn fence(&self) -> Fence {
        Fence(self.context.epoch_version)
    }

    pub(crate) fn set_active_controller(&mut self, id: BrokerId) {
        self.active_controller_id = id;
        let (is_active, epoch) = (self.is_active(), self.context.controller_epoch());
        self.exchange.update_view(|view| {
            view.active_controller_id = id;
            view.is_active = is_active;
            view.controller_epoch = epoch;
        });
    }

    pub(crate) fn set_broker_epoch(&mut self, epoch: BrokerEpoch) {
        self.exchange.update_view(|view| view.broker_epoch = epoch);
    }

    /// Must follow every change of the topics that are being deleted: others look at them.
    pub(crate) fn publish_deletions(&self) {
        let topics = Arc::new(self.context.topics_to_be_deleted.clone());
        self.exchange
            .update_view(|view| view.topics_to_be_deleted = topics);
    }

    /// At the end of each event.
    pub(crate) fn publish_gauges(&self) {
        let gauges = if self.is_active() {
            Gauges::of(&self.context)
        } else {
            Gauges::default()
        };
        self.exchange.update_view(|view| view.gauges = gauges);
    }

    pub(crate) fn send(&self, batch: RequestBatch) {
        batch.send(&self.config, &self.context, &self.exchange);
    }

    /// Tells these brokers the list of brokers and these partitions.
    pub(crate) fn send_update_metadata<'a>(
        &self,
        brokers: impl IntoIterator<Item = BrokerId>,
        partitions: impl IntoIterator<Item = &'a TopicPartition>,
    ) {
        let mut batch = RequestBatch::default();
        batch.add_update_metadata(&self.context, brokers, partitions);
        self.send(batch);
    }

    /// Tells all registered brokers the list of brokers and these partitions.
    pub(crate) fn send_update_metadata_to_all<'a>(
        &self,
        partitions: impl IntoIterator<Item = &'a TopicPartition>,
    ) {
        self.send_update_metadata(self.context.registered_ids(), partitions);
    }

    /// Splits off brokers that do not support all finalized features.
    pub(crate) fn compatible_brokers(
        &self,
        brokers: Vec<RegisteredBroker>,
    ) -> Vec<RegisteredBroker> {
        let (compatible, incompatible): (Vec<_>, Vec<_>) = brokers
            .into_iter()
            .partition(|broker| self.supports_finalized_features(broker));
        for broker in incompatible {
            tracing::warn!(broker = %broker.id, "ignoring a registration that is incompatible with finalized features");
        }
        compatible
    }

    fn supports_finalized_features(&self, broker: &RegisteredBroker) -> bool {
        !self.config.capabilities.feature_versioning
            || self.finalized_features.iter().all(|(feature, level)| {
                let supported = broker.features.get(feature);
                supported.is_some_and(|(min, max)| (min..=max).contains(&level))
            })
    }
}
