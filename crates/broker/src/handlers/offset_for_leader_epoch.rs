//! OffsetForLeaderEpoch (key 23, versions 0–4): where a leader epoch ends (KIP-101, KIP-320).

use kafka_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
use ottla_model::{LeaderEpoch, TopicName, TopicPartition};
use ottla_network::RequestContext;

use super::wire;
use crate::broker::Broker;

/// Answers the request; only leaders know.
pub(crate) fn handle(
    broker: &Broker,
    context: &RequestContext,
    request: &OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let version = context.header.api_version;
    let topics = request.topics.iter().map(|topic| {
        let name = wire::topic_name(&topic.topic);
        OffsetForLeaderTopicResult::default()
            .with_topic(topic.topic.clone())
            .with_partitions(
                topic
                    .partitions
                    .iter()
                    .map(|partition| answer(broker, version, &name, partition))
                    .collect(),
            )
    });
    OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
}

fn answer(
    broker: &Broker,
    version: i16,
    topic: &TopicName,
    asked: &OffsetForLeaderPartition,
) -> EpochEndOffset {
    let tp = TopicPartition {
        topic: topic.clone(),
        partition: asked.partition,
    };
    let claimed =
        (asked.current_leader_epoch != -1).then_some(LeaderEpoch(asked.current_leader_epoch));
    let mut response = EpochEndOffset::default()
        .with_partition(asked.partition)
        .with_leader_epoch(-1)
        .with_end_offset(-1);
    match broker
        .replica_manager
        .end_of_leader_epoch(&tp, claimed, LeaderEpoch(asked.leader_epoch))
    {
        Ok(end) => {
            // Version 0 has no field for the epoch.
            response.leader_epoch = if version == 0 { -1 } else { end.leader_epoch.0 };
            response.end_offset = end.end_offset;
        }
        Err(error) => response.error_code = error.code(),
    }
    response
}
