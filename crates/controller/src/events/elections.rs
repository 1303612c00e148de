//! Elections by order of an administrator, of a tool through its znode, or of the balance.

use std::collections::{BTreeMap, BTreeSet};

use ottla_coordination::paths;
use ottla_model::{BrokerId, ErrorCode, TopicPartition};

use crate::core::Core;
use crate::election::ElectionStrategy;
use crate::event::{Answer, ApiError, ElectionType, Token};
use crate::failure::Failure;
use crate::partition_state_machine::Elections;
use crate::work::{Work, not_controller_for_each};

/// Who wants an election.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Trigger {
    /// The balance.
    Auto,
    /// `/admin/preferred_replica_election`.
    Znode,
    /// The API.
    AdminClient,
}

/// What callers of ElectLeaders get.
type Results = BTreeMap<TopicPartition, Result<BrokerId, ApiError>>;

impl Core {
    pub(super) async fn process_elect_leaders(
        &mut self,
        token: Token,
        partitions: BTreeSet<TopicPartition>,
        election: ElectionType,
    ) -> Result<(), Failure> {
        let results = if self.is_active() {
            self.elect_on_request(partitions, election, Trigger::AdminClient)
                .await?
        } else {
            not_controller_for_each(partitions)
        };
        self.exchange.answer(token, Answer::ElectLeaders(results));
        Ok(())
    }

    /// The znode was created, or may have been while nobody looked: the read arms the watch.
    pub(super) async fn process_zk_preferred_election(&mut self) -> Result<(), Failure> {
        if !self
            .exchange
            .is_there(paths::PREFERRED_REPLICA_ELECTION)
            .await?
        {
            return Ok(());
        }
        let partitions = self.exchange.ordered_preferred_elections().await?;
        self.elect_on_request(partitions, ElectionType::Preferred, Trigger::Znode)
            .await?;
        Ok(())
    }

    async fn elect_on_request(
        &mut self,
        partitions: BTreeSet<TopicPartition>,
        election: ElectionType,
        trigger: Trigger,
    ) -> Result<Results, Failure> {
        let mut results = Results::new();
        let mut electable = BTreeSet::new();
        for partition in partitions {
            match self.check_election(&partition, election) {
                Ok(()) => drop(electable.insert(partition)),
                Err(error) => drop(results.insert(partition, Err(error))),
            }
        }
        for (partition, result) in self.elect_replicas(electable, election, trigger).await? {
            let result = match result {
                Ok(state) => Ok(state.leader),
                Err(failure) => Err(election_error(&failure, election)),
            };
            results.insert(partition, result);
        }
        Ok(results)
    }

    fn check_election(
        &self,
        partition: &TopicPartition,
        election: ElectionType,
    ) -> Result<(), ApiError> {
        if !self.context.contains_partition(partition) {
            let message = "The partition does not exist.";
            return Err(ApiError::with(ErrorCode::UnknownTopicOrPartition, message));
        }
        if self.context.is_queued_for_deletion(&partition.topic) {
            let message = "The topic is being deleted";
            return Err(ApiError::with(ErrorCode::InvalidTopicException, message));
        }
        let leader = self.context.leader(partition);
        let needed = match election {
            ElectionType::Preferred => self.context.replicas(partition).first() != Some(&leader),
            ElectionType::Unclean => !self.context.is_live(leader),
        };
        if needed {
            Ok(())
        } else {
            Err(ApiError::of(ErrorCode::ElectionNotNeeded))
        }
    }

    /// `onReplicaElection`. An order by znode is taken back afterwards, whatever came of it.
    pub(super) async fn elect_replicas(
        &mut self,
        partitions: BTreeSet<TopicPartition>,
        election: ElectionType,
        trigger: Trigger,
    ) -> Result<Elections, Failure> {
        // Unclean only if an administrator says so through the API.
        let strategy = match election {
            ElectionType::Preferred => ElectionStrategy::Preferred,
            ElectionType::Unclean => ElectionStrategy::Offline {
                allow_unclean: trigger == Trigger::AdminClient,
            },
        };
        let partitions: Vec<_> = partitions.into_iter().collect();
        let elections = self.move_partitions_online(&partitions, strategy).await;
        if trigger == Trigger::Znode {
            self.exchange
                .delete_preferred_election_order(self.fence())
                .await?;
            // The watch must be armed on the absent znode.
            self.exchange.put(Work::ZkPreferredReplicaElection);
        }
        elections
    }

    pub(super) async fn process_auto_rebalance(&mut self) -> Result<(), Failure> {
        let outcome = self.rebalance_leaders().await;
        let now = self.exchange.now().monotonic;
        let deadline = now + self.config.leader_imbalance_check_interval;
        self.exchange
            .set_deadline(Some(deadline).filter(|_| self.is_active()));
        outcome
    }

    async fn rebalance_leaders(&mut self) -> Result<(), Failure> {
        let mut by_preferred: BTreeMap<BrokerId, Vec<TopicPartition>> = BTreeMap::new();
        for partition in self.context.all_partitions() {
            if self.context.is_queued_for_deletion(&partition.topic) {
                continue;
            }
            if let Some(preferred) = self.context.replicas(&partition).first() {
                by_preferred.entry(*preferred).or_default().push(partition);
            }
        }
        let allowed = f64::from(self.config.leader_imbalance_per_broker_percentage) / 100.0;
        for (broker, partitions) in by_preferred {
            let total = partitions.len();
            let mut elsewhere = partitions;
            elsewhere.retain(|partition| {
                self.context
                    .leadership(partition)
                    .is_some_and(|state| state.leader != broker)
            });
            #[allow(
                clippy::cast_precision_loss,
                reason = "a ratio of counts far below 2^52"
            )]
            let ratio = elsewhere.len() as f64 / total as f64;
            if ratio > allowed {
                elsewhere.retain(|partition| self.can_preferred_lead(partition, broker));
                let candidates = elsewhere.into_iter().collect();
                self.elect_replicas(candidates, ElectionType::Preferred, Trigger::Auto)
                    .await?;
            }
        }
        Ok(())
    }

    fn can_preferred_lead(&self, partition: &TopicPartition, preferred: BrokerId) -> bool {
        self.context.all_topics.contains(&partition.topic)
            && !self.context.is_queued_for_deletion(&partition.topic)
            && self.context.is_replica_online(preferred, partition)
            && self
                .context
                .leadership(partition)
                .is_some_and(|state| state.isr.contains(&preferred))
    }
}

fn election_error(failure: &Failure, election: ElectionType) -> ApiError {
    match failure {
        Failure::StateChangeFailed(message) => {
            let error = match election {
                ElectionType::Preferred => ErrorCode::PreferredLeaderNotAvailable,
                ElectionType::Unclean => ErrorCode::EligibleLeadersNotAvailable,
            };
            ApiError::with(error, message.as_str())
        }
        Failure::ControllerMoved
        | Failure::Coordination(_)
        | Failure::IllegalState(_)
        | Failure::Malformed(_) => ApiError::of(ErrorCode::UnknownServerError),
    }
}
