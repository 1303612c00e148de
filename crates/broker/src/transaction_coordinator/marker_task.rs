//! The one task that drives the marker sender, and how its requests get to brokers.

use std::sync::{Arc, Weak};

use kafka_protocol::messages::write_txn_markers_request::{
    WritableTxnMarker, WritableTxnMarkerTopic,
};
use kafka_protocol::messages::{WriteTxnMarkersRequest, WriteTxnMarkersResponse};
use ottla_client::ClientError;
use ottla_coordinator_runtime::TransactionOutcome;
use ottla_model::ids::TRANSACTION_STATE_TOPIC;
use ottla_model::{BrokerId, ErrorCode, ProducerId, TopicName, TopicPartition};
use ottla_transaction_coordinator::{
    Answers, MarkerDestination, MarkerSender, SenderAction, SenderEvent, TransactionMarkers,
};
use tokio::sync::mpsc;

use super::TransactionCoordinator;
use super::driver::Pending;
use super::inter_broker::InterBroker;
use super::markers::{Marker, MarkerWriter};
use crate::clock::Clock;
use crate::handlers::wire;
use crate::metadata_cache::{MetadataCache, MetadataSnapshot};

/// How markers get to the leaders of their partitions.
pub(crate) trait MarkerTransport: Send + Sync + 'static {
    /// Who leads a partition now.
    fn destination(&self, partition: &TopicPartition) -> MarkerDestination;

    /// Has markers written by a broker; `None` if it did not answer.
    fn send(&self, broker: BrokerId, markers: Vec<TransactionMarkers>) -> Pending<Option<Answers>>;
}

/// Performs what the sender decides, until the coordinator goes away.
pub(super) async fn run(
    coordinator: Weak<TransactionCoordinator>,
    clock: Clock,
    transport: Arc<dyn MarkerTransport>,
    answered: mpsc::UnboundedSender<SenderEvent>,
    mut events: mpsc::UnboundedReceiver<SenderEvent>,
) {
    let mut sender = MarkerSender::new();
    loop {
        let deadline = sender.next_deadline();
        let event = match deadline {
            None => events.recv().await,
            Some(at) => tokio::select! {
                event = events.recv() => event,
                () = tokio::time::sleep_until(clock.tokio_deadline(at)) => {
                    Some(SenderEvent::DeadlinesDue)
                }
            },
        };
        let Some(event) = event else { return };
        let mut actions = Vec::new();
        let leaders = |partition: &TopicPartition| transport.destination(partition);
        sender.handle(clock.now(), event, leaders, &mut actions);
        for action in actions {
            match action {
                SenderAction::Tell {
                    transaction_partition,
                    event,
                } => {
                    let Some(coordinator) = coordinator.upgrade() else {
                        return;
                    };
                    coordinator.event(transaction_partition, event);
                }
                SenderAction::Send {
                    token,
                    broker,
                    markers,
                } => {
                    let (sending, answered) = (transport.send(broker, markers), answered.clone());
                    tokio::spawn(async move {
                        let answers = sending.await;
                        // Nobody waits for it once the coordinator is gone.
                        let _gone = answered.send(SenderEvent::Answered { token, answers });
                    });
                }
            }
        }
    }
}

/// Markers for this broker's partitions are written here, others go over the inter-broker listener.
pub(crate) struct ClusterMarkers {
    /// This broker.
    pub(crate) own_id: BrokerId,
    /// The cluster.
    pub(crate) metadata_cache: Arc<MetadataCache>,
    /// This broker's partitions.
    pub(crate) writer: Arc<MarkerWriter>,
    /// The others.
    pub(crate) inter_broker: Arc<InterBroker>,
    /// The version of WriteTxnMarkers by `inter.broker.protocol.version`.
    pub(crate) version: i16,
}

impl MarkerTransport for ClusterMarkers {
    fn destination(&self, partition: &TopicPartition) -> MarkerDestination {
        let snapshot = self.metadata_cache.snapshot();
        destination(&snapshot, self.inter_broker.listener(), partition)
    }

    fn send(&self, broker: BrokerId, markers: Vec<TransactionMarkers>) -> Pending<Option<Answers>> {
        if broker == self.own_id {
            let writer = Arc::clone(&self.writer);
            return Box::pin(async move {
                let markers: Vec<Marker> = markers.into_iter().map(marker).collect();
                Some(writer.write(&markers).await)
            });
        }
        let (inter_broker, version) = (Arc::clone(&self.inter_broker), self.version);
        Box::pin(async move {
            let request = encode(&markers);
            match ask(&inter_broker, broker, &request, version).await {
                Ok(response) => Some(decode(&response)),
                Err(error) => {
                    tracing::info!(%broker, %error, "markers were not answered");
                    None
                }
            }
        })
    }
}

/// Who leads a partition. One that is not known was deleted, but only once the controller has
/// described the cluster: at a start this broker may lead the transaction log before that, and a
/// marker that is left out then would leave its transaction open for ever.
fn destination(
    cluster: &MetadataSnapshot,
    listener: &str,
    partition: &TopicPartition,
) -> MarkerDestination {
    let Some(known) = cluster.partition(partition) else {
        return match cluster.topic(TRANSACTION_STATE_TOPIC) {
            Some(_) => MarkerDestination::UnknownPartition,
            None => MarkerDestination::NotAvailable,
        };
    };
    let leader = known.state.leader;
    let broker = cluster.brokers.get(&leader);
    match broker.and_then(|broker| broker.endpoint(listener)) {
        Some(_) => MarkerDestination::Leader(leader),
        None => MarkerDestination::NotAvailable,
    }
}

async fn ask(
    inter_broker: &InterBroker,
    broker: BrokerId,
    request: &WriteTxnMarkersRequest,
    version: i16,
) -> Result<WriteTxnMarkersResponse, ClientError> {
    inter_broker
        .connection(broker)
        .await?
        .send(request, version)
        .await
}

fn marker(
    TransactionMarkers {
        key,
        outcome,
        partitions,
    }: TransactionMarkers,
) -> Marker {
    Marker {
        producer_id: key.producer_id,
        producer_epoch: key.producer_epoch,
        coordinator_epoch: key.coordinator_epoch,
        outcome,
        partitions: partitions.into_iter().collect(),
    }
}

fn encode(markers: &[TransactionMarkers]) -> WriteTxnMarkersRequest {
    let markers = markers.iter().map(
        |TransactionMarkers {
             key,
             outcome,
             partitions,
         }| {
            let mut topics: Vec<(&TopicName, Vec<i32>)> = Vec::new();
            for TopicPartition { topic, partition } in partitions {
                match topics.last_mut() {
                    Some((last, indexes)) if *last == topic => indexes.push(*partition),
                    _ => topics.push((topic, vec![*partition])),
                }
            }
            let topics = topics.into_iter().map(|(topic, indexes)| {
                WritableTxnMarkerTopic::default()
                    .with_name(wire::name(topic))
                    .with_partition_indexes(indexes)
            });
            WritableTxnMarker::default()
                .with_producer_id(key.producer_id.0.into())
                .with_producer_epoch(key.producer_epoch.0)
                .with_coordinator_epoch(key.coordinator_epoch.0)
                .with_transaction_result(*outcome == TransactionOutcome::Commit)
                .with_topics(topics.collect())
        },
    );
    WriteTxnMarkersRequest::default().with_markers(markers.collect())
}

fn decode(response: &WriteTxnMarkersResponse) -> Answers {
    let mut answers = Answers::new();
    for marker in &response.markers {
        for topic in &marker.topics {
            let name = wire::topic_name(&topic.name);
            for result in &topic.partitions {
                let partition = TopicPartition {
                    topic: name.clone(),
                    partition: result.partition_index,
                };
                let error = ErrorCode::from_code(result.error_code);
                answers.insert((ProducerId(marker.producer_id.0), partition), error);
            }
        }
    }
    answers
}

#[cfg(test)]
mod tests {
    use ottla_model::control::{ControlHeader, UpdateMetadataPartition, UpdateMetadataRequest};
    use ottla_model::{
        BrokerEpoch, ControllerEpoch, Endpoint, LeaderAndIsr, LeaderEpoch, LeaderRecoveryState,
        LiveBroker, PartitionEpoch, SecurityProtocol,
    };

    use super::*;

    fn described(partitions: &[(&str, i32)]) -> MetadataCache {
        let cache = MetadataCache::default();
        let partitions = partitions
            .iter()
            .map(|(topic, leader)| UpdateMetadataPartition {
                topic_partition: TopicPartition::new(*topic, 0),
                state: LeaderAndIsr {
                    leader: BrokerId(*leader),
                    leader_epoch: LeaderEpoch(0),
                    isr: vec![BrokerId(1)],
                    recovery: LeaderRecoveryState::Recovered,
                    partition_epoch: PartitionEpoch(0),
                    controller_epoch: ControllerEpoch(1),
                },
                replicas: vec![BrokerId(1)],
                offline_replicas: vec![],
            });
        cache.update(&UpdateMetadataRequest {
            header: ControlHeader {
                controller_id: BrokerId(1),
                controller_epoch: ControllerEpoch(1),
                broker_epoch: BrokerEpoch(1),
            },
            partitions: partitions.collect(),
            topic_ids: vec![],
            live_brokers: vec![LiveBroker {
                id: BrokerId(1),
                epoch: BrokerEpoch(1),
                endpoints: vec![Endpoint {
                    listener: "INSIDE".to_owned(),
                    host: "h".to_owned(),
                    port: 1,
                    protocol: SecurityProtocol::Plaintext,
                }],
                rack: None,
            }],
        });
        cache
    }

    #[test]
    fn a_partition_counts_as_deleted_only_once_the_cluster_is_described() {
        use MarkerDestination::{Leader, NotAvailable, UnknownPartition};
        let check = |partitions: &[(&str, i32)], listener, expected| {
            let cluster = described(partitions).snapshot();
            let found = destination(&cluster, listener, &TopicPartition::new("t", 0));
            assert_eq!(found, expected, "{partitions:?} {listener}");
        };
        let log = (TRANSACTION_STATE_TOPIC, 1);
        check(&[], "INSIDE", NotAvailable);
        check(&[log], "INSIDE", UnknownPartition);
        check(&[log, ("t", 1)], "INSIDE", Leader(BrokerId(1)));
        check(&[log, ("t", 1)], "OUTSIDE", NotAvailable);
        check(&[log, ("t", 2)], "INSIDE", NotAvailable);
        check(&[log, ("t", -1)], "INSIDE", NotAvailable);
    }
}
