use super::*;
use ottla_model::Instant;

fn target(partition: i32) -> FetchTarget {
    FetchTarget {
        topic: Some("t".into()),
        topic_id: TopicId::ZERO,
        partition,
    }
}

fn at_offset(fetch_offset: Offset) -> FetchPartition {
    FetchPartition {
        fetch_offset,
        log_start_offset: -1,
        max_bytes: 1_000,
        current_leader_epoch: None,
        last_fetched_epoch: None,
    }
}

fn told(high_watermark: Offset, log_start_offset: Offset) -> AnswerFacts {
    AnswerFacts {
        records_size: 0,
        high_watermark,
        log_start_offset,
        error: ErrorCode::None,
        redirects_or_diverges: false,
    }
}

fn counter() -> impl FnMut() -> u32 {
    let mut next = 0;
    move || {
        next += 1;
        next
    }
}

fn seconds(n: u64) -> Instant {
    Instant::from_millis(n * 1_000)
}

/// A session with this many partitions, each told as (10, 0).
fn create(shard: &mut FetchSessionShard, now: Instant, privileged: bool, size: i32) -> i32 {
    let partitions: Vec<_> = (0..size)
        .map(|p| (target(p), at_offset(0), told(10, 0)))
        .collect();
    shard.create(now, privileged, false, &partitions, &mut counter())
}

fn resume(
    shard: &mut FetchSessionShard,
    session_id: i32,
    epoch: i32,
) -> Result<Resumed, ErrorCode> {
    shard.resume(
        seconds(1),
        FetchMetadata { session_id, epoch },
        false,
        &[],
        &[],
    )
}

fn order(shard: &mut FetchSessionShard, id: i32) -> Vec<i32> {
    shard
        .partitions(id, &|_| None)
        .into_iter()
        .map(|(_, target, _)| target.partition)
        .collect()
}

/// Resumes, answers each partition with the given facts and returns the partitions that are sent.
fn round(shard: &mut FetchSessionShard, id: i32, epoch: i32, facts: &[AnswerFacts]) -> Vec<i32> {
    assert_eq!(resume(shard, id, epoch), Ok(Resumed::Incremental));
    let partitions = shard.partitions(id, &|_| None);
    let mut keep = vec![true; partitions.len()];
    let mut answers = partitions
        .iter()
        .zip(&mut keep)
        .map(|((slot, target, _), keep)| (*slot, facts[target.partition as usize], keep));
    shard
        .finish(
            FetchMetadata {
                session_id: id,
                epoch,
            },
            &mut answers,
        )
        .unwrap();
    partitions
        .iter()
        .zip(keep)
        .filter(|(_, keep)| *keep)
        .map(|((_, t, _), _)| t.partition)
        .collect()
}

#[test]
fn requests_must_follow_each_other() {
    let mut shard = FetchSessionShard::new(0, 10);
    let id = create(&mut shard, seconds(0), false, 2);
    assert_eq!(
        resume(&mut shard, id + 1, 1),
        Err(ErrorCode::FetchSessionIdNotFound)
    );
    assert_eq!(
        resume(&mut shard, id, 2),
        Err(ErrorCode::InvalidFetchSessionEpoch)
    );
    assert_eq!(resume(&mut shard, id, 1), Ok(Resumed::Incremental));
    assert_eq!(
        resume(&mut shard, id, 1),
        Err(ErrorCode::InvalidFetchSessionEpoch)
    );
    assert_eq!(resume(&mut shard, id, 2), Ok(Resumed::Incremental));
    let by_id = shard.resume(
        seconds(1),
        FetchMetadata {
            session_id: id,
            epoch: 3,
        },
        true,
        &[],
        &[],
    );
    assert_eq!(by_id, Err(ErrorCode::FetchSessionTopicIdError));
}

#[test]
fn a_duplicate_that_finishes_late_gets_the_epoch_error() {
    let mut shard = FetchSessionShard::new(0, 10);
    let id = create(&mut shard, seconds(0), false, 1);
    resume(&mut shard, id, 1).unwrap();
    resume(&mut shard, id, 2).unwrap();
    let late = shard.finish(
        FetchMetadata {
            session_id: id,
            epoch: 1,
        },
        &mut std::iter::empty(),
    );
    assert_eq!(late, Err(ErrorCode::InvalidFetchSessionEpoch));
}

#[test]
fn only_what_changed_is_sent() {
    let mut shard = FetchSessionShard::new(0, 10);
    let id = create(&mut shard, seconds(0), false, 3);
    let same = told(10, 0);
    let all_same = [same; 3];
    assert_eq!(round(&mut shard, id, 1, &all_same), [0; 0]);
    assert_eq!(round(&mut shard, id, 2, &[same, told(11, 0), same]), [1]);
    assert_eq!(
        round(&mut shard, id, 3, &[same, told(11, 0), told(10, 4)]),
        [2]
    );
    let now = [same, told(11, 0), told(10, 4)];
    assert_eq!(round(&mut shard, id, 4, &now), [0; 0]);
    let redirect = AnswerFacts {
        redirects_or_diverges: true,
        ..same
    };
    assert_eq!(round(&mut shard, id, 5, &[redirect, now[1], now[2]]), [0]);
    let failed = AnswerFacts {
        error: ErrorCode::KafkaStorageError,
        ..told(-1, -1)
    };
    assert_eq!(round(&mut shard, id, 6, &[failed, now[1], now[2]]), [0]);
    assert_eq!(
        round(&mut shard, id, 7, &[failed, now[1], now[2]]),
        [0],
        "as long as it lasts"
    );
    assert_eq!(round(&mut shard, id, 8, &now), [0], "and its end");
    assert_eq!(round(&mut shard, id, 9, &now), [0; 0]);
}

#[test]
fn partitions_that_gave_records_go_to_the_end() {
    let mut shard = FetchSessionShard::new(0, 10);
    let id = create(&mut shard, seconds(0), false, 3);
    let records = AnswerFacts {
        records_size: 100,
        ..told(10, 0)
    };
    assert_eq!(
        round(&mut shard, id, 1, &[records, told(10, 0), told(10, 0)]),
        [0]
    );
    assert_eq!(order(&mut shard, id), [1, 2, 0]);
    assert_eq!(
        round(&mut shard, id, 2, &[told(10, 0), records, records]),
        [1, 2]
    );
    assert_eq!(order(&mut shard, id), [0, 1, 2]);
}

#[test]
fn partitions_are_added_changed_and_forgotten_and_an_empty_session_closes() {
    let mut shard = FetchSessionShard::new(0, 10);
    let id = create(&mut shard, seconds(0), false, 2);
    let mut epoch = 0;
    let mut change = |shard: &mut FetchSessionShard,
                      changed: &[(FetchTarget, FetchPartition)],
                      forgotten: &[FetchTarget]| {
        epoch += 1;
        shard.resume(
            seconds(1),
            FetchMetadata {
                session_id: id,
                epoch,
            },
            false,
            changed,
            forgotten,
        )
    };
    change(
        &mut shard,
        &[(target(5), at_offset(0)), (target(0), at_offset(7))],
        &[target(1)],
    )
    .unwrap();
    assert_eq!(order(&mut shard, id), [0, 5]);
    assert_eq!(shard.partitions(id, &|_| None)[0].2.fetch_offset, 7);
    assert_eq!(shard.partition_count(), 2);
    assert_eq!(
        change(&mut shard, &[], &[target(0), target(5)]),
        Ok(Resumed::Closed)
    );
    assert_eq!((shard.session_count(), shard.partition_count()), (0, 0));
}

#[test]
fn unknown_topic_ids_are_kept_and_resolved_later() {
    let mut shard = FetchSessionShard::new(0, 10);
    let topic_id = TopicId([7; 16]);
    let unknown = FetchTarget {
        topic: None,
        topic_id,
        partition: 0,
    };
    let failed = AnswerFacts {
        error: ErrorCode::UnknownTopicId,
        ..told(-1, -1)
    };
    let id = shard.create(
        seconds(0),
        false,
        true,
        &[(unknown, at_offset(0), failed)],
        &mut counter(),
    );
    assert_eq!(shard.partitions(id, &|_| None)[0].1.topic, None);
    let resolved = shard.partitions(id, &|asked| (asked == topic_id).then(|| "now".into()));
    assert_eq!(resolved[0].1.topic, Some("now".into()));
    let named = FetchTarget {
        topic: Some("now".into()),
        topic_id,
        partition: 0,
    };
    let metadata = FetchMetadata {
        session_id: id,
        epoch: 1,
    };
    shard
        .resume(seconds(1), metadata, true, &[(named, at_offset(3))], &[])
        .unwrap();
    assert_eq!(shard.partition_count(), 1, "the same partition, by id");
}

#[test]
fn ids_stay_in_the_shards_range() {
    for number in 0..SHARD_COUNT {
        let mut shard = FetchSessionShard::new(number, 10);
        for seed in [0, 1, u32::MAX, u32::MAX / 2] {
            let id = shard.create(
                seconds(0),
                false,
                false,
                &[(target(0), at_offset(0), told(0, 0))],
                &mut || seed,
            );
            assert!(id > 0);
            assert_eq!(shard_of(id), Some(number));
            shard.remove(id);
        }
    }
}

#[test]
fn who_may_evict_whom() {
    let full = |sessions: &[(u64, bool, i32)]| {
        let mut shard = FetchSessionShard::new(0, sessions.len());
        let mut random = 0;
        for (created, privileged, size) in sessions {
            let partitions: Vec<_> = (0..*size)
                .map(|p| (target(p), at_offset(0), told(10, 0)))
                .collect();
            let mut next = || {
                random += 1;
                random
            };
            shard.create(
                seconds(*created),
                *privileged,
                false,
                &partitions,
                &mut next,
            );
        }
        shard
    };
    let admits = |mut shard: FetchSessionShard, now: u64, privileged: bool, size: i32| {
        create(&mut shard, seconds(now), privileged, size) != INVALID_SESSION_ID
    };
    let consumer = false;
    let follower = true;
    assert!(
        !admits(full(&[(0, consumer, 1)]), 100, consumer, 9),
        "too young"
    );
    assert!(admits(full(&[(0, consumer, 1)]), 121, consumer, 1), "stale");
    assert!(
        admits(full(&[(0, consumer, 9)]), 100, follower, 1),
        "followers push consumers out"
    );
    assert!(!admits(full(&[(0, follower, 1)]), 100, consumer, 9));
    assert!(
        !admits(full(&[(0, follower, 1)]), 100, follower, 9),
        "young followers stay"
    );
    assert!(
        admits(full(&[(0, follower, 9)]), 121, consumer, 1),
        "stale, however privileged"
    );

    let mut used = full(&[(0, consumer, 3)]);
    let id = 2;
    let touch = |shard: &mut FetchSessionShard, epoch| {
        shard.resume(
            seconds(130),
            FetchMetadata {
                session_id: id,
                epoch,
            },
            false,
            &[],
            &[],
        )
    };
    assert_eq!(touch(&mut used, 1), Ok(Resumed::Incremental));
    assert_eq!(
        create(&mut used, seconds(140), consumer, 2),
        INVALID_SESSION_ID,
        "larger one stays"
    );
    assert_ne!(
        create(&mut used, seconds(140), consumer, 4),
        INVALID_SESSION_ID,
        "old and smaller"
    );
    assert_eq!(used.evictions(), 1);
}
