//! AlterPartition: leaders change their ISR through the controller (KIP-497).

use std::collections::BTreeMap;

use ottla_model::{
    BrokerEpoch, BrokerId, ErrorCode, LeaderAndIsr, LeaderRecoveryState, TopicId, TopicPartition,
};

use crate::core::Core;
use crate::event::{AlterPartition, AlterPartitionResult, Answer, Token, TopicReference};
use crate::failure::Failure;

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Requester {
    pub(super) broker: BrokerId,
    pub(super) broker_epoch: BrokerEpoch,
    /// Version 2 and above.
    pub(super) knows_ineligible_replica: bool,
}

type Results = BTreeMap<TopicPartition, Result<LeaderAndIsr, ErrorCode>>;

impl Core {
    pub(super) async fn process_alter_partition(
        &mut self,
        token: Token,
        requester: Requester,
        wishes: Vec<AlterPartition>,
    ) -> Result<(), Failure> {
        let answer = |answer| self.exchange.answer(token, Answer::AlterPartition(answer));
        if !self.is_active() {
            answer(Err(ErrorCode::NotController));
            return Ok(());
        }
        let registered = self.context.broker_epoch(requester.broker);
        if registered != Some(requester.broker_epoch) {
            tracing::info!(
                ?requester,
                ?registered,
                "ignoring AlterPartition with a stale broker epoch"
            );
            answer(Err(ErrorCode::StaleBrokerEpoch));
            return Ok(());
        }
        let by_id = wishes
            .iter()
            .any(|wish| matches!(wish.topic, TopicReference::Id(_)));
        let (known, mut unknown) = self.resolve_topics(requester.broker, wishes);
        match self.alter_partitions(requester, known).await {
            Ok(results) => {
                unknown.extend(
                    results
                        .iter()
                        .map(|(partition, result)| AlterPartitionResult {
                            topic: self.reference(partition, by_id),
                            partition: partition.partition,
                            result: result.clone(),
                        }),
                );
                self.exchange
                    .answer(token, Answer::AlterPartition(Ok(unknown)));
                self.complete_reassignments(&results).await
            }
            Err(failure) => {
                tracing::error!(%failure, "error while processing AlterPartition");
                let error = Err(ErrorCode::UnknownServerError);
                self.exchange.answer(token, Answer::AlterPartition(error));
                Ok(())
            }
        }
    }

    /// The wanted states of partitions whose topic is known, and the refusals of the others.
    fn resolve_topics(
        &self,
        leader: BrokerId,
        wishes: Vec<AlterPartition>,
    ) -> (
        BTreeMap<TopicPartition, LeaderAndIsr>,
        Vec<AlterPartitionResult>,
    ) {
        let mut known = BTreeMap::new();
        let mut unknown = Vec::new();
        for wish in wishes {
            let topic = match &wish.topic {
                TopicReference::Name(name) => Some(name.clone()),
                TopicReference::Id(id) => self.context.topic_name(*id).cloned(),
            };
            let Some(topic) = topic else {
                let result = Err(ErrorCode::UnknownTopicId);
                let (topic, partition) = (wish.topic, wish.partition);
                unknown.push(AlterPartitionResult {
                    topic,
                    partition,
                    result,
                });
                continue;
            };
            let state = LeaderAndIsr {
                leader,
                leader_epoch: wish.leader_epoch,
                isr: wish.new_isr,
                recovery: wish.recovery,
                partition_epoch: wish.partition_epoch,
                controller_epoch: self.context.controller_epoch(),
            };
            known.insert(TopicPartition::new(topic, wish.partition), state);
        }
        (known, unknown)
    }

    fn reference(&self, partition: &TopicPartition, by_id: bool) -> TopicReference {
        if by_id {
            let id = self.context.topic_id(&partition.topic);
            TopicReference::Id(id.unwrap_or(TopicId::ZERO))
        } else {
            TopicReference::Name(partition.topic.clone())
        }
    }

    async fn alter_partitions(
        &mut self,
        requester: Requester,
        wanted: BTreeMap<TopicPartition, LeaderAndIsr>,
    ) -> Result<Results, Failure> {
        let partitions: Vec<TopicPartition> = wanted.keys().cloned().collect();
        let mut results = Results::new();
        let mut writes = Vec::new();
        for (partition, wanted) in wanted {
            match self.check_alteration(requester, &partition, &wanted) {
                Verdict::Write => writes.push((partition, wanted)),
                Verdict::Answer(result) => drop(results.insert(partition, result)),
            }
        }
        let epoch = self.context.controller_epoch();
        let asked: BTreeMap<_, _> = writes.iter().cloned().collect();
        let updates = self
            .exchange
            .update_partition_states(self.fence(), epoch, writes)
            .await?;
        let mut written = Vec::new();
        for (partition, outcome) in updates.finished {
            if let Err(error) = &outcome {
                tracing::error!(%partition, %error, "failed to update the ISR");
            } else {
                written.push(partition.clone());
            }
            results.insert(
                partition,
                outcome.map_err(|_| ErrorCode::UnknownServerError),
            );
        }
        self.refresh_leaderships(&written).await?;
        // A write whose answer was lost is sent again and finds itself there. Kafka refuses it, and
        // the leader waits for a state that nobody sends; to answer what is there ends that.
        self.refresh_leaderships(&updates.conflicts).await?;
        for partition in updates.conflicts {
            let current = self.context.leadership(&partition);
            let is_there = current.zip(asked.get(&partition));
            let result = match is_there.filter(|(current, asked)| is_same_state(asked, current)) {
                Some((current, _)) => Ok(current.clone()),
                None => Err(ErrorCode::InvalidUpdateVersion),
            };
            results.insert(partition, result);
        }
        self.send_update_metadata_to_all(&partitions);
        Ok(results)
    }

    /// The first rule that hits. There is no check that the requester is the leader: its matching
    /// epochs are the proof.
    fn check_alteration(
        &self,
        requester: Requester,
        partition: &TopicPartition,
        wanted: &LeaderAndIsr,
    ) -> Verdict {
        let refuse = |error| Verdict::Answer(Err(error));
        let Some(current) = self.context.leadership(partition) else {
            return refuse(ErrorCode::UnknownTopicOrPartition);
        };
        if wanted.partition_epoch > current.partition_epoch
            || wanted.leader_epoch > current.leader_epoch
        {
            // The leader knows more: we may be the stale controller.
            return refuse(ErrorCode::NotController);
        }
        if wanted.leader_epoch < current.leader_epoch {
            return refuse(ErrorCode::FencedLeaderEpoch);
        }
        if is_same_state(wanted, current) {
            return Verdict::Answer(Ok(current.clone()));
        }
        if wanted.partition_epoch < current.partition_epoch {
            return refuse(ErrorCode::InvalidUpdateVersion);
        }
        let recovering = wanted.recovery == LeaderRecoveryState::Recovering;
        if recovering
            && (wanted.isr.len() > 1 || current.recovery == LeaderRecoveryState::Recovered)
        {
            return refuse(ErrorCode::InvalidRequest);
        }
        if !wanted.isr.iter().all(|id| self.context.is_live(*id)) {
            return refuse(if requester.knows_ineligible_replica {
                ErrorCode::IneligibleReplica
            } else {
                ErrorCode::OperationNotAttempted
            });
        }
        Verdict::Write
    }

    async fn complete_reassignments(&mut self, results: &Results) -> Result<(), Failure> {
        for (partition, result) in results {
            if result.is_ok() && self.context.being_reassigned.contains(partition) {
                self.maybe_complete_reassignment(partition).await?;
            }
        }
        Ok(())
    }
}

enum Verdict {
    Answer(Result<LeaderAndIsr, ErrorCode>),
    Write,
}

/// `equalsAllowStalePartitionEpoch`: what is wanted is there already. The order of the ISR counts.
fn is_same_state(wanted: &LeaderAndIsr, current: &LeaderAndIsr) -> bool {
    wanted.leader == current.leader
        && wanted.leader_epoch == current.leader_epoch
        && wanted.isr == current.isr
        && wanted.recovery == current.recovery
        && wanted.partition_epoch <= current.partition_epoch
}
