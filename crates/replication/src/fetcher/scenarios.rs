//! Followers against leaders, with model logs: one leader epoch per record.

use std::time::Duration;

use ottla_model::{ErrorCode, Instant, LeaderEpoch, Offset, TopicPartition};
use proptest::prelude::*;

use super::truncation::OwnLog;
use super::*;
use crate::offsets::LogOffsets;
use crate::partition::{EpochEndOffset, check_last_fetched_epoch};

/// A log as the list of its records' (epoch, value), from offset 0, and the epoch cache.
#[derive(Clone, Debug, Default)]
struct ModelLog {
    records: Vec<(i32, u32)>,
    epochs: Vec<(i32, Offset)>,
}

impl ModelLog {
    fn end(&self) -> Offset {
        self.records.len() as Offset
    }

    fn lead(&mut self, epoch: i32) {
        self.epochs.push((epoch, self.end()));
    }

    fn append(&mut self, epoch: i32, value: u32) {
        if self.epochs.last().is_none_or(|(last, _)| *last < epoch) {
            self.epochs.push((epoch, self.end()));
        }
        self.records.push((epoch, value));
    }

    fn truncate(&mut self, offset: Offset) {
        self.records.truncate(offset as usize);
        self.epochs.retain(|(_, start)| *start < offset);
    }

    fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.epochs.last().map(|(epoch, _)| LeaderEpoch(*epoch))
    }

    fn end_offset_for(&self, epoch: LeaderEpoch) -> EpochEndOffset {
        let end = |epoch: i32, offset| EpochEndOffset {
            leader_epoch: LeaderEpoch(epoch),
            end_offset: offset,
        };
        match self.epochs.last() {
            None => EpochEndOffset::UNDEFINED,
            Some((last, _)) if *last == epoch.0 => end(*last, self.end()),
            Some((last, _)) if *last < epoch.0 => EpochEndOffset::UNDEFINED,
            Some(_) => {
                let higher = self
                    .epochs
                    .iter()
                    .find(|(e, _)| *e > epoch.0)
                    .expect("the last one is");
                let floor = self.epochs.iter().rfind(|(e, _)| *e <= epoch.0);
                end(floor.map_or(epoch.0, |(e, _)| *e), higher.1)
            }
        }
    }

    fn own(&self, leaders_epoch: LeaderEpoch) -> OwnLog {
        OwnLog {
            log_end_offset: self.end(),
            end_of_leaders_epoch: Some(self.end_offset_for(leaders_epoch)),
        }
    }
}

fn partition() -> TopicPartition {
    TopicPartition::new("t", 0)
}

fn settings(truncation_on_fetch: bool) -> FetcherSettings {
    FetcherSettings {
        truncation_on_fetch,
        epoch_queries: true,
        backoff: Duration::from_secs(1),
    }
}

/// Lets the follower catch up with the leader, as the driver would; the number of cuts is given back.
fn follow(
    follower: &mut ModelLog,
    high_watermark: Offset,
    leader: &ModelLog,
    epoch: i32,
    on_fetch: bool,
) -> usize {
    let tp = partition();
    let mut fetcher = Fetcher::new(settings(on_fetch));
    let latest_epoch = follower.latest_epoch();
    fetcher.add(
        tp.clone(),
        InitialFetch {
            topic_id: None,
            current_leader_epoch: LeaderEpoch(epoch),
            fetch_offset: InitialFetch::offset(
                on_fetch,
                latest_epoch,
                follower.end(),
                high_watermark,
            ),
            latest_epoch,
        },
    );
    let mut cuts = 0;
    for round in 0..200 {
        let now = Instant::from_millis(round * 2_000);
        let plan = fetcher.truncation_plan(now, &|_| follower.latest_epoch());
        for query in &plan.queries {
            let answer = leader.end_offset_for(query.leader_epoch);
            let own = follower.own(answer.leader_epoch);
            let cut = fetcher
                .on_epoch_end(now, query, Ok(answer), &own)
                .expect("still following");
            cuts += usize::from(cut.offset < follower.end());
            follower.truncate(cut.offset);
            fetcher.truncated(&tp, cut, follower.latest_epoch());
        }
        for (_, cut) in plan.cuts {
            cuts += usize::from(cut.offset < follower.end());
            follower.truncate(cut.offset);
            fetcher.truncated(&tp, cut, follower.latest_epoch());
        }
        let planned = fetcher.fetch_plan(now, &mut |_, _| false);
        let Some(sent) = planned.first() else {
            continue;
        };
        match fetcher.on_answer(now, sent, &answer(leader, sent)) {
            AnswerStep::Append { fetch_offset } => {
                assert_eq!(fetch_offset, follower.end(), "a hole or an overlap");
                let from = fetch_offset as usize;
                let new = &leader.records[from..leader.records.len().min(from + 2)];
                for (epoch, value) in new {
                    follower.append(*epoch, *value);
                }
                let appended = Appended {
                    last_offset: (!new.is_empty()).then(|| follower.end() - 1),
                    last_leader_epoch: new.last().map(|(epoch, _)| LeaderEpoch(*epoch)),
                    leader_high_watermark: leader.end(),
                };
                fetcher.appended(&tp, &appended);
                if new.is_empty() {
                    return cuts;
                }
            }
            AnswerStep::Diverged(end) => {
                let own = follower.own(end.leader_epoch);
                let cut = fetcher.diverged(&tp, end, &own).expect("still following");
                cuts += usize::from(cut.offset < follower.end());
                follower.truncate(cut.offset);
                fetcher.truncated(&tp, cut, follower.latest_epoch());
            }
            AnswerStep::FindOffsets => {
                let latest_epoch = |log: &ModelLog| log.latest_epoch();
                match truncation_after_out_of_range(leader.end(), 0, follower.end()) {
                    OutOfRange::TruncateTo(offset) => {
                        cuts += 1;
                        follower.truncate(offset);
                        fetcher.reset(&tp, offset, 0, latest_epoch(follower));
                    }
                    OutOfRange::Keep(offset) | OutOfRange::StartAt(offset) => {
                        fetcher.reset(&tp, offset, 0, latest_epoch(follower));
                    }
                }
            }
            step => panic!("{step:?}"),
        }
    }
    panic!("never caught up: {follower:?} behind {leader:?}");
}

fn answer(leader: &ModelLog, sent: &PlannedFetch) -> FetchAnswer {
    let offsets = LogOffsets {
        log_end_offset: leader.end(),
        ..LogOffsets::default()
    };
    if let Some(epoch) = sent.last_fetched_epoch {
        let end = leader.end_offset_for(epoch);
        match check_last_fetched_epoch(epoch, sent.fetch_offset, end, &offsets) {
            Ok(None) => {}
            Ok(diverging_epoch) => {
                return FetchAnswer {
                    error: ErrorCode::None,
                    diverging_epoch,
                };
            }
            Err(error) => {
                return FetchAnswer {
                    error,
                    diverging_epoch: None,
                };
            }
        }
    }
    let error = if sent.fetch_offset > leader.end() {
        ErrorCode::OffsetOutOfRange
    } else {
        ErrorCode::None
    };
    FetchAnswer {
        error,
        diverging_epoch: None,
    }
}

fn log(records: &[(i32, u32)]) -> ModelLog {
    let mut log = ModelLog::default();
    for (epoch, value) in records {
        log.append(*epoch, *value);
    }
    log
}

#[test]
fn kip_101_a_restarted_follower_keeps_what_the_leader_has() {
    // Both have m1 and m2; only m1 is known to be committed at the follower, which restarts.
    let leader = {
        let mut l = log(&[(0, 1), (0, 2)]);
        l.lead(1);
        l
    };
    for on_fetch in [false, true] {
        let mut follower = log(&[(0, 1), (0, 2)]);
        assert_eq!(
            follow(&mut follower, 1, &leader, 1, on_fetch),
            0,
            "m2 is not lost"
        );
        assert_eq!(follower.records, leader.records);
    }
}

#[test]
fn kip_101_logs_that_diverged_after_a_crash_are_made_equal() {
    // The old leader wrote m2; the new one, which lacked it, wrote m3 at the same offset.
    let leader = {
        let mut l = log(&[(0, 1)]);
        l.lead(1);
        l.append(1, 3);
        l
    };
    for on_fetch in [false, true] {
        let mut follower = log(&[(0, 1), (0, 2)]);
        follow(&mut follower, 2, &leader, 1, on_fetch);
        assert_eq!(follower.records, leader.records);
    }
}

#[test]
fn kip_279_fast_leader_changes_need_more_than_one_comparison() {
    // The follower led epochs 1 and 4 with records that nobody else has; the leader 2 and 3.
    let leader = {
        let mut l = log(&[(0, 1), (2, 20), (2, 21), (3, 30)]);
        l.lead(5);
        l
    };
    for on_fetch in [false, true] {
        let mut follower = log(&[(0, 1), (1, 10), (1, 11), (4, 40), (4, 41)]);
        let cuts = follow(&mut follower, 1, &leader, 5, on_fetch);
        assert!(cuts >= 1);
        assert_eq!(follower.records, leader.records);
    }
}

#[test]
fn a_log_without_epochs_is_cut_at_the_high_watermark() {
    let tp = partition();
    let mut fetcher = Fetcher::new(settings(true));
    let initial = InitialFetch {
        topic_id: None,
        current_leader_epoch: LeaderEpoch(3),
        fetch_offset: InitialFetch::offset(true, None, 9, 4),
        latest_epoch: None,
    };
    fetcher.add(tp.clone(), initial);
    let plan = fetcher.truncation_plan(Instant::ZERO, &|_| None);
    assert_eq!(
        plan.cuts,
        [(
            tp.clone(),
            Truncation {
                offset: 4,
                is_complete: true
            }
        )]
    );
    assert!(
        fetcher
            .fetch_plan(Instant::ZERO, &mut |_, _| false)
            .is_empty()
    );
    fetcher.truncated(&tp, plan.cuts[0].1, None);
    assert_eq!(
        fetcher.fetch_plan(Instant::ZERO, &mut |_, _| false).len(),
        1
    );
}

fn following(count: i32) -> Fetcher {
    let mut fetcher = Fetcher::new(settings(true));
    for p in 0..count {
        let initial = InitialFetch {
            topic_id: None,
            current_leader_epoch: LeaderEpoch(3),
            fetch_offset: 10,
            latest_epoch: Some(LeaderEpoch(2)),
        };
        fetcher.add(TopicPartition::new("t", p), initial);
    }
    fetcher
}

fn planned(fetcher: &Fetcher, now: Instant) -> Vec<i32> {
    fetcher
        .fetch_plan(now, &mut |_, _| false)
        .iter()
        .map(|p| p.partition.partition)
        .collect()
}

#[test]
fn errors_delay_fail_or_look_for_offsets() {
    for (error, expected) in [
        (ErrorCode::None, AnswerStep::Append { fetch_offset: 10 }),
        (ErrorCode::OffsetOutOfRange, AnswerStep::FindOffsets),
        (ErrorCode::FencedLeaderEpoch, AnswerStep::Failed),
        (ErrorCode::UnknownLeaderEpoch, AnswerStep::Delayed),
        (ErrorCode::NotLeaderOrFollower, AnswerStep::Delayed),
        (ErrorCode::UnknownTopicOrPartition, AnswerStep::Delayed),
        (ErrorCode::UnknownTopicId, AnswerStep::Delayed),
        (ErrorCode::InconsistentTopicId, AnswerStep::Delayed),
        (ErrorCode::KafkaStorageError, AnswerStep::Delayed),
    ] {
        let mut fetcher = following(1);
        let sent = fetcher
            .fetch_plan(Instant::ZERO, &mut |_, _| false)
            .remove(0);
        let answer = FetchAnswer {
            error,
            diverging_epoch: None,
        };
        assert_eq!(
            fetcher.on_answer(Instant::ZERO, &sent, &answer),
            expected,
            "{error:?}"
        );
        let delayed = expected == AnswerStep::Delayed;
        let failed = expected == AnswerStep::Failed;
        assert_eq!(
            planned(&fetcher, Instant::from_millis(999)).is_empty(),
            delayed || failed
        );
        assert_eq!(
            planned(&fetcher, Instant::from_millis(1_000)).is_empty(),
            failed
        );
        assert_eq!(fetcher.failed_partitions().len(), usize::from(failed));
    }
}

#[test]
fn a_fenced_follower_whose_epoch_has_moved_on_retries() {
    let mut fetcher = following(1);
    let mut sent = fetcher
        .fetch_plan(Instant::ZERO, &mut |_, _| false)
        .remove(0);
    sent.current_leader_epoch = LeaderEpoch(2);
    let fenced = FetchAnswer {
        error: ErrorCode::FencedLeaderEpoch,
        diverging_epoch: None,
    };
    assert_eq!(
        fetcher.on_answer(Instant::ZERO, &sent, &fenced),
        AnswerStep::Delayed
    );
    assert!(fetcher.failed_partitions().is_empty());
}

#[test]
fn answers_to_an_earlier_offset_are_ignored() {
    let mut fetcher = following(1);
    let sent = fetcher
        .fetch_plan(Instant::ZERO, &mut |_, _| false)
        .remove(0);
    fetcher.truncated(
        &sent.partition,
        Truncation {
            offset: 5,
            is_complete: true,
        },
        None,
    );
    let fine = FetchAnswer {
        error: ErrorCode::None,
        diverging_epoch: None,
    };
    assert_eq!(
        fetcher.on_answer(Instant::ZERO, &sent, &fine),
        AnswerStep::Ignore
    );
}

#[test]
fn who_was_served_goes_to_the_end() {
    let mut fetcher = following(3);
    let appended = Appended {
        last_offset: Some(14),
        last_leader_epoch: Some(LeaderEpoch(3)),
        leader_high_watermark: 20,
    };
    fetcher.appended(&TopicPartition::new("t", 0), &appended);
    assert_eq!(planned(&fetcher, Instant::ZERO), [1, 2, 0]);
    let state = fetcher.state(&TopicPartition::new("t", 0)).unwrap();
    assert_eq!((state.fetch_offset, state.lag), (15, Some(5)));
    assert_eq!(state.last_fetched_epoch, Some(LeaderEpoch(3)));
}

#[test]
fn damaged_records_are_retried_and_other_failures_are_final() {
    let mut fetcher = following(2);
    let (first, second) = (TopicPartition::new("t", 0), TopicPartition::new("t", 1));
    fetcher.append_failed(Instant::ZERO, &first, AppendFailure::Corrupt);
    fetcher.append_failed(Instant::ZERO, &second, AppendFailure::Unexpected);
    assert_eq!(planned(&fetcher, Instant::from_millis(1_000)), [0]);
    assert_eq!(
        fetcher.failed_partitions().iter().collect::<Vec<_>>(),
        [&second]
    );
    assert_eq!(
        fetcher.next_deadline(Instant::ZERO),
        Some(Instant::from_millis(1_000))
    );
}

#[test]
fn fetchers_are_chosen_by_javas_hash() {
    assert_eq!(fetcher_id(&TopicPartition::new("t", 0), 1), 0);
    // "t".hashCode() = 116; 31 * 116 + 5 = 3601.
    assert_eq!(fetcher_id(&TopicPartition::new("t", 5), 4), 1);
    assert_eq!(
        fetcher_name(2, ottla_model::BrokerId(7)),
        "ReplicaFetcherThread-2-7"
    );
    assert_eq!(
        fetcher_client_id(ottla_model::BrokerId(1), 2),
        "broker-1-fetcher-2"
    );
}

/// Histories: leaders follow each other, each from a prefix of what the one before had.
fn history() -> impl Strategy<Value = Vec<(usize, usize, bool)>> {
    prop::collection::vec((0..3usize, 0..4usize, any::<bool>()), 1..10)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn followers_end_up_with_their_leaders_log(history in history(), on_fetch in any::<bool>()) {
        let mut logs = vec![ModelLog::default(); 3];
        let mut value = 0;
        for (round, (leader, appends, others_follow)) in history.iter().enumerate() {
            let epoch = round as i32;
            logs[*leader].lead(epoch);
            for _ in 0..*appends {
                value += 1;
                logs[*leader].append(epoch, value);
            }
            if *others_follow {
                let of = logs[*leader].clone();
                let other = (*leader + 1) % 3;
                // Nothing is committed here, so the high watermark trusts nothing.
                follow(&mut logs[other], 0, &of, epoch, on_fetch);
            }
        }
        let leader = logs[0].clone();
        let mut leader = leader;
        leader.lead(history.len() as i32);
        for other in [1, 2] {
            follow(&mut logs[other], 0, &leader, history.len() as i32, on_fetch);
            prop_assert_eq!(&logs[other].records, &leader.records);
        }
    }
}
