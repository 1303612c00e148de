//! Sends ISR changes to the controller (`AlterPartitionManager`): one request at a time for the
//! whole broker, holding everything that waits.

use std::collections::BTreeMap;
use std::time::Duration;

use ottla_model::{ControllerEpoch, ErrorCode, Instant, LeaderAndIsr, TopicId, TopicPartition};

use crate::isr::IsrProposal;

/// How long to wait after an error that is about the whole request.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// A change that waits for the controller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IsrChange {
    /// Its topic's id; zero if it has none. If any change of a request has none, the request must
    /// not go out as version 2 or above, which name topics by id.
    pub topic_id: TopicId,
    /// What is proposed.
    pub proposal: IsrProposal,
    /// The controller that made this broker leader.
    pub controller_epoch: ControllerEpoch,
}

/// See the module. The driver submits, sends what [`next_request`](Self::next_request) gives, and
/// brings the answer; it never times a request out.
#[derive(Debug, Default)]
pub struct IsrManager {
    unsent: BTreeMap<TopicPartition, IsrChange>,
    in_flight: bool,
    not_before: Option<Instant>,
}

/// The answer for one partition.
pub type IsrAnswer = (TopicPartition, Result<LeaderAndIsr, ErrorCode>);

impl IsrManager {
    /// Queues a change. Fails with OPERATION_NOT_ATTEMPTED while another one of the same partition
    /// waits, which happens when a new leadership proposes before the old proposal is answered.
    pub fn submit(
        &mut self,
        partition: TopicPartition,
        change: IsrChange,
    ) -> Result<(), ErrorCode> {
        if self.unsent.contains_key(&partition) {
            return Err(ErrorCode::OperationNotAttempted);
        }
        self.unsent.insert(partition, change);
        Ok(())
    }

    /// All waiting changes, if they may be sent now. They stay queued until they are answered.
    pub fn next_request(&mut self, now: Instant) -> Option<Vec<(TopicPartition, IsrChange)>> {
        let may_send = !self.in_flight && self.not_before.is_none_or(|moment| moment <= now);
        if self.unsent.is_empty() || !may_send {
            return None;
        }
        self.in_flight = true;
        self.not_before = None;
        Some(
            self.unsent
                .iter()
                .map(|(tp, change)| (tp.clone(), change.clone()))
                .collect(),
        )
    }

    /// When [`next_request`](Self::next_request) is worth asking again without an event.
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.in_flight || self.unsent.is_empty() {
            None
        } else {
            self.not_before
        }
    }

    /// Takes the answer to the request in flight: an error of the whole (retried soon), or the
    /// partitions' answers. Gives back the changes that are answered, for
    /// [`complete_isr_change`](crate::Partition::complete_isr_change); a partition that the answer
    /// leaves out stays queued.
    pub fn handle_response(
        &mut self,
        now: Instant,
        sent: &[(TopicPartition, IsrChange)],
        response: Result<Vec<IsrAnswer>, ErrorCode>,
    ) -> Vec<(TopicPartition, IsrChange, Result<LeaderAndIsr, ErrorCode>)> {
        self.in_flight = false;
        let answers = match response {
            Ok(answers) => answers,
            Err(_) => {
                self.not_before = Some(now + RETRY_AFTER);
                return Vec::new();
            }
        };
        let was_sent = |tp: &TopicPartition| sent.iter().any(|(sent, _)| sent == tp);
        answers
            .into_iter()
            .filter(|(tp, _)| was_sent(tp))
            .filter_map(|(tp, answer)| self.unsent.remove(&tp).map(|change| (tp, change, answer)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ottla_model::{BrokerId, LeaderEpoch, LeaderRecoveryState, PartitionEpoch};

    fn tp(partition: i32) -> TopicPartition {
        TopicPartition::new("t", partition)
    }

    fn change() -> IsrChange {
        IsrChange {
            topic_id: TopicId([1; 16]),
            proposal: IsrProposal {
                leader_epoch: LeaderEpoch(1),
                partition_epoch: PartitionEpoch(1),
                isr: vec![BrokerId(1)],
                recovery: LeaderRecoveryState::Recovered,
            },
            controller_epoch: ControllerEpoch(1),
        }
    }

    fn partitions(request: &[(TopicPartition, IsrChange)]) -> Vec<i32> {
        request.iter().map(|(tp, _)| tp.partition).collect()
    }

    #[test]
    fn one_request_is_in_flight_and_the_next_holds_all_that_waits() {
        let now = Instant::ZERO;
        let mut manager = IsrManager::default();
        assert_eq!(manager.next_request(now), None);
        manager.submit(tp(0), change()).unwrap();
        let first = manager.next_request(now).unwrap();
        manager.submit(tp(1), change()).unwrap();
        manager.submit(tp(2), change()).unwrap();
        assert_eq!(
            manager.submit(tp(0), change()),
            Err(ErrorCode::OperationNotAttempted)
        );
        assert_eq!(manager.next_request(now), None);
        let done = manager.handle_response(
            now,
            &first,
            Ok(vec![(tp(0), Err(ErrorCode::InvalidRequest))]),
        );
        assert_eq!(done.len(), 1);
        assert_eq!(partitions(&manager.next_request(now).unwrap()), [1, 2]);
    }

    #[test]
    fn errors_of_the_whole_are_retried_after_50_ms() {
        let mut manager = IsrManager::default();
        manager.submit(tp(0), change()).unwrap();
        let sent = manager.next_request(Instant::ZERO).unwrap();
        let done = manager.handle_response(Instant::ZERO, &sent, Err(ErrorCode::StaleBrokerEpoch));
        assert!(done.is_empty());
        assert_eq!(manager.next_request(Instant::from_millis(49)), None);
        assert_eq!(manager.next_deadline(), Some(Instant::from_millis(50)));
        assert!(manager.next_request(Instant::from_millis(50)).is_some());
    }

    #[test]
    fn partitions_without_an_answer_stay_queued_and_strange_answers_are_ignored() {
        let mut manager = IsrManager::default();
        manager.submit(tp(0), change()).unwrap();
        let sent = manager.next_request(Instant::ZERO).unwrap();
        manager.submit(tp(1), change()).unwrap();
        let stray = vec![(tp(1), Err(ErrorCode::InvalidRequest))];
        assert!(
            manager
                .handle_response(Instant::ZERO, &sent, Ok(stray))
                .is_empty()
        );
        assert_eq!(
            partitions(&manager.next_request(Instant::ZERO).unwrap()),
            [0, 1]
        );
    }
}
