use ottla_model::ErrorCode;

use super::*;

fn log() -> (Disk, Log) {
    let disk = Disk::new(small());
    let mut log = disk.open();
    log.set_transaction_verification(false);
    (disk, log)
}

#[test]
fn the_last_five_batches_are_recognised_and_sequences_must_follow() {
    let (_disk, mut log) = log();
    for sequence in 0..6 {
        let info = lead(&mut log, produced(7, 0, sequence * 2, 2, false)).unwrap();
        assert_eq!(info.first_offset, i64::from(sequence) * 2);
    }
    let info = lead(&mut log, produced(7, 0, 2, 2, false)).unwrap();
    assert!(info.is_duplicate);
    assert_eq!((info.first_offset, info.last_offset), (2, 3));
    assert_eq!(info.log_append_time, Timestamp(1000));
    assert_eq!(log.log_end_offset(), 12);
    for (epoch, sequence, expected) in [
        (0, 0, ErrorCode::OutOfOrderSequenceNumber), // forgotten: six batches ago
        (0, 13, ErrorCode::OutOfOrderSequenceNumber), // a gap
        (1, 12, ErrorCode::OutOfOrderSequenceNumber), // a new epoch starts at 0
    ] {
        let error = lead(&mut log, produced(7, epoch, sequence, 1, false)).unwrap_err();
        assert_eq!(error.code(), expected, "{epoch} {sequence}: {error}");
    }
    lead(&mut log, produced(7, 1, 0, 1, false)).unwrap();
    let error = lead(&mut log, produced(7, 0, 12, 1, false)).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidProducerEpoch);
    // Of an unknown producer any sequence is taken, and after the last one comes 0.
    lead(&mut log, produced(8, 3, i32::MAX, 1, false)).unwrap();
    lead(&mut log, produced(8, 3, 0, 1, false)).unwrap();
}

#[test]
fn read_committed_stops_at_the_first_open_transaction() {
    let (_disk, mut log) = log();
    let stable = |log: &mut Log| {
        log.update_high_watermark(log.log_end_offset());
        log.last_stable_offset()
    };
    lead(&mut log, batch(1000, &["a"])).unwrap(); // 0
    assert_eq!(stable(&mut log), 1);
    lead(&mut log, produced(1, 0, 0, 2, true)).unwrap(); // 1, 2
    lead(&mut log, produced(2, 0, 0, 1, true)).unwrap(); // 3
    assert_eq!(stable(&mut log), 1);
    coordinate(&mut log, marker(1, 0, 5, TransactionResult::Abort)).unwrap(); // 4
    // Completed, but the marker is not below the high watermark yet.
    assert_eq!(log.last_stable_offset(), 1);
    assert_eq!(stable(&mut log), 3);
    coordinate(&mut log, marker(2, 0, 5, TransactionResult::Commit)).unwrap(); // 5
    assert_eq!(stable(&mut log), 6);
    let aborted = log.active.transaction_index.entries().unwrap();
    assert_eq!(aborted.len(), 1);
    assert_eq!((aborted[0].first_offset, aborted[0].last_offset), (1, 4));
    assert_eq!(
        aborted[0].last_stable_offset, 3,
        "the other transaction was open"
    );
    let fetched = log
        .reader()
        .read(0, 10_000, FetchIsolation::TxnCommitted, true)
        .unwrap();
    let aborted = fetched.aborted_transactions.unwrap();
    assert_eq!(aborted.len(), 1);
    let fetched = log
        .reader()
        .read(5, 10_000, FetchIsolation::TxnCommitted, true)
        .unwrap();
    assert_eq!(fetched.aborted_transactions.unwrap(), []);
    let fetched = log
        .reader()
        .read(0, 10_000, FetchIsolation::HighWatermark, true)
        .unwrap();
    assert_eq!(fetched.aborted_transactions, None);
}

#[test]
fn zombie_coordinators_and_stray_writes_are_fenced() {
    let (_disk, mut log) = log();
    lead(&mut log, produced(1, 1, 0, 1, true)).unwrap();
    let error = lead(&mut log, produced(1, 1, 1, 1, false)).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidTxnState);
    let error = coordinate(&mut log, marker(1, 0, 5, TransactionResult::Abort)).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidProducerEpoch);
    coordinate(&mut log, marker(1, 2, 5, TransactionResult::Abort)).unwrap();
    let error = coordinate(&mut log, marker(1, 2, 4, TransactionResult::Abort)).unwrap_err();
    assert_eq!(error.code(), ErrorCode::TransactionCoordinatorFenced);
    // The marker raised the epoch and forgot the batches.
    let error = lead(&mut log, produced(1, 2, 1, 1, true)).unwrap_err();
    assert_eq!(error.code(), ErrorCode::OutOfOrderSequenceNumber);
    lead(&mut log, produced(1, 2, 0, 1, true)).unwrap();
    // A marker without a transaction is written and indexes nothing.
    coordinate(&mut log, marker(9, 0, 1, TransactionResult::Abort)).unwrap();
    assert_eq!(log.active.transaction_index.entries().unwrap().len(), 1);
}

#[test]
fn an_unverified_transaction_is_refused_and_a_guard_is_good_for_one() {
    let (_disk, mut log) = log();
    log.set_transaction_verification(true);
    let append = |log: &mut Log, sequence, guard| {
        let records = produced(1, 0, sequence, 1, true);
        log.append_as_leader(records, LeaderEpoch(0), AppendOrigin::Client, guard, NOW)
    };
    let error = append(&mut log, 0, VerificationGuard::NONE).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidTxnState);
    let start = |log: &mut Log, sequence| {
        log.maybe_start_transaction_verification(ProducerId(1), sequence, ProducerEpoch(0), NOW)
    };
    let guard = start(&mut log, 1);
    assert_eq!(start(&mut log, 0), guard, "one per producer");
    let error = append(&mut log, 1, guard).unwrap_err();
    assert_eq!(
        error.code(),
        ErrorCode::OutOfOrderSequenceNumber,
        "sequence 0 is on its way"
    );
    append(&mut log, 0, guard).unwrap();
    assert_eq!(
        start(&mut log, 1),
        VerificationGuard::NONE,
        "open: nothing to verify"
    );
    append(&mut log, 1, VerificationGuard::NONE).unwrap();
    coordinate(&mut log, marker(1, 0, 0, TransactionResult::Commit)).unwrap();
    let error = append(&mut log, 2, guard).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidTxnState);
}

#[test]
fn producer_state_survives_a_clean_stop_and_a_crash_alike() {
    for is_clean in [true, false] {
        let (disk, mut log) = log();
        lead(&mut log, produced(1, 0, 0, 3, false)).unwrap(); // 0..=2
        lead(&mut log, produced(2, 0, 0, 1, true)).unwrap(); // 3
        lead(&mut log, produced(3, 0, 0, 1, true)).unwrap(); // 4
        coordinate(&mut log, marker(3, 0, 9, TransactionResult::Abort)).unwrap(); // 5
        lead(&mut log, produced(1, 0, 3, 1, false)).unwrap(); // 6
        let before = log.describe_producers();
        if is_clean {
            log.close(NOW).unwrap();
        }
        drop(log);
        let mut log = Log::open(disk.open_request(is_clean, 0)).unwrap();
        log.set_transaction_verification(false);
        assert_eq!(log.describe_producers(), before, "clean: {is_clean}");
        log.update_high_watermark(7);
        assert_eq!(log.last_stable_offset(), 3);
        assert!(
            lead(&mut log, produced(1, 0, 3, 1, false))
                .unwrap()
                .is_duplicate
        );
        let aborted = log.active.transaction_index.entries().unwrap();
        assert_eq!(aborted.len(), 1);
        assert_eq!(
            (aborted[0].first_offset, aborted[0].last_stable_offset),
            (4, 3)
        );
        assert!(log.has_late_transaction(Timestamp(1000 + 900_001 + 300_000), 900_000));
        assert!(!log.has_late_transaction(Timestamp(1000 + 900_000 + 300_000), 900_000));
        let expired = log.remove_expired_producers(Timestamp(1000 + 86_400_000));
        assert_eq!(expired, 2, "the producer in a transaction stays");
    }
}
