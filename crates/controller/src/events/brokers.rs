//! Brokers that come, go, come back, or change.

use std::collections::BTreeSet;

use ottla_coordination::paths;
use ottla_model::{BrokerId, TopicName};

use crate::context::RegisteredBroker;
use crate::core::Core;
use crate::event::Action;
use crate::failure::Failure;
use crate::states::{PartitionAndReplica, PartitionState, ReplicaState};
use crate::work::DataHandler;

impl Core {
    pub(super) async fn process_broker_change(&mut self) -> Result<(), Failure> {
        let current = self
            .exchange
            .brokers(|id| self.context.registered_broker(id))
            .await?;
        let known = self.context.registered_ids();
        let current_ids: BTreeSet<BrokerId> = current.iter().map(|broker| broker.id).collect();
        let dead: BTreeSet<BrokerId> = known.difference(&current_ids).copied().collect();
        let mut new = Vec::new();
        let mut bounced = Vec::new();
        for broker in current {
            match self.context.broker_epoch(broker.id) {
                None => new.push(broker),
                Some(epoch) if epoch < broker.epoch => bounced.push(broker),
                Some(_) => {}
            }
        }
        tracing::info!(?dead, new = ?ids(&new), bounced = ?ids(&bounced), "brokers changed");
        self.change_channels(&new, &bounced, &dead);

        if !new.is_empty() {
            let started = ids(&new);
            let new = self.compatible_brokers(new);
            self.context.add_brokers(new);
            self.on_broker_startup(&started).await?;
        }
        if !bounced.is_empty() {
            let restarted = ids(&bounced);
            self.context.remove_brokers(&restarted);
            self.on_broker_failure(&restarted).await?;
            let bounced = self.compatible_brokers(bounced);
            self.context.add_brokers(bounced);
            self.on_broker_startup(&restarted).await?;
        }
        if !dead.is_empty() {
            self.context.remove_brokers(&dead);
            self.on_broker_failure(&dead).await?;
        }
        Ok(())
    }

    /// A bounced broker gets a new channel: what was queued for its earlier life is thrown away.
    fn change_channels(
        &self,
        new: &[RegisteredBroker],
        bounced: &[RegisteredBroker],
        dead: &BTreeSet<BrokerId>,
    ) {
        for broker in new {
            self.exchange
                .act(Action::BrokerAdded(broker.to_live_broker()));
        }
        for broker in bounced {
            self.exchange.act(Action::BrokerRemoved(broker.id));
        }
        for broker in bounced {
            self.exchange
                .act(Action::BrokerAdded(broker.to_live_broker()));
        }
        for broker in dead {
            self.exchange.act(Action::BrokerRemoved(*broker));
        }
    }

    async fn on_broker_startup(&mut self, started: &BTreeSet<BrokerId>) -> Result<(), Failure> {
        for broker in started {
            self.context.offline_dir_replicas.remove(broker);
        }
        let others: Vec<_> = self
            .context
            .registered_ids()
            .difference(started)
            .copied()
            .collect();
        self.send_update_metadata(others, []);
        let led = self.context.partitions_with_leaders();
        self.send_update_metadata(started.iter().copied(), &led);
        // The first LeaderAndIsr lists all that the broker hosts.
        let replicas = self.context.replicas_on_brokers(started);
        self.move_replicas(replicas.clone(), ReplicaState::Online)
            .await?;
        self.trigger_online_partitions().await?;
        self.resume_reassignments(|_, assignment| {
            assignment
                .target_replicas()
                .iter()
                .any(|replica| started.contains(replica))
        })
        .await?;
        let to_delete: BTreeSet<TopicName> = replicas
            .into_iter()
            .map(|replica| replica.partition.topic)
            .filter(|topic| self.context.is_queued_for_deletion(topic))
            .collect();
        if !to_delete.is_empty() {
            self.resume_deletion_of(&to_delete).await?;
        }
        self.watch_brokers(started).await
    }

    async fn on_broker_failure(&mut self, dead: &BTreeSet<BrokerId>) -> Result<(), Failure> {
        for broker in dead {
            self.context.offline_dir_replicas.remove(broker);
            self.context.shutting_down.remove(broker);
        }
        let replicas = self.context.replicas_on_brokers(dead);
        self.on_replicas_become_offline(replicas).await?;
        for broker in dead {
            self.exchange
                .unregister_data_handler(&paths::broker(*broker));
        }
        Ok(())
    }

    /// Finds new leaders for what these replicas led, and takes them out of the ISRs.
    pub(super) async fn on_replicas_become_offline(
        &mut self,
        replicas: Vec<PartitionAndReplica>,
    ) -> Result<(), Failure> {
        let (deleting, others): (Vec<_>, Vec<_>) = replicas.into_iter().partition(|replica| {
            self.context
                .is_queued_for_deletion(&replica.partition.topic)
        });
        let leaderless = self.context.partitions_with_offline_leader();
        self.move_partitions(&leaderless, PartitionState::Offline);
        let elections = self.trigger_online_partitions().await?;
        let nothing_offline = others.is_empty();
        self.move_replicas(others, ReplicaState::Offline).await?;
        if !deleting.is_empty() {
            // Were they left in DeletionStarted, the deletion would never be tried again.
            self.fail_replica_deletion(deleting).await?;
        }
        if nothing_offline && elections.values().all(Result::is_err) {
            self.send_update_metadata_to_all([]);
        }
        Ok(())
    }

    pub(super) async fn process_broker_modification(
        &mut self,
        id: BrokerId,
    ) -> Result<(), Failure> {
        let new = self.exchange.broker(id).await?;
        let (Some(new), Some(old)) = (new, self.context.registered_broker(id)) else {
            return Ok(());
        };
        // As in Kafka a change of the rack alone is not noticed.
        if new.endpoints != old.endpoints || new.features != old.features {
            tracing::info!(broker = %id, "broker has changed");
            let epoch = old.epoch;
            self.context
                .add_brokers([RegisteredBroker { epoch, ..new }]);
            self.send_update_metadata_to_all([]);
        }
        Ok(())
    }

    pub(super) async fn watch_brokers(&self, brokers: &BTreeSet<BrokerId>) -> Result<(), Failure> {
        for id in brokers {
            let path = paths::broker(*id);
            self.exchange
                .register_data_handler(path.clone(), DataHandler::Broker(*id));
            self.exchange.is_there(&path).await?;
        }
        Ok(())
    }
}

fn ids(brokers: &[RegisteredBroker]) -> BTreeSet<BrokerId> {
    brokers.iter().map(|broker| broker.id).collect()
}
