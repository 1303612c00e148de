//! Fetching from the nearest replica (KIP-392): what a leader tells a consumer.

use ottla_model::{BrokerId, Instant, Offset};

use crate::partition::Partition;

/// Where a replica could be reached by the consumer that asks, on its listener.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplicaLocation<'a> {
    /// The replica.
    pub id: BrokerId,
    /// Its `broker.rack`.
    pub rack: Option<&'a str>,
}

/// The replica that a consumer in `client_rack` should rather read from (`RackAwareReplicaSelector`);
/// `None` if that is this leader. `locations` are the replicas that have an endpoint on the
/// consumer's listener, the leader included.
pub fn rack_aware_replica(
    partition: &Partition,
    client_rack: &str,
    fetch_offset: Offset,
    locations: &[ReplicaLocation<'_>],
    now: Instant,
) -> Option<BrokerId> {
    let leader = partition.leader().filter(|_| partition.is_leader())?;
    if client_rack.is_empty() {
        return None;
    }
    let in_rack = |id: BrokerId| {
        locations
            .iter()
            .any(|l| l.id == id && l.rack == Some(client_rack))
    };
    if in_rack(leader) {
        return None;
    }
    // Members of the ISR only: a replica that lags would give the consumer nothing for long, and
    // would be chosen again and again.
    partition
        .remote_replicas()
        .iter()
        .filter(|replica| {
            partition.isr().isr().contains(&replica.id)
                && (replica.log_start_offset..=replica.log_end_offset).contains(&fetch_offset)
                && in_rack(replica.id)
        })
        .max_by_key(|replica| {
            let lag = replica
                .last_caught_up_time
                .map_or(now.0, |then| now.since(then));
            (replica.log_end_offset, std::cmp::Reverse(lag), replica.id)
        })
        .map(|replica| replica.id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::scenarios_support::{all_alive, fetch, leader};

    #[test]
    fn the_most_caught_up_in_sync_replica_of_the_rack_or_the_leader() {
        let (mut partition, log) = leader(&[1, 2, 3, 4], 20);
        for (id, offset) in [(2, 10), (3, 15), (4, 20)] {
            let around = all_alive(5, 1);
            partition.record_follower_fetch(BrokerId(id), &fetch(offset, 5, 20), &log, &around);
        }
        let place = |id, rack| ReplicaLocation {
            id: BrokerId(id),
            rack,
        };
        let near = [
            place(1, Some("a")),
            place(2, Some("b")),
            place(3, Some("b")),
            place(4, Some("c")),
        ];
        let chosen = |rack: &str, offset, locations: &[ReplicaLocation<'_>]| {
            rack_aware_replica(&partition, rack, offset, locations, Instant::from_millis(9))
                .map(|id| id.0)
        };
        assert_eq!(chosen("a", 5, &near), None, "the leader's rack");
        assert_eq!(chosen("b", 5, &near), Some(3), "more caught up than 2");
        assert_eq!(chosen("c", 5, &near), Some(4));
        assert_eq!(chosen("c", 20, &near), Some(4));
        assert_eq!(chosen("c", 21, &near), None, "beyond its end");
        assert_eq!(chosen("b", 16, &near), None);
        assert_eq!(chosen("z", 5, &near), None);
        assert_eq!(chosen("", 5, &near), None);
        assert_eq!(chosen("B", 5, &near), None, "racks compare exactly");
        assert_eq!(
            chosen("b", 5, &near[..2]),
            Some(2),
            "3 has no endpoint here"
        );
    }
}
