//! StopReplica (key 5, versions 0–4): a controller ends replicas of this broker.

use kafka_protocol::messages::stop_replica_request::StopReplicaRequest as Request;
use kafka_protocol::messages::stop_replica_response::{
    StopReplicaPartitionError, StopReplicaResponse as Response,
};
use ottla_model::control::{ControlHeader, StopReplicaPartition, StopReplicaRequest};
use ottla_model::{BrokerEpoch, BrokerId, ControllerEpoch, LeaderEpoch, TopicPartition};

use super::wire;
use crate::broker::Broker;

/// Carries the command out and answers it.
pub(crate) async fn handle(broker: &Broker, request: Request) -> Response {
    let answer = broker.replica_manager.stop_replicas(decode(&request)).await;
    Response::default()
        .with_error_code(answer.error.code())
        .with_partition_errors(
            answer
                .partitions
                .iter()
                .map(|(tp, error)| {
                    StopReplicaPartitionError::default()
                        .with_topic_name(wire::name(&tp.topic))
                        .with_partition_index(tp.partition)
                        .with_error_code(error.code())
                })
                .collect(),
        )
}

/// The request as the broker understands it. Up to version 2 one flag was for all partitions, and
/// leader epochs were not told.
fn decode(request: &Request) -> StopReplicaRequest {
    let old = |topic_partition| StopReplicaPartition {
        topic_partition,
        leader_epoch: LeaderEpoch::NONE,
        delete: request.delete_partitions,
    };
    let mut partitions = Vec::new();
    for partition in &request.ungrouped_partitions {
        let topic = wire::topic_name(&partition.topic_name);
        partitions.push(old(TopicPartition {
            topic,
            partition: partition.partition_index,
        }));
    }
    for topic in &request.topics {
        let name = wire::topic_name(&topic.name);
        for &partition in &topic.partition_indexes {
            partitions.push(old(TopicPartition {
                topic: name.clone(),
                partition,
            }));
        }
    }
    for topic in &request.topic_states {
        let name = wire::topic_name(&topic.topic_name);
        for state in &topic.partition_states {
            partitions.push(StopReplicaPartition {
                topic_partition: TopicPartition {
                    topic: name.clone(),
                    partition: state.partition_index,
                },
                leader_epoch: LeaderEpoch(state.leader_epoch),
                delete: state.delete_partition,
            });
        }
    }
    StopReplicaRequest {
        header: ControlHeader {
            controller_id: BrokerId(request.controller_id.0),
            controller_epoch: ControllerEpoch(request.controller_epoch),
            broker_epoch: BrokerEpoch(request.broker_epoch),
        },
        partitions,
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::stop_replica_request::{
        StopReplicaPartitionState, StopReplicaPartitionV0, StopReplicaTopicState,
        StopReplicaTopicV1,
    };

    use super::*;

    #[test]
    fn all_three_groupings_are_read() {
        let name = || wire::name(&"t".into());
        let v0 = Request::default()
            .with_delete_partitions(true)
            .with_ungrouped_partitions(vec![
                StopReplicaPartitionV0::default()
                    .with_topic_name(name())
                    .with_partition_index(3),
            ]);
        let v1 = Request::default()
            .with_delete_partitions(true)
            .with_topics(vec![
                StopReplicaTopicV1::default()
                    .with_name(name())
                    .with_partition_indexes(vec![3]),
            ]);
        let v3 = Request::default().with_topic_states(vec![
            StopReplicaTopicState::default()
                .with_topic_name(name())
                .with_partition_states(vec![
                    StopReplicaPartitionState::default()
                        .with_partition_index(3)
                        .with_leader_epoch(-1)
                        .with_delete_partition(true),
                ]),
        ]);
        let expected = [StopReplicaPartition {
            topic_partition: TopicPartition::new("t", 3),
            leader_epoch: LeaderEpoch::NONE,
            delete: true,
        }];
        for request in [v0, v1, v3] {
            assert_eq!(decode(&request).partitions, expected);
        }
    }
}
