//! Who becomes leader: pure functions over one partition's replicas.
//! Sources: `Election.scala`, `PartitionLeaderElectionAlgorithms` in `PartitionStateMachine.scala`.

use ottla_model::{BrokerId, LeaderAndIsr, LeaderRecoveryState};

/// Why a leader is elected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ElectionStrategy {
    /// The partition is new or has lost its leader. `allow_unclean` is an order of the
    /// administrator; otherwise the topic's configuration decides.
    Offline {
        /// See above.
        allow_unclean: bool,
    },
    /// The leader is not among the target replicas of a reassignment.
    Reassign,
    /// The first replica of the assignment shall lead.
    Preferred,
    /// The leader's broker wants to go.
    ControlledShutdown,
}

/// The outcome of an election of one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ElectionResult {
    /// The state to write, `None` if nobody can lead. Its partition epoch and controller epoch are
    /// those of the state before.
    pub leader_and_isr: Option<LeaderAndIsr>,
    /// Who is to be told.
    pub recipients: Vec<BrokerId>,
    /// Whether the leader was not in sync.
    pub unclean: bool,
}

/// New or leaderless partition. `online` tells whether a replica's broker is live and its log
/// directory good.
pub fn elect_offline(
    current: &LeaderAndIsr,
    assignment: &[BrokerId],
    online: impl Fn(BrokerId) -> bool,
    unclean_enabled: bool,
    leader_recovery_supported: bool,
) -> ElectionResult {
    let live: Vec<BrokerId> = assignment
        .iter()
        .copied()
        .filter(|id| online(*id))
        .collect();
    let clean = live.iter().copied().find(|id| current.isr.contains(id));
    let leader = clean.or_else(|| live.first().copied().filter(|_| unclean_enabled));
    let leader_and_isr = leader.map(|leader| {
        if clean.is_some() {
            let isr = current
                .isr
                .iter()
                .copied()
                .filter(|id| online(*id))
                .collect();
            new_leader(current, leader, isr)
        } else {
            let mut elected = new_leader(current, leader, vec![leader]);
            if leader_recovery_supported {
                elected.recovery = LeaderRecoveryState::Recovering;
            }
            elected
        }
    });
    let unclean = leader_and_isr.is_some() && clean.is_none();
    ElectionResult {
        leader_and_isr,
        recipients: live,
        unclean,
    }
}

/// The leader must be one of the `target` replicas.
pub fn elect_for_reassignment(
    current: &LeaderAndIsr,
    target: &[BrokerId],
    online: impl Fn(BrokerId) -> bool,
) -> ElectionResult {
    let leader = target
        .iter()
        .copied()
        .find(|id| online(*id) && current.isr.contains(id));
    keeping_isr(current, leader, target)
}

/// The leader must be the first assigned replica.
pub fn elect_preferred(
    current: &LeaderAndIsr,
    assignment: &[BrokerId],
    online: impl Fn(BrokerId) -> bool,
) -> ElectionResult {
    let first = assignment.first().copied();
    let leader = first.filter(|id| online(*id) && current.isr.contains(id));
    keeping_isr(current, leader, assignment)
}

/// The leader must not shut down; brokers that do leave the ISR. `registered` tells whether a
/// replica's broker is live or shutting down and its log directory good.
pub fn elect_for_controlled_shutdown(
    current: &LeaderAndIsr,
    assignment: &[BrokerId],
    registered: impl Fn(BrokerId) -> bool,
    shutting_down: impl Fn(BrokerId) -> bool,
) -> ElectionResult {
    let recipients: Vec<BrokerId> = assignment
        .iter()
        .copied()
        .filter(|id| registered(*id))
        .collect();
    let leader = recipients
        .iter()
        .copied()
        .find(|id| current.isr.contains(id) && !shutting_down(*id));
    let leader_and_isr = leader.map(|leader| {
        let isr = current
            .isr
            .iter()
            .copied()
            .filter(|id| !shutting_down(*id))
            .collect();
        new_leader(current, leader, isr)
    });
    ElectionResult {
        leader_and_isr,
        recipients,
        unclean: false,
    }
}

/// The next leadership under another leader and ISR.
pub(crate) fn new_leader(
    current: &LeaderAndIsr,
    leader: BrokerId,
    isr: Vec<BrokerId>,
) -> LeaderAndIsr {
    LeaderAndIsr {
        leader,
        isr,
        leader_epoch: current.leader_epoch.next(),
        ..current.clone()
    }
}

fn keeping_isr(
    current: &LeaderAndIsr,
    leader: Option<BrokerId>,
    recipients: &[BrokerId],
) -> ElectionResult {
    ElectionResult {
        leader_and_isr: leader.map(|leader| new_leader(current, leader, current.isr.clone())),
        recipients: recipients.to_vec(),
        unclean: false,
    }
}

#[cfg(test)]
mod tests {
    use ottla_model::{ControllerEpoch, LeaderEpoch, PartitionEpoch};

    use super::*;

    fn ids(list: &[i32]) -> Vec<BrokerId> {
        list.iter().copied().map(BrokerId).collect()
    }

    fn state(leader: i32, isr: &[i32]) -> LeaderAndIsr {
        LeaderAndIsr {
            leader: BrokerId(leader),
            leader_epoch: LeaderEpoch(4),
            isr: ids(isr),
            recovery: LeaderRecoveryState::Recovered,
            partition_epoch: PartitionEpoch(9),
            controller_epoch: ControllerEpoch(2),
        }
    }

    fn among(live: &[i32]) -> impl Fn(BrokerId) -> bool + use<> {
        let live = ids(live);
        move |id| live.contains(&id)
    }

    /// The elected leader and ISR, and the recipients.
    fn outcome(result: &ElectionResult) -> (Option<(i32, Vec<BrokerId>)>, Vec<BrokerId>) {
        let elected = result.leader_and_isr.as_ref();
        (
            elected.map(|state| (state.leader.0, state.isr.clone())),
            result.recipients.clone(),
        )
    }

    #[test]
    fn an_offline_partition_is_led_by_the_first_live_replica_in_sync() {
        // assignment, isr, live, unclean -> leader and isr
        type Case<'a> = (
            &'a [i32],
            &'a [i32],
            &'a [i32],
            bool,
            Option<(i32, &'a [i32])>,
        );
        let cases: &[Case<'_>] = &[
            (&[1, 2, 3], &[1, 2, 3], &[2, 3], false, Some((2, &[2, 3]))),
            (&[1, 2, 3], &[3, 2], &[2, 3], false, Some((2, &[3, 2]))),
            (&[3, 2, 1], &[1, 2], &[1, 2, 3], false, Some((2, &[1, 2]))),
            (&[1, 2], &[1], &[2], false, None),
            (&[1, 2], &[1], &[2], true, Some((2, &[2]))),
            (&[1, 2], &[1], &[], true, None),
            (&[1, 2], &[2], &[1, 2], true, Some((2, &[2]))),
        ];
        for (assignment, isr, live, unclean, expected) in cases {
            let before = state(1, isr);
            let result = elect_offline(&before, &ids(assignment), among(live), *unclean, true);
            let expected = expected.map(|(leader, isr)| (leader, ids(isr)));
            assert_eq!(
                outcome(&result).0,
                expected,
                "{assignment:?} {isr:?} {live:?}"
            );
            if let Some(after) = &result.leader_and_isr {
                assert_eq!(after.leader_epoch, LeaderEpoch(5));
                assert_eq!(
                    after.recovery == LeaderRecoveryState::Recovering,
                    result.unclean
                );
            }
        }
    }

    #[test]
    fn an_unclean_leader_recovers_only_where_the_protocol_knows_it() {
        let result = elect_offline(&state(1, &[1]), &ids(&[1, 2]), among(&[2]), true, false);
        assert!(result.unclean);
        assert_eq!(
            result.leader_and_isr.unwrap().recovery,
            LeaderRecoveryState::Recovered
        );
    }

    #[test]
    fn a_clean_election_keeps_the_recovery_state() {
        let mut before = state(1, &[1, 2]);
        before.recovery = LeaderRecoveryState::Recovering;
        let result = elect_offline(&before, &ids(&[1, 2]), among(&[2]), false, true);
        assert_eq!(
            result.leader_and_isr.unwrap().recovery,
            LeaderRecoveryState::Recovering
        );
    }

    #[test]
    fn a_reassigned_partition_is_led_by_a_target_replica_and_keeps_its_isr() {
        let result = elect_for_reassignment(&state(1, &[1, 3]), &ids(&[2, 3]), among(&[1, 2, 3]));
        assert_eq!(outcome(&result), (Some((3, ids(&[1, 3]))), ids(&[2, 3])));
        let result = elect_for_reassignment(&state(1, &[1, 3]), &ids(&[2, 3]), among(&[1, 2]));
        assert_eq!(outcome(&result), (None, ids(&[2, 3])));
    }

    #[test]
    fn only_the_first_replica_can_be_the_preferred_leader() {
        let result = elect_preferred(&state(2, &[2, 1]), &ids(&[1, 2, 3]), among(&[1, 2]));
        assert_eq!(outcome(&result), (Some((1, ids(&[2, 1]))), ids(&[1, 2, 3])));
        for (isr, live) in [(&[2][..], &[1, 2][..]), (&[1, 2], &[2])] {
            let result = elect_preferred(&state(2, isr), &ids(&[1, 2]), among(live));
            assert_eq!(outcome(&result).0, None);
        }
    }

    #[test]
    fn a_controlled_shutdown_drops_the_leaver_from_the_isr_and_tells_it() {
        let result = elect_for_controlled_shutdown(
            &state(1, &[1, 2, 3]),
            &ids(&[1, 2, 3]),
            among(&[1, 2]),
            among(&[1]),
        );
        assert_eq!(outcome(&result), (Some((2, ids(&[2, 3]))), ids(&[1, 2])));
        let alone = elect_for_controlled_shutdown(
            &state(1, &[1]),
            &ids(&[1, 2]),
            among(&[1, 2]),
            among(&[1]),
        );
        assert_eq!(outcome(&alone).0, None);
    }
}
