//! What the controller knows of the cluster: brokers, topics, assignments, leaderships and states.
//! Touched only by the event in work. Source: `ControllerContext.scala`.

use std::collections::{BTreeMap, BTreeSet};

use ottla_model::{
    BrokerEpoch, BrokerId, ControllerEpoch, Endpoint, LeaderAndIsr, LeaderEpoch, LiveBroker,
    ReplicaAssignment, TopicId, TopicName, TopicPartition,
};

use crate::failure::Failure;
use crate::states::{PartitionAndReplica, PartitionState, ReplicaState};
use crate::topic_map::TopicMap;

/// A registered broker as the controller keeps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct RegisteredBroker {
    pub(crate) id: BrokerId,
    /// The czxid of its registration.
    pub(crate) epoch: BrokerEpoch,
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) rack: Option<String>,
    /// Supported features: name → lowest and highest version.
    pub(crate) features: BTreeMap<String, (i16, i16)>,
}

impl RegisteredBroker {
    pub(crate) fn to_live_broker(&self) -> LiveBroker {
        LiveBroker {
            id: self.id,
            epoch: self.epoch,
            endpoints: self.endpoints.clone(),
            rack: self.rack.clone(),
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Context {
    pub(crate) epoch: i32,
    /// The version of `/controller_epoch` that fences our writes.
    pub(crate) epoch_version: i32,
    pub(crate) shutting_down: BTreeSet<BrokerId>,
    brokers: BTreeMap<BrokerId, RegisteredBroker>,

    pub(crate) all_topics: BTreeSet<TopicName>,
    topic_ids: BTreeMap<TopicName, TopicId>,
    topic_names: BTreeMap<TopicId, TopicName>,
    assignments: BTreeMap<TopicName, BTreeMap<i32, ReplicaAssignment>>,
    leaderships: TopicMap<i32, LeaderAndIsr>,
    pub(crate) being_reassigned: BTreeSet<TopicPartition>,
    partition_states: TopicMap<i32, PartitionState>,
    replica_states: TopicMap<(i32, BrokerId), ReplicaState>,
    pub(crate) offline_dir_replicas: BTreeMap<BrokerId, BTreeSet<TopicPartition>>,

    pub(crate) topics_to_be_deleted: BTreeSet<TopicName>,
    /// Topics whose partitions were moved to NonExistent: they no longer count as offline.
    pub(crate) topics_with_deletion_started: BTreeSet<TopicName>,
    pub(crate) topics_ineligible_for_deletion: BTreeSet<TopicName>,

    pub(crate) offline_partition_count: i64,
    pub(crate) preferred_replica_imbalance_count: i64,
}

// Brokers.
impl Context {
    pub(crate) fn controller_epoch(&self) -> ControllerEpoch {
        ControllerEpoch(self.epoch)
    }

    pub(crate) fn set_brokers(&mut self, brokers: impl IntoIterator<Item = RegisteredBroker>) {
        self.brokers.clear();
        self.add_brokers(brokers);
    }

    pub(crate) fn add_brokers(&mut self, brokers: impl IntoIterator<Item = RegisteredBroker>) {
        self.brokers
            .extend(brokers.into_iter().map(|broker| (broker.id, broker)));
    }

    pub(crate) fn remove_brokers<'a>(&mut self, ids: impl IntoIterator<Item = &'a BrokerId>) {
        for id in ids {
            self.brokers.remove(id);
        }
    }

    /// Registered: live or shutting down.
    pub(crate) fn registered(&self) -> impl Iterator<Item = &RegisteredBroker> {
        self.brokers.values()
    }

    pub(crate) fn registered_ids(&self) -> BTreeSet<BrokerId> {
        self.brokers.keys().copied().collect()
    }

    /// As [`Self::registered_ids`], ascending.
    pub(crate) fn broker_ids(&self) -> impl Iterator<Item = BrokerId> {
        self.brokers.keys().copied()
    }

    pub(crate) fn registered_broker(&self, id: BrokerId) -> Option<&RegisteredBroker> {
        self.brokers.get(&id)
    }

    pub(crate) fn broker_epoch(&self, id: BrokerId) -> Option<BrokerEpoch> {
        self.brokers.get(&id).map(|broker| broker.epoch)
    }

    /// Registered and not shutting down.
    pub(crate) fn is_live(&self, id: BrokerId) -> bool {
        self.brokers.contains_key(&id) && !self.shutting_down.contains(&id)
    }

    pub(crate) fn live_ids(&self) -> BTreeSet<BrokerId> {
        self.brokers
            .keys()
            .copied()
            .filter(|id| !self.shutting_down.contains(id))
            .collect()
    }

    pub(crate) fn is_replica_online(&self, id: BrokerId, partition: &TopicPartition) -> bool {
        self.is_live(id) && !self.is_in_offline_dir(id, partition)
    }

    /// As [`Self::is_replica_online`], but a broker that shuts down counts as well.
    pub(crate) fn is_replica_registered(&self, id: BrokerId, partition: &TopicPartition) -> bool {
        self.brokers.contains_key(&id) && !self.is_in_offline_dir(id, partition)
    }

    fn is_in_offline_dir(&self, id: BrokerId, partition: &TopicPartition) -> bool {
        self.offline_dir_replicas
            .get(&id)
            .is_some_and(|offline| offline.contains(partition))
    }
}

// Topics and assignments.
impl Context {
    /// Fails when the topic is unknown, has another id, or the id belongs to another topic.
    pub(crate) fn add_topic_id(&mut self, topic: &TopicName, id: TopicId) -> Result<(), Failure> {
        if !self.all_topics.contains(topic) {
            return Err(Failure::IllegalState(format!(
                "topic {topic} is not contained in all topics."
            )));
        }
        if let Some(existing) = self
            .topic_ids
            .get(topic)
            .filter(|existing| **existing != id)
        {
            return Err(Failure::IllegalState(format!(
                "topic ID map already contained ID for topic {topic} and new ID {id} did not match existing ID {existing}"
            )));
        }
        if let Some(existing) = self
            .topic_names
            .get(&id)
            .filter(|existing| *existing != topic)
        {
            return Err(Failure::IllegalState(format!(
                "topic name map already contained ID {id} and new name {topic} did not match existing name {existing}"
            )));
        }
        self.topic_ids.insert(topic.clone(), id);
        self.topic_names.insert(id, topic.clone());
        Ok(())
    }

    pub(crate) fn topic_id(&self, topic: &TopicName) -> Option<TopicId> {
        self.topic_ids.get(topic).copied()
    }

    pub(crate) fn topic_name(&self, id: TopicId) -> Option<&TopicName> {
        self.topic_names.get(&id)
    }

    /// All assigned replicas, empty for a partition that is not known.
    pub(crate) fn replicas(&self, partition: &TopicPartition) -> &[BrokerId] {
        self.assignment_ref(partition)
            .map_or(&[], |assignment| &assignment.replicas)
    }

    /// The full assignment, empty for a partition that is not known.
    pub(crate) fn assignment(&self, partition: &TopicPartition) -> ReplicaAssignment {
        self.assignment_ref(partition).cloned().unwrap_or_default()
    }

    pub(crate) fn assignment_ref(&self, partition: &TopicPartition) -> Option<&ReplicaAssignment> {
        self.assignments
            .get(&partition.topic)?
            .get(&partition.partition)
    }

    pub(crate) fn topic_assignment(&self, topic: &TopicName) -> BTreeMap<i32, ReplicaAssignment> {
        self.assignments.get(topic).cloned().unwrap_or_default()
    }

    pub(crate) fn set_assignment(
        &mut self,
        partition: &TopicPartition,
        assignment: ReplicaAssignment,
    ) {
        let before = self.is_imbalanced(partition);
        self.assignments
            .entry(partition.topic.clone())
            .or_default()
            .insert(partition.partition, assignment);
        self.count_imbalance(before, self.is_imbalanced(partition));
    }

    pub(crate) fn contains_partition(&self, partition: &TopicPartition) -> bool {
        self.assignment_ref(partition).is_some()
    }

    pub(crate) fn all_partitions(&self) -> impl Iterator<Item = TopicPartition> {
        self.assignments.iter().flat_map(|(topic, partitions)| {
            partitions
                .keys()
                .map(|partition| TopicPartition::new(topic.clone(), *partition))
        })
    }

    fn all_assignments(&self) -> impl Iterator<Item = (TopicPartition, &ReplicaAssignment)> {
        self.assignments.iter().flat_map(|(topic, partitions)| {
            partitions
                .iter()
                .map(|(index, assignment)| (TopicPartition::new(topic.clone(), *index), assignment))
        })
    }

    pub(crate) fn partitions_of(&self, topic: &TopicName) -> Vec<TopicPartition> {
        let indexes = self
            .assignments
            .get(topic)
            .into_iter()
            .flat_map(BTreeMap::keys);
        indexes
            .map(|index| TopicPartition::new(topic.clone(), *index))
            .collect()
    }

    pub(crate) fn replicas_of_topic(&self, topic: &TopicName) -> Vec<PartitionAndReplica> {
        self.replicas_of_partitions(&self.partitions_of(topic))
    }

    pub(crate) fn replicas_of_partitions<'a>(
        &self,
        partitions: impl IntoIterator<Item = &'a TopicPartition>,
    ) -> Vec<PartitionAndReplica> {
        let mut replicas = Vec::new();
        for partition in partitions {
            let assigned = self.replicas(partition).iter();
            replicas.extend(assigned.map(|id| PartitionAndReplica::new(partition.clone(), *id)));
        }
        replicas
    }

    pub(crate) fn partitions_on_broker(&self, id: BrokerId) -> Vec<TopicPartition> {
        self.all_assignments()
            .filter(|(_, assignment)| assignment.replicas.contains(&id))
            .map(|(partition, _)| partition)
            .collect()
    }

    pub(crate) fn replicas_on_brokers(&self, ids: &BTreeSet<BrokerId>) -> Vec<PartitionAndReplica> {
        let mut replicas = Vec::new();
        for (partition, assignment) in self.all_assignments() {
            for id in assignment.replicas.iter().filter(|id| ids.contains(id)) {
                replicas.push(PartitionAndReplica::new(partition.clone(), *id));
            }
        }
        replicas
    }

    /// All replicas, the online ones first.
    pub(crate) fn online_and_offline_replicas(
        &self,
    ) -> (Vec<PartitionAndReplica>, Vec<PartitionAndReplica>) {
        let mut all = Vec::new();
        for (partition, assignment) in self.all_assignments() {
            let replicas = assignment.replicas.iter();
            all.extend(replicas.map(|id| PartitionAndReplica::new(partition.clone(), *id)));
        }
        all.into_iter()
            .partition(|r| self.is_replica_online(r.replica, &r.partition))
    }
}

// Leadership.
impl Context {
    pub(crate) fn leadership(&self, partition: &TopicPartition) -> Option<&LeaderAndIsr> {
        self.leaderships.get(&partition.topic, &partition.partition)
    }

    /// The leader, [`BrokerId::NONE`] when there is none or nothing is known.
    pub(crate) fn leader(&self, partition: &TopicPartition) -> BrokerId {
        self.leadership(partition)
            .map_or(BrokerId::NONE, |leadership| leadership.leader)
    }

    pub(crate) fn put_leadership(&mut self, partition: &TopicPartition, leadership: LeaderAndIsr) {
        let before = self.is_imbalanced(partition);
        self.leaderships
            .insert(&partition.topic, partition.partition, leadership);
        self.count_imbalance(before, self.is_imbalanced(partition));
    }

    pub(crate) fn clear_leaderships(&mut self) {
        self.leaderships.clear();
    }

    pub(crate) fn leadership_count(&self) -> usize {
        self.leaderships.len()
    }

    /// What StopReplica carries: −2 for a topic that is being deleted, −1 when unknown.
    pub(crate) fn leader_epoch(&self, partition: &TopicPartition) -> LeaderEpoch {
        if self.is_queued_for_deletion(&partition.topic) {
            LeaderEpoch::DURING_DELETE
        } else {
            self.leadership(partition)
                .map_or(LeaderEpoch::NONE, |l| l.leader_epoch)
        }
    }

    /// Partitions with a known leadership, without those of topics that are being deleted.
    pub(crate) fn partitions_with_leaders(&self) -> Vec<TopicPartition> {
        self.led_partitions(|_, _| true)
    }

    /// Partitions whose leadership is so, without those of topics that are being deleted.
    fn led_partitions(
        &self,
        is_wanted: impl Fn(&TopicPartition, &LeaderAndIsr) -> bool,
    ) -> Vec<TopicPartition> {
        self.leaderships
            .iter()
            .filter(|(topic, ..)| !self.is_queued_for_deletion(topic))
            .map(|(topic, index, leadership)| {
                (TopicPartition::new(topic.clone(), *index), leadership)
            })
            .filter(|(partition, leadership)| is_wanted(partition, leadership))
            .map(|(partition, _)| partition)
            .collect()
    }

    pub(crate) fn partitions_with_offline_leader(&self) -> Vec<TopicPartition> {
        self.led_partitions(|partition, leadership| {
            !self.is_replica_online(leadership.leader, partition)
        })
    }

    /// Partitions with more than one replica that this broker leads.
    pub(crate) fn partitions_led_by(&self, id: BrokerId) -> Vec<TopicPartition> {
        self.led_partitions(|partition, leadership| {
            leadership.leader == id && self.replicas(partition).len() > 1
        })
    }
}

// Deletion.
impl Context {
    pub(crate) fn is_queued_for_deletion(&self, topic: &TopicName) -> bool {
        self.topics_to_be_deleted.contains(topic)
    }

    pub(crate) fn is_deletion_started(&self, topic: &TopicName) -> bool {
        self.topics_with_deletion_started.contains(topic)
    }

    pub(crate) fn queue_topic_deletion(&mut self, topics: &BTreeSet<TopicName>) {
        for topic in topics {
            if !self.topics_to_be_deleted.contains(topic) {
                self.forget_imbalance(topic);
                self.topics_to_be_deleted.insert(topic.clone());
            }
        }
    }

    pub(crate) fn remove_topic(&mut self, topic: &TopicName) {
        if !self.topics_to_be_deleted.contains(topic) {
            self.forget_imbalance(topic);
        }
        for replica in self.replicas_of_topic(topic) {
            self.remove_replica_state(&replica);
        }
        for partition in self.partitions_of(topic) {
            self.set_partition_state(&partition, PartitionState::NonExistent);
            self.partition_states.remove(topic, &partition.partition);
            self.leaderships.remove(topic, &partition.partition);
        }
        self.topics_to_be_deleted.remove(topic);
        self.topics_with_deletion_started.remove(topic);
        self.all_topics.remove(topic);
        if let Some(id) = self.topic_ids.remove(topic) {
            self.topic_names.remove(&id);
        }
        self.assignments.remove(topic);
    }
}

// States.
impl Context {
    pub(crate) fn partition_state(&self, partition: &TopicPartition) -> PartitionState {
        self.partition_states
            .get(&partition.topic, &partition.partition)
            .copied()
            .unwrap_or(PartitionState::NonExistent)
    }

    pub(crate) fn set_partition_state(
        &mut self,
        partition: &TopicPartition,
        target: PartitionState,
    ) {
        let current = self
            .partition_states
            .insert(&partition.topic, partition.partition, target)
            .unwrap_or(PartitionState::NonExistent);
        if self.is_deletion_started(&partition.topic) {
            return;
        }
        match (
            current == PartitionState::Offline,
            target == PartitionState::Offline,
        ) {
            (false, true) => self.offline_partition_count += 1,
            (true, false) => self.offline_partition_count -= 1,
            (true, true) | (false, false) => {}
        }
    }

    /// New and offline partitions of topics that are not being deleted.
    pub(crate) fn partitions_to_bring_online(&self) -> Vec<TopicPartition> {
        self.partition_states
            .iter()
            .filter(|(topic, _, state)| {
                matches!(state, PartitionState::New | PartitionState::Offline)
                    && !self.is_queued_for_deletion(topic)
            })
            .map(|(topic, index, _)| TopicPartition::new(topic.clone(), *index))
            .collect()
    }

    pub(crate) fn replica_state(&self, replica: &PartitionAndReplica) -> ReplicaState {
        self.replica_states
            .get(&replica.partition.topic, &state_key(replica))
            .copied()
            .unwrap_or(ReplicaState::NonExistent)
    }

    pub(crate) fn set_replica_state(&mut self, replica: &PartitionAndReplica, state: ReplicaState) {
        self.replica_states
            .insert(&replica.partition.topic, state_key(replica), state);
    }

    pub(crate) fn remove_replica_state(&mut self, replica: &PartitionAndReplica) {
        self.replica_states
            .remove(&replica.partition.topic, &state_key(replica));
    }

    pub(crate) fn replicas_in_state(
        &self,
        topic: &TopicName,
        state: ReplicaState,
    ) -> Vec<PartitionAndReplica> {
        let mut replicas = self.replicas_of_topic(topic);
        replicas.retain(|replica| self.replica_state(replica) == state);
        replicas
    }

    pub(crate) fn are_all_replicas_in_state(&self, topic: &TopicName, state: ReplicaState) -> bool {
        self.replicas_of_topic(topic)
            .iter()
            .all(|replica| self.replica_state(replica) == state)
    }

    pub(crate) fn is_any_replica_in_state(&self, topic: &TopicName, state: ReplicaState) -> bool {
        self.replicas_of_topic(topic)
            .iter()
            .any(|replica| self.replica_state(replica) == state)
    }
}

// The imbalance gauge, kept up to date at each change as in Kafka.
impl Context {
    /// Whether a partition with a known leadership is not led by its preferred replica. A preferred
    /// replica that a reassignment adds counts once it has joined the ISR.
    fn is_imbalanced(&self, partition: &TopicPartition) -> bool {
        if self.is_queued_for_deletion(&partition.topic) {
            return false;
        }
        let Some(leadership) = self.leadership(partition) else {
            return false;
        };
        let Some(assignment) = self.assignment_ref(partition) else {
            return false;
        };
        let Some(preferred) = assignment.replicas.first() else {
            return false;
        };
        if assignment.adding.contains(preferred) {
            leadership.isr.contains(preferred)
        } else {
            leadership.leader != *preferred
        }
    }

    fn count_imbalance(&mut self, before: bool, after: bool) {
        self.preferred_replica_imbalance_count += i64::from(after) - i64::from(before);
    }

    fn forget_imbalance(&mut self, topic: &TopicName) {
        for partition in self.partitions_of(topic) {
            let before = self.is_imbalanced(&partition);
            self.count_imbalance(before, false);
        }
    }
}

fn state_key(replica: &PartitionAndReplica) -> (i32, BrokerId) {
    (replica.partition.partition, replica.replica)
}

#[cfg(test)]
mod tests {
    use ottla_model::{LeaderRecoveryState, PartitionEpoch};

    use super::*;

    fn broker(id: i32) -> RegisteredBroker {
        RegisteredBroker {
            id: BrokerId(id),
            epoch: BrokerEpoch(100),
            endpoints: Vec::new(),
            rack: None,
            features: BTreeMap::new(),
        }
    }

    fn leadership(leader: i32, isr: &[i32]) -> LeaderAndIsr {
        LeaderAndIsr {
            leader: BrokerId(leader),
            leader_epoch: LeaderEpoch(3),
            isr: isr.iter().copied().map(BrokerId).collect(),
            recovery: LeaderRecoveryState::Recovered,
            partition_epoch: PartitionEpoch(5),
            controller_epoch: ControllerEpoch(1),
        }
    }

    fn context() -> (Context, TopicPartition) {
        let mut context = Context::default();
        context.set_brokers([broker(1), broker(2), broker(3)]);
        let partition = TopicPartition::new("t", 0);
        context.all_topics.insert("t".into());
        context.set_assignment(
            &partition,
            ReplicaAssignment::of([BrokerId(1), BrokerId(2)]),
        );
        (context, partition)
    }

    #[test]
    fn a_broker_that_shuts_down_is_registered_but_not_live() {
        let (mut context, partition) = context();
        context.shutting_down.insert(BrokerId(2));
        assert_eq!(
            context.live_ids(),
            BTreeSet::from([BrokerId(1), BrokerId(3)])
        );
        assert!(!context.is_replica_online(BrokerId(2), &partition));
        assert!(context.is_replica_registered(BrokerId(2), &partition));
        context
            .offline_dir_replicas
            .entry(BrokerId(2))
            .or_default()
            .insert(partition.clone());
        assert!(!context.is_replica_registered(BrokerId(2), &partition));
    }

    #[test]
    fn a_second_id_for_a_topic_is_refused() {
        let (mut context, _) = context();
        let (one, two) = (TopicId([1; 16]), TopicId([2; 16]));
        context.add_topic_id(&"t".into(), one).unwrap();
        context.add_topic_id(&"t".into(), one).unwrap();
        assert!(context.add_topic_id(&"t".into(), two).is_err());
        assert!(context.add_topic_id(&"unknown".into(), two).is_err());
        context.all_topics.insert("u".into());
        assert!(context.add_topic_id(&"u".into(), one).is_err());
    }

    #[test]
    fn imbalance_counts_partitions_not_led_by_their_first_replica() {
        let (mut context, partition) = context();
        context.put_leadership(&partition, leadership(1, &[1, 2]));
        assert_eq!(context.preferred_replica_imbalance_count, 0);
        context.put_leadership(&partition, leadership(2, &[2, 1]));
        assert_eq!(context.preferred_replica_imbalance_count, 1);
        // A reassignment whose first replica is still being added is balanced until it joins.
        let moving = context.assignment(&partition).reassign_to(&[BrokerId(3)]);
        context.set_assignment(&partition, moving);
        assert_eq!(context.preferred_replica_imbalance_count, 0);
        context.put_leadership(&partition, leadership(2, &[2, 1, 3]));
        assert_eq!(context.preferred_replica_imbalance_count, 1);
        context.queue_topic_deletion(&BTreeSet::from(["t".into()]));
        context.queue_topic_deletion(&BTreeSet::from(["t".into()]));
        assert_eq!(context.preferred_replica_imbalance_count, 0);
        context.remove_topic(&"t".into());
        assert_eq!(context.preferred_replica_imbalance_count, 0);
    }

    #[test]
    fn offline_partitions_are_counted_until_their_deletion_starts() {
        let (mut context, partition) = context();
        context.set_partition_state(&partition, PartitionState::New);
        context.set_partition_state(&partition, PartitionState::Offline);
        assert_eq!(context.offline_partition_count, 1);
        context.set_partition_state(&partition, PartitionState::NonExistent);
        assert_eq!(context.offline_partition_count, 0);
        context.topics_with_deletion_started.insert("t".into());
        context.set_partition_state(&partition, PartitionState::Offline);
        assert_eq!(context.offline_partition_count, 0);
    }

    #[test]
    fn leader_epochs_for_stop_replica_use_kafkas_sentinels() {
        let (mut context, partition) = context();
        assert_eq!(context.leader_epoch(&partition), LeaderEpoch::NONE);
        context.put_leadership(&partition, leadership(1, &[1]));
        assert_eq!(context.leader_epoch(&partition), LeaderEpoch(3));
        context.queue_topic_deletion(&BTreeSet::from(["t".into()]));
        assert_eq!(context.leader_epoch(&partition), LeaderEpoch::DURING_DELETE);
    }
}
