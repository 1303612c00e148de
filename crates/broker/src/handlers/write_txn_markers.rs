//! WriteTxnMarkers (key 27, versions 0–1): a transaction coordinator, or an operator who aborts a
//! hanging transaction, ends transactions in the partitions of this broker.

use std::collections::BTreeMap;

use kafka_protocol::messages::write_txn_markers_response::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
};
use kafka_protocol::messages::{WriteTxnMarkersRequest, WriteTxnMarkersResponse};
use ottla_coordinator_runtime::TransactionOutcome;
use ottla_model::{LeaderEpoch, ProducerEpoch, ProducerId, TopicName, TopicPartition};
use ottla_transaction_coordinator::Answers;

use super::wire;
use crate::broker::Broker;
use crate::transaction_coordinator::markers::Marker;

/// Writes the markers and answers when all are replicated.
pub(crate) async fn handle(
    broker: &Broker,
    request: WriteTxnMarkersRequest,
) -> WriteTxnMarkersResponse {
    encode(broker.marker_writer.write(&decode(&request)).await)
}

fn decode(request: &WriteTxnMarkersRequest) -> Vec<Marker> {
    let markers = request.markers.iter().map(|marker| {
        let mut partitions = Vec::new();
        for topic in &marker.topics {
            let name = wire::topic_name(&topic.name);
            for &partition in &topic.partition_indexes {
                partitions.push(TopicPartition {
                    topic: name.clone(),
                    partition,
                });
            }
        }
        Marker {
            producer_id: ProducerId(marker.producer_id.0),
            producer_epoch: ProducerEpoch(marker.producer_epoch),
            coordinator_epoch: LeaderEpoch(marker.coordinator_epoch),
            outcome: if marker.transaction_result {
                TransactionOutcome::Commit
            } else {
                TransactionOutcome::Abort
            },
            partitions,
        }
    });
    markers.collect()
}

/// Answers are by producer: markers of one producer are one entry.
fn encode(answers: Answers) -> WriteTxnMarkersResponse {
    type Topics = BTreeMap<TopicName, Vec<WritableTxnMarkerPartitionResult>>;
    let mut producers: BTreeMap<ProducerId, Topics> = BTreeMap::new();
    for ((producer_id, TopicPartition { topic, partition }), error) in answers {
        let result = WritableTxnMarkerPartitionResult::default()
            .with_partition_index(partition)
            .with_error_code(error.code());
        producers
            .entry(producer_id)
            .or_default()
            .entry(topic)
            .or_default()
            .push(result);
    }
    let markers = producers.into_iter().map(|(producer_id, topics)| {
        let topics = topics.into_iter().map(|(topic, partitions)| {
            WritableTxnMarkerTopicResult::default()
                .with_name(wire::name(&topic))
                .with_partitions(partitions)
        });
        WritableTxnMarkerResult::default()
            .with_producer_id(producer_id.0.into())
            .with_topics(topics.collect())
    });
    WriteTxnMarkersResponse::default().with_markers(markers.collect())
}
