//! Which records stay.

use super::*;

#[test]
fn the_last_record_of_each_key_stays_at_its_offset() {
    let bench = Bench::new(compacted());
    for (key, value) in [("a", "1"), ("b", "1"), ("a", "2"), ("c", "1"), ("b", "2")] {
        bench.put(key, Some(value));
    }
    bench.roll();
    bench.put("a", Some("active"));
    let CleanRound::Cleaned(stats) = bench.clean() else {
        panic!("the log is dirty");
    };
    assert_eq!((stats.messages_read, stats.messages_written), (5, 3));
    assert_eq!(bench.kept(), "2:a 3:c 4:b 5:a");
    assert_eq!(bench.checkpoint(), Some(5));
    assert_eq!(bench.clean(), CleanRound::Nothing);
    // The same after a restart, and through the reader.
    let bench = bench.reopened();
    assert_eq!(bench.kept(), "2:a 3:c 4:b 5:a");
    bench.log.lock().update_high_watermark(6);
    let reader = bench.log.lock().reader();
    let fetched = reader
        .read(0, 10_000, crate::FetchIsolation::HighWatermark, true)
        .unwrap();
    let bytes = fetched.slice.unwrap().read().unwrap();
    let first = BatchIterator::new(&bytes).next().unwrap().unwrap();
    assert_eq!(first.base_offset(), 2);
}

#[test]
fn a_batch_keeps_its_offsets_when_records_in_it_go() {
    let bench = Bench::new(compacted());
    let records = [("a", Some("1")), ("b", Some("1")), ("c", Some("1"))];
    bench.append(batch(RecordBatchBuilder::new(0), &records));
    bench.put("a", Some("2"));
    bench.put("c", Some("2"));
    bench.roll();
    bench.clean();
    assert_eq!(bench.kept(), "1:b 3:a 4:c");
    let bytes = bench.bytes();
    let first = BatchIterator::new(&bytes).next().unwrap().unwrap();
    assert_eq!((first.base_offset(), first.last_offset()), (0, 2));
    assert_eq!(first.last_offset_delta, 2);
    assert_eq!(first.record_count, Some(1));
}

#[test]
fn a_tombstone_stays_until_its_horizon_which_is_set_once() {
    let bench = Bench::new(compacted());
    bench.put("a", Some("1"));
    bench.put("a", None);
    bench.put("b", Some("1"));
    bench.roll();
    bench.clean();
    assert_eq!(bench.kept(), "1:a 2:b");
    let horizon = |bench: &Bench| {
        let bytes = bench.bytes();
        let first = BatchIterator::new(&bytes).next().unwrap().unwrap();
        let records = first.records(DECOMPRESSED_SIZE_MAX).unwrap();
        let timestamp = records.iter().unwrap().next().unwrap().unwrap().timestamp;
        assert_eq!(timestamp, Timestamp(1000), "the record's own time stays");
        first.delete_horizon()
    };
    let due = NOW.0 + DELETE_RETENTION;
    assert_eq!(horizon(&bench), Some(Timestamp(due)));
    bench.set_time(due - 1);
    bench.clean_again();
    assert_eq!(bench.kept(), "1:a 2:b");
    assert_eq!(horizon(&bench), Some(Timestamp(due)));
    bench.set_time(due);
    bench.clean_again();
    assert_eq!(bench.kept(), "2:b");
}

#[test]
fn aborted_data_goes_at_once_and_its_marker_when_nothing_is_left_and_the_horizon_passed() {
    let bench = Bench::new(compacted());
    bench.put("a", Some("1")); // 0
    bench.append(produced(7, 0, true, &["a", "b"])); // 1, 2
    bench.append_from(
        marker(7, TransactionResult::Abort),
        AppendOrigin::Coordinator,
    ); // 3
    bench.append(produced(7, 2, true, &["c"])); // 4
    bench.append_from(
        marker(7, TransactionResult::Commit),
        AppendOrigin::Coordinator,
    ); // 5
    bench.put("z", Some("1")); // 6
    bench.roll();
    bench.clean();
    // The aborted value of "a" hides nothing.
    assert_eq!(bench.kept(), "0:a 3:marker 4:c 5:marker 6:z");
    let aborted = |bench: &Bench| {
        let view = bench.log.lock().cleaning_view();
        view.segments[0].transaction_index.entries().unwrap().len()
    };
    assert_eq!(aborted(&bench), 1, "data of it was met in this pass");

    // Nothing of the aborted transaction is met now: its marker gets a horizon.
    bench.clean_again();
    assert_eq!(bench.kept(), "0:a 3:marker 4:c 5:marker 6:z");
    assert_eq!(aborted(&bench), 0);
    bench.set_time(NOW.0 + DELETE_RETENTION);
    bench.clean_again();
    assert_eq!(bench.kept(), "0:a 4:c 5:marker 6:z");
}

#[test]
fn an_open_transaction_is_a_limit() {
    let bench = Bench::new(compacted());
    bench.put("a", Some("1"));
    bench.roll();
    bench.append(produced(7, 0, true, &["b"]));
    bench.put("a", Some("2"));
    bench.roll();
    bench.clean();
    assert_eq!(
        bench.kept(),
        "0:a 1:b 2:a",
        "the segment with the LSO is not read"
    );
    assert_eq!(bench.checkpoint(), Some(1));
}

#[test]
fn the_last_batch_of_a_producer_stays_even_if_it_is_empty() {
    let bench = Bench::new(compacted());
    bench.append(produced(9, 0, false, &["a"])); // 0
    bench.append(produced(9, 1, false, &["a", "b"])); // 1, 2
    bench.put("a", Some("2")); // 3
    bench.put("b", Some("2")); // 4
    bench.roll();
    bench.clean();
    assert_eq!(bench.kept(), "3:a 4:b");
    let bytes = bench.bytes();
    let first = BatchIterator::new(&bytes).next().unwrap().unwrap();
    assert_eq!((first.base_offset(), first.last_offset()), (1, 2));
    assert_eq!((first.record_count, first.last_sequence()), (Some(0), 2));
    // The next batch of the producer follows even when the state is rebuilt from the log.
    let bench = bench.reopened();
    bench.append(produced(9, 3, false, &["c"]));
}

#[test]
fn records_without_a_key_go() {
    let bench = Bench::new(LogConfig {
        compact: false,
        ..compacted()
    });
    let mut keyless = RecordBatchBuilder::new(0);
    keyless.append(Timestamp(1000), None, Some(b"x")).unwrap();
    bench.append(keyless.build().unwrap());
    bench.put("a", Some("1"));
    bench.roll();
    assert_eq!(
        bench.clean(),
        CleanRound::Nothing,
        "only compacted logs are cleaned"
    );
    bench.log.lock().update_config(Arc::new(compacted()));
    bench.clean();
    assert_eq!(bench.kept(), "1:a");
}

/// Records as an old leader wrote them, taken by a follower.
fn follow_old(bench: &Bench, magic: ottla_record::Magic, records: &[(&str, Option<&str>)]) {
    let mut log = bench.log.lock();
    let new = batch(RecordBatchBuilder::new(log.log_end_offset()), records);
    let old = ottla_record::convert_down(&new, magic, 0, DECOMPRESSED_SIZE_MAX).unwrap();
    log.append_as_follower(old.records, NOW).unwrap();
}

#[test]
fn a_tombstone_of_an_old_format_stays_as_long_as_its_segment_is_younger_than_the_clean_ones() {
    use ottla_record::Magic;
    for magic in [Magic::V0, Magic::V1] {
        let bench = Bench::new(compacted());
        follow_old(&bench, magic, &[("a", Some("1"))]);
        follow_old(&bench, magic, &[("a", None)]);
        follow_old(&bench, magic, &[("b", Some("1"))]);
        bench.roll();
        // Nothing is clean yet: every segment is younger.
        bench.clean();
        assert_eq!(bench.kept(), "1:a 2:b", "{magic:?}");
        // The cleaned segment is as old as its sources; the clean part ends with it.
        bench.set_time(NOW.0 + DELETE_RETENTION / 2);
        follow_old(&bench, magic, &[("c", Some("1"))]);
        bench.roll();
        bench.clean();
        assert_eq!(bench.kept(), "1:a 2:b 3:c", "{magic:?}");
        // Now they are one segment, written later; a clean one later still by the retention.
        bench.set_time(NOW.0 + 3 * DELETE_RETENTION);
        follow_old(&bench, magic, &[("d", Some("x".repeat(3900).as_str()))]);
        bench.roll();
        bench.clean();
        assert_eq!(bench.kept(), "1:a 2:b 3:c 4:d", "{magic:?}");
        follow_old(&bench, magic, &[("e", Some("1"))]);
        bench.roll();
        bench.clean();
        assert_eq!(bench.kept(), "2:b 3:c 4:d 5:e", "{magic:?}");
        let bytes = bench.bytes();
        let formats = BatchIterator::new(&bytes).map(|batch| batch.unwrap().magic);
        assert!(formats.into_iter().all(|found| found == magic));
    }
}

#[test]
fn a_segment_that_reaches_too_far_is_split_before_it_is_cleaned() {
    const FAR: Offset = i32::MAX as Offset;
    let files = FaultyDirectory::new(MemoryDirectory::new());
    drop(Bench::on(files.clone(), compacted()));
    let mut long = Vec::new();
    for (offset, key) in [(0, "a"), (5, "b"), (FAR + 10, "a"), (FAR + 11, "c")] {
        let builder = RecordBatchBuilder::new(offset).leader_epoch(LeaderEpoch(0));
        long.extend(batch(builder, &[(key, Some("1"))]));
    }
    let next = 3 * FAR;
    let last = RecordBatchBuilder::new(next).leader_epoch(LeaderEpoch(0));
    let last = batch(last, &[("d", Some("1"))]);
    for (base, bytes) in [(0, long), (next, last.to_vec())] {
        for (kind, bytes) in [("log", &bytes[..]), ("index", &[]), ("timeindex", &[])] {
            let path = PathBuf::from(format!("/a/t-0/{base:020}.{kind}"));
            let file = files.open(&path, crate::directory::OpenMode::CreateEmpty);
            let mut content = [std::io::IoSlice::new(bytes)];
            file.unwrap().write_all_at(&mut content, 0).unwrap();
        }
    }
    // As after an orderly stop nothing is scanned.
    let mark = files.open(
        Path::new("/a/.kafka_cleanshutdown"),
        crate::directory::OpenMode::CreateEmpty,
    );
    drop(mark.unwrap());
    let bench = Bench::on(
        FaultyDirectory::new(files.memory().duplicate()),
        compacted(),
    );
    assert_eq!(bench.log.lock().segment_count(), 2);
    bench.log.lock().update_high_watermark(next + 1);
    assert_eq!(bench.clean(), CleanRound::Nothing);
    assert_eq!(bench.log.lock().segment_count(), 3);
    assert_eq!(bench.manager.uncleanable_partitions(), []);
    assert!(matches!(bench.clean(), CleanRound::Cleaned(_)));
    let (second, third) = (FAR + 10, FAR + 11);
    assert_eq!(bench.kept(), format!("5:b {second}:a {third}:c {next}:d"));
    let bench = bench.reopened();
    assert_eq!(bench.kept(), format!("5:b {second}:a {third}:c {next}:d"));
}
