//! Tells the controller which in-sync replicas leaders here propose (`AlterPartitionManager`).

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::messages;
use kafka_protocol::messages::alter_partition_request::{BrokerState, PartitionData, TopicData};
use kafka_protocol::messages::{AlterPartitionRequest, AlterPartitionResponse};
use ottla_client::ClientError;
use ottla_controller::event::{AlterPartition, TopicReference};
use ottla_controller::{Answer, ApiRequest};
use ottla_model::{
    BrokerId, ControllerEpoch, ErrorCode, LeaderAndIsr, LeaderEpoch, LeaderRecoveryState,
    PartitionEpoch, TopicId, TopicName, TopicPartition,
};
use ottla_replication::isr_manager::{IsrAnswer, IsrChange};

use super::to_controller::{Active, Attempt, Remote, ToController};
use crate::handlers::wire;
use crate::replica_manager::ReplicaManager;

/// Topics are named by id from here on.
const FIRST_WITH_TOPIC_IDS: i16 = 2;
const FIRST_WITH_RECOVERY_STATE: i16 = 1;
/// Members come with their epochs, which a ZooKeeper cluster does not know.
const FIRST_WITH_BROKER_EPOCHS: i16 = 3;
const UNKNOWN_BROKER_EPOCH: i64 = -1;

type Changes = [(TopicPartition, IsrChange)];
type Answers = Result<Vec<IsrAnswer>, ErrorCode>;

/// Sends what leaders propose, one request at a time, for as long as it is polled.
pub async fn run(replica_manager: Arc<ReplicaManager>, controller: Arc<ToController>) {
    loop {
        replica_manager.isr_changes_wait().await;
        while let Some(changes) = replica_manager.next_isr_request() {
            let answers = controller
                .until_answered(async |active| ask(&controller, active, &changes).await)
                .await;
            if let Err(error) = answers {
                tracing::warn!(?error, "the controller refused all in-sync replicas");
            }
            replica_manager.complete_isr_request(&changes, answers);
        }
    }
}

async fn ask(
    way: &ToController,
    active: Active,
    changes: &Changes,
) -> Result<Attempt<Answers>, ClientError> {
    let answers = match active {
        Active::Here => ask_here(way, changes).await,
        Active::There(remote) => ask_there(way, &remote, changes).await?,
    };
    Ok(match answers {
        Err(ErrorCode::NotController) => Attempt::LookAgain,
        answers => Attempt::Answered(answers),
    })
}

async fn ask_here(way: &ToController, changes: &Changes) -> Answers {
    let by_id = all_have_ids(changes);
    let wish = |(tp, change): &(TopicPartition, IsrChange)| AlterPartition {
        topic: match by_id {
            true => TopicReference::Id(change.topic_id),
            false => TopicReference::Name(tp.topic.clone()),
        },
        partition: tp.partition,
        leader_epoch: change.proposal.leader_epoch,
        new_isr: change.proposal.isr.clone(),
        recovery: change.proposal.recovery,
        partition_epoch: change.proposal.partition_epoch,
    };
    let asked = ApiRequest::AlterPartition {
        broker: way.own_id(),
        broker_epoch: way.broker_epoch(),
        knows_ineligible_replica: by_id,
        partitions: changes.iter().map(wish).collect(),
    };
    let names = names(changes);
    match way.ask_here(asked).await {
        Answer::AlterPartition(Ok(results)) => Ok(results
            .into_iter()
            .filter_map(|answer| {
                let topic = match answer.topic {
                    TopicReference::Name(name) => name,
                    TopicReference::Id(id) => names.get(&id)?.clone(),
                };
                Some((TopicPartition::new(topic, answer.partition), answer.result))
            })
            .collect()),
        Answer::AlterPartition(Err(error)) => Err(error),
        // Pre-empted, or this broker shuts down.
        _ => Err(ErrorCode::NotController),
    }
}

async fn ask_there(
    way: &ToController,
    remote: &Remote,
    changes: &Changes,
) -> Result<Answers, ClientError> {
    let mut version = remote.version::<AlterPartitionRequest>()?;
    if !all_have_ids(changes) {
        version = version.min(FIRST_WITH_TOPIC_IDS - 1);
    }
    let request = encode(way, version, changes);
    let response = remote.send(&request, version).await?;
    Ok(decode(version, changes, &response))
}

fn encode(way: &ToController, version: i16, changes: &Changes) -> AlterPartitionRequest {
    let mut topics: Vec<(TopicName, TopicData)> = Vec::new();
    for (tp, change) in changes {
        let partition = partition_data(version, tp.partition, change);
        match topics.last_mut().filter(|(name, _)| *name == tp.topic) {
            Some((_, topic)) => topic.partitions.push(partition),
            None => {
                let topic = TopicData::default().with_partitions(vec![partition]);
                let topic = match version >= FIRST_WITH_TOPIC_IDS {
                    true => topic.with_topic_id(wire::uuid(change.topic_id)),
                    false => topic.with_topic_name(wire::name(&tp.topic)),
                };
                topics.push((tp.topic.clone(), topic));
            }
        }
    }
    AlterPartitionRequest::default()
        .with_broker_id(messages::BrokerId(way.own_id().0))
        .with_broker_epoch(way.broker_epoch().0)
        .with_topics(topics.into_iter().map(|(_, topic)| topic).collect())
}

fn partition_data(version: i16, index: i32, change: &IsrChange) -> PartitionData {
    let proposal = &change.proposal;
    let mut data = PartitionData::default()
        .with_partition_index(index)
        .with_leader_epoch(proposal.leader_epoch.0)
        .with_partition_epoch(proposal.partition_epoch.0);
    if version >= FIRST_WITH_RECOVERY_STATE {
        data = data.with_leader_recovery_state(proposal.recovery.code());
    }
    if version >= FIRST_WITH_BROKER_EPOCHS {
        let member = |id: &BrokerId| {
            BrokerState::default()
                .with_broker_id(messages::BrokerId(id.0))
                .with_broker_epoch(UNKNOWN_BROKER_EPOCH)
        };
        data.with_new_isr_with_epochs(proposal.isr.iter().map(member).collect())
    } else {
        let isr = proposal.isr.iter().map(|id| messages::BrokerId(id.0));
        data.with_new_isr(isr.collect())
    }
}

fn decode(version: i16, changes: &Changes, response: &AlterPartitionResponse) -> Answers {
    match ErrorCode::from_code(response.error_code) {
        ErrorCode::None => {}
        error => return Err(error),
    }
    let names = names(changes);
    let mut answers = Vec::new();
    for topic in &response.topics {
        let name = match version >= FIRST_WITH_TOPIC_IDS {
            true => names.get(&wire::topic_id(topic.topic_id)).cloned(),
            false => Some(wire::topic_name(&topic.topic_name)),
        };
        let Some(name) = name else {
            continue;
        };
        for partition in &topic.partitions {
            let result = match ErrorCode::from_code(partition.error_code) {
                ErrorCode::None => Ok(LeaderAndIsr {
                    leader: BrokerId(partition.leader_id.0),
                    leader_epoch: LeaderEpoch(partition.leader_epoch),
                    isr: partition.isr.iter().map(|id| BrokerId(id.0)).collect(),
                    recovery: LeaderRecoveryState::from_code(partition.leader_recovery_state)
                        .unwrap_or(LeaderRecoveryState::Recovered),
                    partition_epoch: PartitionEpoch(partition.partition_epoch),
                    // Not told, and not used.
                    controller_epoch: ControllerEpoch(-1),
                }),
                error => Err(error),
            };
            answers.push((
                TopicPartition::new(name.clone(), partition.partition_index),
                result,
            ));
        }
    }
    Ok(answers)
}

fn all_have_ids(changes: &Changes) -> bool {
    changes.iter().all(|(_, change)| !change.topic_id.is_zero())
}

fn names(changes: &Changes) -> BTreeMap<TopicId, TopicName> {
    changes
        .iter()
        .map(|(tp, change)| (change.topic_id, tp.topic.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::alter_partition_response as wire_response;
    use ottla_replication::IsrProposal;

    use super::*;

    fn change(topic: &str, id: u8) -> (TopicPartition, IsrChange) {
        let change = IsrChange {
            topic_id: TopicId([id; 16]),
            proposal: IsrProposal {
                leader_epoch: LeaderEpoch(3),
                partition_epoch: PartitionEpoch(7),
                isr: vec![BrokerId(1), BrokerId(2)],
                recovery: LeaderRecoveryState::Recovered,
            },
            controller_epoch: ControllerEpoch(1),
        };
        (TopicPartition::new(topic, 0), change)
    }

    fn answered(id: u8, error: ErrorCode) -> wire_response::TopicData {
        let partition = wire_response::PartitionData::default()
            .with_error_code(error.code())
            .with_leader_epoch(3)
            .with_isr(vec![messages::BrokerId(1), messages::BrokerId(2)])
            .with_partition_epoch(8);
        wire_response::TopicData::default()
            .with_topic_id(wire::uuid(TopicId([id; 16])))
            .with_partitions(vec![partition])
    }

    #[test]
    fn answers_are_found_by_topic_id_and_strange_topics_left_out() {
        let changes = [change("a", 1), change("b", 2)];
        let response = AlterPartitionResponse::default().with_topics(vec![
            answered(1, ErrorCode::None),
            answered(9, ErrorCode::None),
            answered(2, ErrorCode::InvalidUpdateVersion),
        ]);
        let answers = decode(2, &changes, &response).unwrap();
        assert_eq!(answers.len(), 2);
        let (tp, state) = &answers[0];
        let state = state.as_ref().unwrap();
        assert_eq!(*tp, TopicPartition::new("a", 0));
        assert_eq!(state.isr, [BrokerId(1), BrokerId(2)]);
        assert_eq!(state.partition_epoch, PartitionEpoch(8));
        let refused = (
            TopicPartition::new("b", 0),
            Err(ErrorCode::InvalidUpdateVersion),
        );
        assert_eq!(answers[1], refused);
        let stale = response.with_error_code(ErrorCode::StaleBrokerEpoch.code());
        assert_eq!(
            decode(2, &changes, &stale),
            Err(ErrorCode::StaleBrokerEpoch)
        );
    }

    #[test]
    fn members_are_told_as_the_version_has_them() {
        let (_, change) = change("a", 1);
        let old = partition_data(0, 0, &change);
        assert_eq!((old.new_isr.len(), old.new_isr_with_epochs.len()), (2, 0));
        let new = partition_data(3, 0, &change);
        assert_eq!((new.new_isr.len(), new.new_isr_with_epochs.len()), (0, 2));
        assert_eq!(new.new_isr_with_epochs[0].broker_epoch, -1);
        assert_eq!((new.leader_epoch, new.partition_epoch), (3, 7));
    }
}
