//! Collects what brokers are to be told and sends it as LeaderAndIsr, UpdateMetadata, StopReplica,
//! in this order. Source: `ControllerBrokerRequestBatch` in `ControllerChannelManager.scala`.
//!
//! A batch is a value of one step: unlike Kafka's it cannot be found non-empty by the next step,
//! and sending cannot fail, so the illegal states on which Kafka's controller resigns cannot be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ottla_model::control::{
    ControlHeader, ControlRequest, LeaderAndIsrPartition, LeaderAndIsrRequest,
    StopReplicaPartition, StopReplicaRequest, UpdateMetadataPartition, UpdateMetadataRequest,
};
use ottla_model::{
    BrokerId, LeaderAndIsr, LeaderEpoch, LeaderRecoveryState, LiveBroker, PartitionEpoch,
    ReplicaAssignment, TopicId, TopicName, TopicPartition,
};

use crate::config::ControllerConfig;
use crate::context::Context;
use crate::event::Action;
use crate::exchange::Exchange;
use crate::topic_map::TopicMap;

/// See the module.
#[derive(Default)]
pub(crate) struct RequestBatch {
    leader_and_isr: BTreeMap<BrokerId, TopicMap<i32, LeaderAndIsrPartition>>,
    update_metadata_brokers: BTreeSet<BrokerId>,
    update_metadata_partitions: TopicMap<i32, UpdateMetadataPartition>,
    stop_replica: BTreeMap<BrokerId, TopicMap<i32, StopReplicaPartition>>,
}

impl RequestBatch {
    /// Adds the partition for these brokers, and its metadata for all registered brokers. A
    /// partition that is added twice keeps the later state, but stays new.
    pub(crate) fn add_leader_and_isr(
        &mut self,
        context: &Context,
        brokers: &[BrokerId],
        partition: &TopicPartition,
        state: &LeaderAndIsr,
        assignment: &ReplicaAssignment,
        is_new: bool,
    ) {
        for broker in brokers.iter().filter_map(|broker| broker.some()) {
            let added = LeaderAndIsrPartition {
                topic_partition: partition.clone(),
                state: state.clone(),
                assignment: assignment.clone(),
                is_new,
            };
            let partitions = self.leader_and_isr.entry(broker).or_default();
            let TopicPartition { topic, partition } = partition;
            partitions.entry(topic, *partition, added, |added, before| {
                let is_new = added.is_new || before.is_new;
                *before = LeaderAndIsrPartition { is_new, ..added };
                None::<()>
            });
        }
        self.update_metadata_brokers.extend(context.broker_ids());
        self.add_partition_metadata(context, partition);
    }

    /// Adds the brokers as receivers of all metadata of this batch, and the partitions to it.
    /// Partitions without a known leadership are left out.
    pub(crate) fn add_update_metadata<'a>(
        &mut self,
        context: &Context,
        brokers: impl IntoIterator<Item = BrokerId>,
        partitions: impl IntoIterator<Item = &'a TopicPartition>,
    ) {
        self.update_metadata_brokers.extend(brokers);
        for partition in partitions {
            self.add_partition_metadata(context, partition);
        }
    }

    fn add_partition_metadata(&mut self, context: &Context, partition: &TopicPartition) {
        let Some(leadership) = context.leadership(partition) else {
            tracing::debug!(%partition, "leader not yet assigned, metadata is not sent");
            return;
        };
        let TopicPartition {
            topic,
            partition: index,
        } = partition;
        let before = self.update_metadata_partitions.get(topic, index);
        // As it is added for each of its replicas. What else it tells is the same throughout a
        // batch: which brokers are there, what is being deleted.
        let is_same = before.is_some_and(|before| {
            before.state == *leadership && before.replicas == context.replicas(partition)
        });
        if !is_same {
            let added = partition_metadata(context, partition, leadership);
            self.update_metadata_partitions.insert(topic, *index, added);
        }
    }

    /// Adds the partition for a broker. One that is to be deleted stays so.
    pub(crate) fn add_stop_replica(
        &mut self,
        context: &Context,
        broker: BrokerId,
        partition: &TopicPartition,
        delete: bool,
    ) {
        let Some(broker) = broker.some() else { return };
        let added = StopReplicaPartition {
            topic_partition: partition.clone(),
            leader_epoch: context.leader_epoch(partition),
            delete,
        };
        let partitions = self.stop_replica.entry(broker).or_default();
        let TopicPartition { topic, partition } = partition;
        partitions.entry(topic, *partition, added, |added, before| {
            let delete = added.delete || before.delete;
            *before = StopReplicaPartition { delete, ..added };
            None::<()>
        });
    }

    /// Sends what was added to the brokers that are registered.
    pub(crate) fn send(self, config: &ControllerConfig, context: &Context, exchange: &Exchange) {
        let sender = Sender {
            config,
            context,
            exchange,
        };
        for (broker, partitions) in self.leader_and_isr {
            sender.send_leader_and_isr(broker, partitions);
        }
        if !self.update_metadata_brokers.is_empty() {
            sender.send_update_metadata(
                &self.update_metadata_brokers,
                self.update_metadata_partitions,
            );
        }
        for (broker, partitions) in self.stop_replica {
            sender.send_stop_replica(broker, partitions);
        }
    }
}

fn partition_metadata(
    context: &Context,
    partition: &TopicPartition,
    leadership: &LeaderAndIsr,
) -> UpdateMetadataPartition {
    let state = if context.is_queued_for_deletion(&partition.topic) {
        during_delete(leadership)
    } else {
        leadership.clone()
    };
    let replicas = context.replicas(partition).to_vec();
    let offline = replicas
        .iter()
        .filter(|id| !context.is_replica_online(**id, partition));
    UpdateMetadataPartition {
        topic_partition: partition.clone(),
        state,
        offline_replicas: offline.copied().collect(),
        replicas,
    }
}

/// What brokers are told while the topic is being deleted (`LeaderAndIsr.duringDelete`): only the
/// leader is a sentinel, the epochs start anew.
fn during_delete(leadership: &LeaderAndIsr) -> LeaderAndIsr {
    LeaderAndIsr {
        leader: BrokerId::LEADER_DURING_DELETE,
        leader_epoch: LeaderEpoch::INITIAL,
        isr: leadership.isr.clone(),
        recovery: LeaderRecoveryState::Recovered,
        partition_epoch: PartitionEpoch::INITIAL,
        controller_epoch: leadership.controller_epoch,
    }
}

struct Sender<'a> {
    config: &'a ControllerConfig,
    context: &'a Context,
    exchange: &'a Exchange,
}

impl Sender<'_> {
    /// `None` for a broker that is not registered: it is told nothing.
    fn header(&self, broker: BrokerId) -> Option<ControlHeader> {
        Some(ControlHeader {
            controller_id: self.config.broker_id(),
            controller_epoch: self.context.controller_epoch(),
            broker_epoch: self.context.broker_epoch(broker)?,
        })
    }

    fn send_leader_and_isr(
        &self,
        broker: BrokerId,
        partitions: TopicMap<i32, LeaderAndIsrPartition>,
    ) {
        let Some(header) = self.header(broker) else {
            return;
        };
        let leaders: BTreeSet<BrokerId> = partitions.values().map(|p| p.state.leader).collect();
        let live_leaders = self
            .context
            .registered()
            .filter(|b| leaders.contains(&b.id));
        let request = LeaderAndIsrRequest {
            header,
            topic_ids: self.topic_ids(partitions.topics()),
            live_leaders: live_leaders.map(|broker| broker.to_live_broker()).collect(),
            partitions: partitions.into_values().collect(),
        };
        self.send(broker, ControlRequest::LeaderAndIsr(request));
    }

    fn send_update_metadata(
        &self,
        brokers: &BTreeSet<BrokerId>,
        partitions: TopicMap<i32, UpdateMetadataPartition>,
    ) {
        let topic_ids = self.topic_ids(partitions.topics());
        let partitions: Vec<_> = partitions.into_values().collect();
        let live_brokers: Vec<LiveBroker> = self
            .context
            .registered()
            .map(|broker| broker.to_live_broker())
            .collect();
        for broker in brokers {
            let Some(header) = self.header(*broker) else {
                continue;
            };
            let request = UpdateMetadataRequest {
                header,
                partitions: partitions.clone(),
                topic_ids: topic_ids.clone(),
                live_brokers: live_brokers.clone(),
            };
            self.send(*broker, ControlRequest::UpdateMetadata(request));
        }
    }

    fn send_stop_replica(&self, broker: BrokerId, partitions: TopicMap<i32, StopReplicaPartition>) {
        let Some(header) = self.header(broker) else {
            return;
        };
        let send = |partitions: Vec<StopReplicaPartition>| {
            if !partitions.is_empty() {
                let request = StopReplicaRequest { header, partitions };
                self.send(broker, ControlRequest::StopReplica(request));
            }
        };
        let partitions = partitions.into_values();
        if self.config.capabilities.stop_replica_per_partition {
            send(partitions.collect());
        } else {
            let (delete, keep) = partitions.partition(|partition| partition.delete);
            send(delete);
            send(keep);
        }
    }

    fn topic_ids<'a>(
        &self,
        topics: impl Iterator<Item = &'a TopicName>,
    ) -> Vec<(TopicName, TopicId)> {
        topics
            .map(|topic| {
                (
                    topic.clone(),
                    self.context.topic_id(topic).unwrap_or(TopicId::ZERO),
                )
            })
            .collect()
    }

    fn send(&self, broker: BrokerId, request: ControlRequest) {
        self.exchange.act(Action::Send {
            broker,
            request: Arc::new(request),
        });
    }
}
