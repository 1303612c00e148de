//! OffsetCommit and OffsetFetch.

use ottla_coordinator_runtime::Durability;
use ottla_model::{ErrorCode as E, LeaderEpoch, ProducerId, Timestamp};

use super::harness::*;
use crate::records::{RecordKey, offset_commit_value};
use crate::*;

#[test]
fn a_commit_counts_when_it_is_replicated() {
    let mut world = World::new();
    world.acks = Acks::ByHand;
    let t0 = partition("t", 0);
    let request = world.commit_request(None, &[(t0.clone(), committed(7))]);
    let id = world.send(Request::OffsetCommit(request));
    assert!(world.is_parked(id));
    assert_eq!(world.offset(&t0), -1);
    assert_eq!(world.fetch(&t0, true).error, E::UnstableOffsetCommit);
    let append = world.unacknowledged[0].clone();
    assert_eq!((append.base_sequence, append.transactional), (0, false));
    assert_eq!(
        (append.producer_id, append.durability),
        (ProducerId::NONE, Durability::Required)
    );
    world.ack();
    assert_eq!(world.commit_reply(id), E::None);
    let fetched = world.fetch(&t0, true);
    assert_eq!((fetched.offset, fetched.leader_epoch), (7, LeaderEpoch(4)));
    assert_eq!((&*fetched.metadata, fetched.error), ("text", E::None));
    assert_eq!(world.shard.stats().offset_commits, 1);
}

#[test]
fn a_refused_commit_changes_nothing_and_is_told_in_the_coordinators_words() {
    let mut world = World::new();
    world.acks = Acks::Refused(E::MessageTooLarge);
    let t0 = partition("t", 0);
    assert_eq!(
        world.commit(None, t0.clone(), 7),
        E::InvalidCommitOffsetSize
    );
    assert_eq!(world.offset(&t0), -1);
    assert_eq!(world.fetch(&t0, true).error, E::None);
}

#[test]
fn membership_decides_who_may_commit() {
    let mut world = World::new();
    let member = world.stable_group(1).remove(0);
    let t0 = partition("t", 0);
    let late = Client {
        generation: 0,
        ..member.clone()
    };
    let stranger = Client {
        member_id: "x".into(),
        ..member.clone()
    };
    let without_generation = Client {
        generation: -1,
        ..member.clone()
    };
    for (client, expected) in [
        (None, E::UnknownMemberId),
        (Some(&late), E::IllegalGeneration),
        (Some(&stranger), E::UnknownMemberId),
        (Some(&without_generation), E::IllegalGeneration),
        (Some(&member), E::None),
    ] {
        assert_eq!(world.commit(client, t0.clone(), 1), expected, "{client:?}");
    }
    // An empty group takes commits from outside, and only those.
    world.leave(&member.member_id, None);
    assert_eq!(
        world.commit(Some(&member), t0.clone(), 2),
        E::UnknownMemberId
    );
    assert_eq!(
        world.commit(Some(&without_generation), t0.clone(), 2),
        E::None
    );
    assert_eq!(world.commit(None, t0.clone(), 3), E::None);
    assert_eq!(world.offset(&t0), 3);
}

#[test]
fn a_commit_keeps_the_session_alive() {
    let mut world = World::new();
    let member = world.stable_group(1).remove(0);
    for _ in 0..5 {
        world.advance(9_000);
        assert_eq!(world.commit(Some(&member), partition("t", 0), 1), E::None);
    }
    assert_eq!(world.state(), GroupState::Stable);
}

#[test]
fn metadata_is_measured_in_utf16_and_refused_for_its_partition_only() {
    let config = GroupConfig {
        offset_metadata_max_bytes: 4,
        ..GroupConfig::default()
    };
    let mut world = World::with(config);
    let with = |metadata: &str| OffsetAndMetadata {
        metadata: metadata.into(),
        ..committed(1)
    };
    let offsets = [
        (partition("t", 0), with("éééé")),
        (partition("t", 1), with("😀😀😀")),
        (partition("t", 2), with("😀😀")),
    ];
    let request = world.commit_request(None, &offsets);
    let id = world.send(Request::OffsetCommit(request));
    let Some(Response::OffsetCommit(mut answers)) = world.reply(id) else {
        panic!("answered")
    };
    answers.sort();
    assert_eq!(
        answers,
        vec![
            (partition("t", 0), E::None),
            (partition("t", 1), E::OffsetMetadataTooLarge),
            (partition("t", 2), E::None),
        ]
    );
    let request = world.commit_request(None, &offsets[1..2]);
    let id = world.send(Request::OffsetCommit(request));
    assert_eq!(world.commit_reply(id), E::OffsetMetadataTooLarge);
    assert_eq!(world.log.len(), 1, "nothing was written for it");
}

#[test]
fn one_request_is_one_batch_and_the_last_entry_of_a_partition_counts() {
    let mut world = World::new();
    let offsets = [
        (partition("t", 1), committed(1)),
        (partition("t", 0), committed(2)),
        (partition("t", 1), committed(3)),
    ];
    let request = world.commit_request(None, &offsets);
    let id = world.send(Request::OffsetCommit(request));
    let Some(Response::OffsetCommit(answers)) = world.reply(id) else {
        panic!("answered")
    };
    assert_eq!(answers.len(), 2);
    assert_eq!(world.log.len(), 1);
    assert_eq!(world.records().len(), 2);
    assert_eq!(world.offset(&partition("t", 1)), 3);
}

#[test]
fn record_versions_follow_the_inter_broker_protocol_and_an_explicit_expiry() {
    for (version, expiry, expected) in [(3, None, 3), (2, None, 2), (1, None, 1), (3, Some(9), 1)] {
        let record_versions = RecordVersions {
            offset_commit_value: version,
            group_metadata_value: 3,
        };
        let mut world = World::with(GroupConfig {
            record_versions,
            ..GroupConfig::default()
        });
        let value = OffsetAndMetadata {
            expire_timestamp: expiry.map(Timestamp),
            ..committed(1)
        };
        let request = world.commit_request(None, &[(partition("t", 0), value.clone())]);
        world.send(Request::OffsetCommit(request));
        let (key, written) = world.records().remove(0);
        let group_id = GROUP.into();
        let topic_partition = partition("t", 0);
        assert_eq!(
            key,
            RecordKey::OffsetCommit {
                group_id,
                topic_partition
            }
        );
        assert_eq!(
            written,
            Some(offset_commit_value(&value, expected).unwrap())
        );
    }
}

#[test]
fn a_commit_makes_a_simple_group_that_is_listed_without_a_type() {
    let mut world = World::new();
    assert_eq!(world.commit(None, partition("t", 0), 5), E::None);
    let listed = world.shard.list_groups();
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (&*listed[0].protocol_type, listed[0].state),
        ("", GroupState::Empty)
    );
}

#[test]
fn all_offsets_are_fetched_without_naming_them() {
    let mut world = World::new();
    for index in 0..3 {
        world.commit(None, partition("t", index), i64::from(index));
    }
    let all = world.shard.fetch_offsets(GROUP, None, false).unwrap();
    assert_eq!(all.iter().map(|o| o.offset).collect::<Vec<_>>(), [0, 1, 2]);
    let unknown = world.fetch(&partition("x", 0), false);
    assert_eq!(
        (unknown.offset, unknown.leader_epoch),
        (-1, LeaderEpoch::NONE)
    );
    assert_eq!((&*unknown.metadata, unknown.error), ("", E::None));
    assert!(
        world
            .shard
            .fetch_offsets("other", None, false)
            .unwrap()
            .is_empty()
    );
}

#[test]
fn a_group_id_that_no_record_can_hold_is_an_error_and_not_a_panic() {
    let mut world = World::new();
    let request = OffsetCommitRequest {
        group_id: "g".repeat(40_000).into(),
        ..world.commit_request(None, &[(partition("t", 0), committed(1))])
    };
    let id = world.send(Request::OffsetCommit(request));
    assert_eq!(world.commit_reply(id), E::UnknownServerError);
}
