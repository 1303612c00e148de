//! Leader-side promises, each as a short story. Broker 1 is always the one under test.

use ottla_model::{BrokerId, ErrorCode, Instant, LeaderAndIsr, LeaderEpoch, PartitionEpoch};

use super::scenarios_support::{all_alive, command, fetch, ids, leader, log, unled};
use super::{IsrOutcome, MakeFollower, MakeLeader, ReadRequirement, Required, Surroundings};
use crate::isr::IsrState;

fn agreed(isr: &[i32], leader_epoch: i32, partition_epoch: i32) -> Result<LeaderAndIsr, ErrorCode> {
    let state = command(1, leader_epoch, partition_epoch, isr, isr).state;
    Ok(state)
}

#[test]
fn a_lone_replica_commits_what_it_writes() {
    let (partition, _) = leader(&[1], 0);
    assert_eq!(
        partition.next_high_watermark(&log(7, 3), &all_alive(1, 1)),
        Some(7)
    );
    assert_eq!(
        partition.next_high_watermark(&log(7, 7), &all_alive(1, 1)),
        None
    );
    assert_eq!(
        partition.effective_min_isr(5),
        1,
        "no more than there are replicas"
    );
    assert_eq!(
        partition.may_append(Required::InSyncReplicas, 5),
        Ok(LeaderEpoch(1))
    );
}

#[test]
fn the_slowest_in_sync_follower_holds_the_high_watermark() {
    let (mut partition, mut log) = leader(&[1, 2, 3], 10);
    let around = all_alive(5, 1);
    assert_eq!(
        partition.next_high_watermark(&log, &around),
        None,
        "nobody has fetched yet"
    );
    let first = partition.record_follower_fetch(BrokerId(2), &fetch(10, 5, 10), &log, &around);
    assert_eq!(first.high_watermark, None);
    let second = partition.record_follower_fetch(BrokerId(3), &fetch(6, 5, 10), &log, &around);
    assert_eq!(second.high_watermark, Some(6));
    log.high_watermark = 6;
    let repeated = partition.record_follower_fetch(BrokerId(3), &fetch(6, 6, 10), &log, &around);
    assert_eq!(repeated.high_watermark, None);
}

#[test]
fn below_the_minimum_the_high_watermark_is_frozen() {
    let (mut partition, _) = leader(&[1, 2, 3], 10);
    partition.make_leader(
        &command(1, 2, 2, &[1, 2, 3], &[1]),
        10,
        Instant::from_millis(1),
    );
    let late = 1_000_000;
    assert_eq!(
        partition.next_high_watermark(&log(10, 5), &all_alive(late, 2)),
        None
    );
    assert_eq!(
        partition.next_high_watermark(&log(10, 5), &all_alive(late, 1)),
        Some(10)
    );
    assert_eq!(
        partition.may_append(Required::InSyncReplicas, 2),
        Err(ErrorCode::NotEnoughReplicas)
    );
    assert_eq!(
        partition.may_append(Required::Leader, 2),
        Ok(LeaderEpoch(2))
    );
}

#[test]
fn a_follower_about_to_join_is_not_outrun() {
    let (mut partition, _) = leader(&[1, 2], 0);
    partition.make_leader(
        &command(1, 2, 2, &[1, 2], &[1]),
        10,
        Instant::from_millis(0),
    );
    // It reached the end at 1000, but our epoch starts at 10, so 9 does not let it join.
    let log_then = log(9, 9);
    partition.record_follower_fetch(
        BrokerId(2),
        &fetch(9, 1_000, 9),
        &log_then,
        &all_alive(1_000, 1),
    );
    assert!(!partition.isr().is_in_flight());
    let log_now = log(20, 9);
    assert_eq!(
        partition.next_high_watermark(&log_now, &all_alive(2_000, 1)),
        None
    );
    let dead = Surroundings {
        is_alive: &|_| false,
        ..all_alive(2_000, 1)
    };
    assert_eq!(
        partition.next_high_watermark(&log_now, &dead),
        Some(20),
        "the dead do not join"
    );
    assert_eq!(
        partition.next_high_watermark(&log_now, &all_alive(31_001, 1)),
        Some(20),
        "too late"
    );
}

#[test]
fn a_follower_joins_once_it_has_what_is_committed_and_this_epochs_start() {
    for (start, high_watermark, offset, joins) in [
        (0, 5, 5, true),
        (0, 5, 4, false),
        (8, 5, 7, false),
        (8, 5, 8, true),
        (8, 9, 8, false),
    ] {
        let mut partition = unled();
        partition.make_leader(&command(1, 1, 1, &[1, 2], &[1]), start, Instant::ZERO);
        let log = log(20, high_watermark);
        let outcome = partition.record_follower_fetch(
            BrokerId(2),
            &fetch(offset, 5, 20),
            &log,
            &all_alive(5, 1),
        );
        assert_eq!(
            outcome.proposal.is_some(),
            joins,
            "{start} {high_watermark} {offset}"
        );
        assert_eq!(partition.isr().is_in_flight(), joins);
    }
}

#[test]
fn an_expansion_binds_at_once_and_a_shrink_frees_only_when_agreed() {
    let (mut partition, mut log) = leader(&[1, 2, 3], 10);
    for follower in [2, 3] {
        partition.record_follower_fetch(
            BrokerId(follower),
            &fetch(10, 5, 10),
            &log,
            &all_alive(5, 1),
        );
    }
    log.high_watermark = 10;
    log.log_end_offset = 20;
    partition.record_follower_fetch(
        BrokerId(2),
        &fetch(20, 40_000, 20),
        &log,
        &all_alive(40_000, 1),
    );
    let shrink = partition
        .propose_shrink(20, Instant::from_millis(40_000))
        .unwrap();
    assert_eq!(shrink.isr, ids(&[1, 2]));
    assert_eq!(
        partition.propose_shrink(20, Instant::from_millis(40_000)),
        None,
        "one at a time"
    );
    assert_eq!(
        partition.next_high_watermark(&log, &all_alive(40_000, 1)),
        None,
        "3 still counts"
    );
    assert_eq!(
        partition.produce_is_ready(10, 10, 3),
        Some(ErrorCode::None),
        "maximal ISR is 3"
    );

    let outcome = partition.complete_isr_change(&shrink, &agreed(&[1, 2], 1, 2));
    assert_eq!(outcome, IsrOutcome::Committed { expanded: false });
    assert_eq!(partition.partition_epoch(), PartitionEpoch(2));
    assert_eq!(
        partition.next_high_watermark(&log, &all_alive(40_000, 1)),
        Some(20)
    );
    log.high_watermark = 20;
    assert_eq!(
        partition.produce_is_ready(20, 20, 3),
        Some(ErrorCode::NotEnoughReplicasAfterAppend)
    );

    let joins = partition
        .record_follower_fetch(
            BrokerId(3),
            &fetch(20, 41_000, 20),
            &log,
            &all_alive(41_000, 1),
        )
        .proposal
        .unwrap();
    assert_eq!(joins.isr, ids(&[1, 2, 3]));
    log.log_end_offset = 30;
    partition.record_follower_fetch(
        BrokerId(2),
        &fetch(30, 99_000, 30),
        &log,
        &all_alive(99_000, 1),
    );
    assert_eq!(
        partition.next_high_watermark(&log, &all_alive(99_000, 1)),
        None,
        "3 counts already"
    );
}

#[test]
fn a_leader_that_missed_anothers_epoch_forgets_what_followers_had() {
    for (leader_epoch, expected) in [(2, Some(10)), (3, None)] {
        let (mut partition, log) = leader(&[1, 2], 10);
        let around = all_alive(5, 1);
        let fetched = fetch(4, 5, 10);
        let update = partition.record_follower_fetch(BrokerId(2), &fetched, &log, &around);
        assert_eq!(update.high_watermark, Some(4));
        // Its end was 10 once; then another leader, in epoch 2, may have made it shorter.
        let fetched = fetch(10, 6, 10);
        partition.record_follower_fetch(BrokerId(2), &fetched, &log, &around);
        let now = Instant::from_millis(7);
        partition.make_leader(&command(1, leader_epoch, 2, &[1, 2], &[1, 2]), 10, now);
        let next = partition.next_high_watermark(&log, &all_alive(8, 1));
        assert_eq!(next, expected, "epoch {leader_epoch}");
        assert!(partition.propose_shrink(10, now).is_none());
        partition.record_follower_fetch(BrokerId(2), &fetch(10, 9, 10), &log, &around);
        let next = partition.next_high_watermark(&log, &all_alive(9, 1));
        assert_eq!(next, Some(10), "epoch {leader_epoch}");
    }
}

#[test]
fn answers_of_the_controller() {
    let proposed = || {
        let mut partition = unled();
        partition.make_leader(&command(1, 1, 5, &[1, 2], &[1, 2]), 0, Instant::ZERO);
        let proposal = partition
            .propose_shrink(9, Instant::from_millis(50_000))
            .unwrap();
        (partition, proposal)
    };
    for (answer, outcome, in_flight) in [
        (
            agreed(&[1], 1, 6),
            IsrOutcome::Committed { expanded: false },
            false,
        ),
        (
            agreed(&[1], 1, 5),
            IsrOutcome::Committed { expanded: false },
            false,
        ),
        (agreed(&[1], 1, 4), IsrOutcome::Ignored, true),
        (agreed(&[1], 2, 6), IsrOutcome::Ignored, true),
        (
            Err(ErrorCode::OperationNotAttempted),
            IsrOutcome::RolledBack,
            false,
        ),
        (
            Err(ErrorCode::IneligibleReplica),
            IsrOutcome::RolledBack,
            false,
        ),
        (
            Err(ErrorCode::UnknownTopicOrPartition),
            IsrOutcome::AwaitsMetadata,
            true,
        ),
        (
            Err(ErrorCode::UnknownTopicId),
            IsrOutcome::AwaitsMetadata,
            true,
        ),
        (
            Err(ErrorCode::FencedLeaderEpoch),
            IsrOutcome::AwaitsMetadata,
            true,
        ),
        (
            Err(ErrorCode::InvalidUpdateVersion),
            IsrOutcome::AwaitsMetadata,
            true,
        ),
        (
            Err(ErrorCode::InvalidRequest),
            IsrOutcome::AwaitsMetadata,
            true,
        ),
        (
            Err(ErrorCode::NewLeaderElected),
            IsrOutcome::AwaitsMetadata,
            true,
        ),
        (
            Err(ErrorCode::UnknownServerError),
            IsrOutcome::Resubmit,
            true,
        ),
        (Err(ErrorCode::NotController), IsrOutcome::Resubmit, true),
    ] {
        let (mut partition, proposal) = proposed();
        assert_eq!(
            partition.complete_isr_change(&proposal, &answer),
            outcome,
            "{answer:?}"
        );
        assert_eq!(partition.isr().is_in_flight(), in_flight, "{answer:?}");
    }
    let (mut partition, proposal) = proposed();
    partition.make_leader(&command(1, 2, 7, &[1, 2], &[1, 2]), 9, Instant::ZERO);
    assert_eq!(
        partition.complete_isr_change(&proposal, &agreed(&[1], 1, 6)),
        IsrOutcome::Outdated
    );
    assert_eq!(partition.isr(), &IsrState::committed(ids(&[1, 2])));
}

#[test]
fn only_a_newer_leader_epoch_starts_anew() {
    let mut partition = unled();
    let first = partition.make_leader(&command(1, 3, 2, &[1, 2], &[1, 2]), 10, Instant::ZERO);
    assert_eq!(
        first,
        MakeLeader::Leads {
            is_new_leader: true,
            epoch_start: Some((LeaderEpoch(3), 10))
        }
    );
    let older = partition.make_leader(&command(1, 4, 1, &[1, 2], &[1, 2]), 15, Instant::ZERO);
    assert_eq!(older, MakeLeader::Skipped, "an older partition epoch");
    assert_eq!(partition.leader_epoch(), LeaderEpoch(3));
    let again = partition.make_leader(&command(1, 4, 2, &[1, 2], &[1, 2]), 15, Instant::ZERO);
    assert_eq!(
        again,
        MakeLeader::Leads {
            is_new_leader: false,
            epoch_start: Some((LeaderEpoch(4), 15))
        }
    );
    assert_eq!(partition.leader_epoch_start_offset(), Some(15));
    assert!(partition.offset_is_not_available(14) && !partition.offset_is_not_available(15));

    let follows = partition.make_follower(&command(2, 5, 3, &[1, 2], &[2]));
    assert_eq!(
        follows,
        MakeFollower::Follows {
            is_new_leader_epoch: true
        }
    );
    assert_eq!(partition.leader(), Some(BrokerId(2)));
    assert!(partition.isr().isr().is_empty() && partition.remote_replicas().is_empty());
    assert_eq!(partition.leader_epoch_start_offset(), None);
    assert_eq!(
        partition.produce_is_ready(1, 100, 1),
        Some(ErrorCode::NotLeaderOrFollower),
        "waiting producers are told"
    );
}

#[test]
fn reads_check_epoch_then_leadership_then_assignment() {
    let (partition, _) = leader(&[1, 2], 10);
    for (claimed, expected) in [
        (None, Ok(())),
        (Some(1), Ok(())),
        (Some(0), Err(ErrorCode::FencedLeaderEpoch)),
        (Some(2), Err(ErrorCode::UnknownLeaderEpoch)),
    ] {
        let claimed = claimed.map(LeaderEpoch);
        assert_eq!(
            partition.may_read(claimed, ReadRequirement::Leader),
            expected
        );
    }
    assert_eq!(partition.check_follower(BrokerId(2), None), Ok(()));
    assert_eq!(
        partition.check_follower(BrokerId(9), None),
        Err(ErrorCode::NotLeaderOrFollower)
    );
    assert_eq!(
        partition.check_follower(BrokerId(9), Some(LeaderEpoch(1))),
        Err(ErrorCode::UnknownLeaderEpoch)
    );
    let mut follower = unled();
    follower.make_follower(&command(2, 1, 1, &[1, 2], &[2]));
    assert_eq!(
        follower.may_read(Some(LeaderEpoch(0)), ReadRequirement::Leader),
        Err(ErrorCode::FencedLeaderEpoch),
        "the epoch comes first"
    );
    assert_eq!(
        follower.may_read(None, ReadRequirement::Leader),
        Err(ErrorCode::NotLeaderOrFollower)
    );
    assert_eq!(follower.may_read(None, ReadRequirement::AnyReplica), Ok(()));
}

#[test]
fn a_followers_high_watermark_is_bounded_by_its_own_log() {
    use super::Partition;
    let log = crate::LogOffsets {
        log_start_offset: 5,
        high_watermark: 10,
        last_stable_offset: 10,
        log_end_offset: 20,
    };
    for (told, expected) in [
        (15, Some(15)),
        (25, Some(20)),
        (10, None),
        (8, Some(8)),
        (2, Some(5)),
        (-1, None),
    ] {
        assert_eq!(
            Partition::follower_high_watermark(told, &log),
            expected,
            "{told}"
        );
    }
}

#[test]
fn acks_other_than_0_1_and_minus_1_are_invalid() {
    assert_eq!(Required::from_acks(0), Some(Required::None));
    assert_eq!(Required::from_acks(1), Some(Required::Leader));
    assert_eq!(Required::from_acks(-1), Some(Required::InSyncReplicas));
    assert_eq!(Required::from_acks(2), None);
    assert_eq!(Required::from_acks(-2), None);
}
