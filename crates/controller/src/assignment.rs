//! Which brokers get the replicas of new partitions: round robin, over racks if brokers have them.
//! Source: `org.apache.kafka.admin.AdminUtils`.

use std::collections::{BTreeMap, BTreeSet};

use ottla_model::{BrokerId, ErrorCode};

/// A broker that can be given replicas.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BrokerMetadata {
    /// Its id.
    pub id: BrokerId,
    /// Its rack.
    pub rack: Option<String>,
}

/// Where the round robin begins, both from 0 to the number of brokers: drawn at random for a new
/// topic; for new partitions of a topic both are the position of partition 0's first replica.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Start {
    /// Position of the broker that leads partition 0.
    pub index: usize,
    /// First distance of followers from their leader.
    pub shift: usize,
}

/// Why no assignment can be made; the messages are those that clients print.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AssignmentError {
    /// No partition was asked for.
    #[error("Number of partitions must be larger than 0.")]
    InvalidPartitions,
    /// No replica was asked for.
    #[error("Replication factor must be larger than 0.")]
    InvalidReplicationFactor,
    /// More replicas than brokers.
    #[error("Replication factor: {replication_factor} larger than available brokers: {available}.")]
    TooFewBrokers {
        /// How many replicas.
        replication_factor: i32,
        /// How many brokers.
        available: usize,
    },
    /// Some brokers have a rack and some do not.
    #[error("Not all brokers have rack information for replica rack aware assignment.")]
    IncompleteRacks,
}

impl AssignmentError {
    /// What clients get.
    pub fn error_code(&self) -> ErrorCode {
        match self {
            Self::InvalidPartitions => ErrorCode::InvalidPartitions,
            Self::InvalidReplicationFactor | Self::TooFewBrokers { .. } => {
                ErrorCode::InvalidReplicationFactor
            }
            // AdminOperationException is no API exception.
            Self::IncompleteRacks => ErrorCode::UnknownServerError,
        }
    }
}

/// Assigns replicas to `partitions` partitions, counted from `first_partition`.
///
/// Brokers are taken in the given order if no broker has a rack, and alternating between racks if
/// all have one. The caller bounds `partitions`.
pub fn assign_replicas_to_brokers(
    brokers: &[BrokerMetadata],
    partitions: i32,
    replication_factor: i32,
    start: Start,
    first_partition: i32,
) -> Result<BTreeMap<i32, Vec<BrokerId>>, AssignmentError> {
    if partitions <= 0 {
        return Err(AssignmentError::InvalidPartitions);
    }
    let replicas = match usize::try_from(replication_factor) {
        Ok(replicas) if replicas > 0 => replicas,
        _ => return Err(AssignmentError::InvalidReplicationFactor),
    };
    if replicas > brokers.len() {
        let available = brokers.len();
        return Err(AssignmentError::TooFewBrokers {
            replication_factor,
            available,
        });
    }
    let racks: Vec<Option<&str>> = brokers
        .iter()
        .map(|broker| broker.rack.as_deref())
        .collect();
    let choose: Box<dyn Fn(usize, usize) -> Vec<BrokerId>> = if racks.iter().all(Option::is_none) {
        let ids: Vec<BrokerId> = brokers.iter().map(|broker| broker.id).collect();
        Box::new(move |first, shift| choose_rack_unaware(&ids, replicas, first, shift))
    } else {
        let ring = Ring::alternating(brokers)?;
        Box::new(move |first, shift| ring.choose(replicas, first, shift))
    };
    let count = brokers.len();
    let mut shift = start.shift;
    let first_partition = first_partition.max(0);
    let mut assignment = BTreeMap::new();
    for partition in first_partition..first_partition.saturating_add(partitions) {
        // Not negative: it starts at 0 or above.
        let position = partition.unsigned_abs() as usize;
        if position > 0 && position.is_multiple_of(count) {
            shift += 1;
        }
        assignment.insert(partition, choose((position + start.index) % count, shift));
    }
    Ok(assignment)
}

fn choose_rack_unaware(
    ids: &[BrokerId],
    replicas: usize,
    first: usize,
    shift: usize,
) -> Vec<BrokerId> {
    let followers = (0..replicas - 1).map(|j| ids[replica_index(first, shift, j, ids.len())]);
    std::iter::once(ids[first]).chain(followers).collect()
}

/// Brokers in an order that changes the rack at every step as long as it can.
struct Ring {
    brokers: Vec<(BrokerId, String)>,
    racks: usize,
}

impl Ring {
    fn alternating(brokers: &[BrokerMetadata]) -> Result<Self, AssignmentError> {
        let mut by_rack: BTreeMap<&str, BTreeSet<BrokerId>> = BTreeMap::new();
        for broker in brokers {
            let rack = broker
                .rack
                .as_deref()
                .ok_or(AssignmentError::IncompleteRacks)?;
            by_rack.entry(rack).or_default().insert(broker.id);
        }
        let racks = by_rack.len();
        let mut ring = Vec::new();
        while by_rack.values().any(|ids| !ids.is_empty()) {
            for (rack, ids) in &mut by_rack {
                ring.extend(ids.pop_first().map(|id| (id, (*rack).to_owned())));
            }
        }
        Ok(Self {
            brokers: ring,
            racks,
        })
    }

    /// A broker is passed over while another rack, or another broker, has no replica yet.
    fn choose(&self, replicas: usize, first: usize, shift: usize) -> Vec<BrokerId> {
        let count = self.brokers.len();
        let (leader, rack) = &self.brokers[first];
        let mut chosen = vec![*leader];
        let mut used_racks = BTreeSet::from([rack.as_str()]);
        let mut step = 0;
        while chosen.len() < replicas {
            let index = replica_index(first, shift * self.racks, step, count);
            let (id, rack) = &self.brokers[index];
            let rack_fits = !used_racks.contains(rack.as_str()) || used_racks.len() == self.racks;
            if rack_fits && !chosen.contains(id) {
                chosen.push(*id);
                used_racks.insert(rack);
            }
            step += 1;
        }
        chosen
    }
}

fn replica_index(first: usize, second_shift: usize, replica: usize, brokers: usize) -> usize {
    let shift = 1 + (second_shift + replica) % (brokers - 1);
    (first + shift) % brokers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brokers(racks: &[(i32, &str)]) -> Vec<BrokerMetadata> {
        let broker = |(id, rack): &(i32, &str)| BrokerMetadata {
            id: BrokerId(*id),
            rack: (!rack.is_empty()).then(|| (*rack).to_owned()),
        };
        racks.iter().map(broker).collect()
    }

    fn assign(racks: &[(i32, &str)], partitions: i32, factor: i32, at: usize) -> Vec<Vec<i32>> {
        let start = Start {
            index: at,
            shift: at,
        };
        let map =
            assign_replicas_to_brokers(&brokers(racks), partitions, factor, start, 0).unwrap();
        map.into_values()
            .map(|ids| ids.into_iter().map(|id| id.0).collect())
            .collect()
    }

    #[test]
    fn without_racks_followers_shift_with_every_round() {
        let racks = [(0, ""), (1, ""), (2, ""), (3, ""), (4, "")];
        assert_eq!(
            assign(&racks, 10, 3, 0),
            [
                [0, 1, 2],
                [1, 2, 3],
                [2, 3, 4],
                [3, 4, 0],
                [4, 0, 1],
                [0, 2, 3],
                [1, 3, 4],
                [2, 4, 0],
                [3, 0, 1],
                [4, 1, 2]
            ]
        );
    }

    #[test]
    fn with_racks_the_replicas_of_a_partition_are_on_different_racks() {
        let racks = [
            (0, "rack1"),
            (1, "rack3"),
            (2, "rack3"),
            (3, "rack2"),
            (4, "rack2"),
            (5, "rack1"),
        ];
        assert_eq!(
            assign(&racks, 7, 3, 0),
            [
                [0, 3, 1],
                [3, 1, 5],
                [1, 5, 4],
                [5, 4, 2],
                [4, 2, 0],
                [2, 0, 3],
                [0, 4, 2]
            ]
        );
    }

    #[test]
    fn new_partitions_continue_where_the_old_ones_ended() {
        let all = brokers(&[(0, ""), (1, ""), (2, "")]);
        let start = Start { index: 0, shift: 0 };
        let whole = assign_replicas_to_brokers(&all, 8, 2, start, 0).unwrap();
        let added = assign_replicas_to_brokers(&all, 2, 2, start, 1).unwrap();
        assert_eq!(added[&1], whole[&1]);
        assert_eq!(added[&2], whole[&2]);
    }

    #[test]
    fn impossible_wishes_are_refused_in_kafkas_words() {
        let start = Start { index: 0, shift: 0 };
        let refuse = |racks: &[(i32, &str)], partitions, factor| {
            let error = assign_replicas_to_brokers(&brokers(racks), partitions, factor, start, 0);
            let error = error.unwrap_err();
            (error.error_code(), error.to_string())
        };
        let one = [(0, "")];
        assert_eq!(refuse(&one, 0, 1).0, ErrorCode::InvalidPartitions);
        assert_eq!(refuse(&one, 1, 0).0, ErrorCode::InvalidReplicationFactor);
        assert_eq!(
            refuse(&one, 1, 3).1,
            "Replication factor: 3 larger than available brokers: 1."
        );
        assert_eq!(
            refuse(&[(0, "a"), (1, "")], 1, 1).0,
            ErrorCode::UnknownServerError
        );
    }
}
