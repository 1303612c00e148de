//! Writes the in-sync replicas of partitions led here into their state znodes, as leaders did
//! before AlterPartition (`ZkAlterPartitionManager`, protocols between brokers older than
//! 2.7-IV2), and notifies the controller.

use std::sync::Arc;

use bytes::Bytes;
use ottla_coordination::payloads::{
    IsrChange as IsrNotification, decode_partition_state, encode_partition_state,
};
use ottla_coordination::{CreateMode, Error, Reply, Request, paths};
use ottla_model::{BrokerId, ErrorCode, LeaderAndIsr, PartitionEpoch, TopicPartition};
use ottla_replication::isr_manager::{IsrAnswer, IsrChange};
use ottla_replication::isr_notifications::{CHECK_INTERVAL, IsrNotifications};

use crate::clock::Clock;
use crate::coordination::CoordinationHandle;
use crate::replica_manager::ReplicaManager;

type Changes = [(TopicPartition, IsrChange)];

/// Writes what leaders propose, and notifies the controller, for as long as it is polled.
pub async fn run(
    own_id: BrokerId,
    replica_manager: Arc<ReplicaManager>,
    coordination: Arc<CoordinationHandle>,
    clock: Clock,
) {
    let mut notifications = IsrNotifications::new(clock.now());
    let mut checks = tokio::time::interval(CHECK_INTERVAL);
    checks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = replica_manager.isr_changes_wait() => {}
            _ = checks.tick() => notify(&mut notifications, &coordination, clock).await,
        }
        while let Some(changes) = replica_manager.next_isr_request() {
            let answers = write(own_id, &coordination, &changes).await;
            match &answers {
                Ok(answers) => {
                    for (partition, _) in answers.iter().filter(|(_, answer)| answer.is_ok()) {
                        notifications.add(clock.now(), partition.clone());
                    }
                }
                Err(error) => tracing::warn!(?error, "in-sync replicas are not written yet"),
            }
            replica_manager.complete_isr_request(&changes, answers);
        }
    }
}

/// Writes all changes, each unless its znode has another version than the leader knows. An error
/// of the session, which may have hit any of them, is one of the whole: all are tried again.
async fn write(
    own_id: BrokerId,
    coordination: &CoordinationHandle,
    changes: &Changes,
) -> Result<Vec<IsrAnswer>, ErrorCode> {
    let states: Vec<LeaderAndIsr> = changes
        .iter()
        .map(|(_, change)| proposed_state(own_id, change))
        .collect();
    let writes = changes
        .iter()
        .zip(&states)
        .map(|((partition, _), state)| Request::SetData {
            path: paths::partition_state(partition),
            data: Some(encode_partition_state(state)),
            version: state.partition_epoch.0,
        });
    let written = coordination.request_all(writes.collect()).await;
    let mut answers = Vec::with_capacity(changes.len());
    for (((partition, _), state), written) in changes.iter().zip(states).zip(written) {
        let version = match written {
            Ok(Reply::Set(stat)) => Some(stat.version),
            Err(Error::BadVersion) => version_if_written(coordination, partition, &state).await?,
            Err(Error::NoNode) => None,
            Ok(_) | Err(_) => return Err(ErrorCode::UnknownServerError),
        };
        let answer = match version {
            Some(version) => Ok(LeaderAndIsr {
                partition_epoch: PartitionEpoch(version),
                ..state
            }),
            None => Err(ErrorCode::InvalidUpdateVersion),
        };
        answers.push((partition.clone(), answer));
    }
    Ok(answers)
}

/// The state that a proposal makes, in the name of the controller that made this broker leader.
fn proposed_state(own_id: BrokerId, change: &IsrChange) -> LeaderAndIsr {
    let proposal = &change.proposal;
    LeaderAndIsr {
        leader: own_id,
        leader_epoch: proposal.leader_epoch,
        isr: proposal.isr.clone(),
        recovery: proposal.recovery,
        partition_epoch: proposal.partition_epoch,
        controller_epoch: change.controller_epoch,
    }
}

/// The version of a state znode that holds just this state: an earlier attempt wrote it, and its
/// answer was lost with the connection.
async fn version_if_written(
    coordination: &CoordinationHandle,
    partition: &TopicPartition,
    state: &LeaderAndIsr,
) -> Result<Option<i32>, ErrorCode> {
    let (data, stat) = match coordination
        .find_data(paths::partition_state(partition), false)
        .await
    {
        Ok(Some((Some(data), stat))) => (data, stat),
        Ok(_) => return Ok(None),
        Err(_) => return Err(ErrorCode::UnknownServerError),
    };
    Ok(holds(&data, state).then_some(stat.version))
}

fn holds(data: &Bytes, state: &LeaderAndIsr) -> bool {
    decode_partition_state(data, state.partition_epoch.0).is_ok_and(|found| found == *state)
}

async fn notify(
    notifications: &mut IsrNotifications,
    coordination: &CoordinationHandle,
    clock: Clock,
) {
    let Some(partitions) = notifications.take_due(clock.now()) else {
        return;
    };
    let news = IsrNotification(partitions);
    let path = paths::isr_change_prefix();
    let mode = CreateMode::PersistentSequential;
    if let Err(error) = coordination.create(&path, Some(news.encode()), mode).await {
        tracing::warn!(%error, "the controller is told of in-sync replicas later");
        for partition in news.0 {
            notifications.add(clock.now(), partition);
        }
    }
}

#[cfg(test)]
mod tests {
    use ottla_model::{ControllerEpoch, LeaderEpoch, LeaderRecoveryState, TopicId};
    use ottla_replication::IsrProposal;

    use super::*;

    #[test]
    fn a_write_whose_answer_was_lost_is_found_again() {
        let change = IsrChange {
            topic_id: TopicId::ZERO,
            proposal: IsrProposal {
                leader_epoch: LeaderEpoch(3),
                partition_epoch: PartitionEpoch(7),
                isr: vec![BrokerId(1), BrokerId(2)],
                recovery: LeaderRecoveryState::Recovered,
            },
            controller_epoch: ControllerEpoch(5),
        };
        let state = proposed_state(BrokerId(1), &change);
        let data = encode_partition_state(&state);
        assert_eq!(
            &data[..],
            br#"{"controller_epoch":5,"leader":1,"version":1,"leader_epoch":3,"isr":[1,2]}"#
        );
        assert!(holds(&data, &state));
        let other = encode_partition_state(&LeaderAndIsr {
            leader: BrokerId(2),
            ..state.clone()
        });
        assert!(!holds(&other, &state));
        assert!(!holds(&Bytes::from_static(b"{"), &state));
    }
}
