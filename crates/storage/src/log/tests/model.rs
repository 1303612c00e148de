//! Random operations against a plain list of records.

use ottla_record::RecordBatchBuilder;

use super::*;
use crate::random::Random;

struct Model {
    start: i64,
    end: i64,
    high_watermark: i64,
    records: Vec<(i64, String)>,
}

#[test]
fn a_log_behaves_like_a_list_of_records() {
    for seed in 0..40 {
        play(seed);
    }
}

fn play(seed: u64) {
    let mut random = Random::new(seed);
    let disk = Disk::new(LogConfig {
        segment_bytes: 400 + random.below(1200),
        segment_index_bytes: 24 + random.below(400),
        index_interval_bytes: random.below(300),
        // Gaps between segments are legal then, and a recovery must keep them.
        compact: true,
        ..small()
    });
    let mut log = disk.open();
    let mut model = Model {
        start: 0,
        end: 0,
        high_watermark: 0,
        records: Vec::new(),
    };
    for step in 0..200 {
        let choice = random.below(100);
        match choice {
            0..=49 => append(&mut log, &mut model, &mut random),
            50..=59 => {
                let to = model.start + random.below((model.end - model.start) as u64 + 3) as i64;
                model.high_watermark = log.update_high_watermark(to);
                assert_eq!(model.high_watermark, to.min(model.end));
            }
            60..=66 => truncate(&mut log, &mut model, &mut random),
            67..=72 => {
                log.roll(NOW).unwrap();
            }
            73..=78 => {
                let span = (model.high_watermark - model.start) as u64;
                let to = model.start + random.below(span + 1) as i64;
                log.maybe_increment_log_start_offset(to).unwrap();
                model.start = to.max(model.start);
                log.delete_old_segments(Timestamp(0)).unwrap();
            }
            79..=82 => log.flush(NOW).unwrap(),
            83..=88 => {
                let (start, recovery_point) = (model.start, log.recovery_point());
                let is_clean = random.below(2) == 0;
                if is_clean {
                    log.close(NOW).unwrap();
                }
                drop(log);
                let mut request = disk.open_request(is_clean, recovery_point);
                request.log_start_offset = start;
                log = Log::open(request).unwrap();
                // An end in the middle of a batch that is gone is not remembered by any file.
                let last = model.records.last().map_or(0, |(offset, _)| offset + 1);
                model.end = log.log_end_offset();
                assert!(model.end >= last, "seed {seed} step {step}");
                model.high_watermark =
                    log.update_high_watermark(model.high_watermark.min(model.end));
            }
            _ => read(&log, &model, &mut random, seed),
        }
        model.records.retain(|(offset, _)| *offset >= model.start);
        assert_eq!(
            log.log_start_offset(),
            model.start,
            "seed {seed} step {step} ({choice})"
        );
        assert_eq!(
            log.log_end_offset(),
            model.end,
            "seed {seed} step {step} ({choice})"
        );
        assert!(log.recovery_point() <= model.end, "seed {seed} step {step}");
        if step % 10 == 0 {
            assert_eq!(
                contents(&log),
                model.records,
                "seed {seed} step {step} ({choice})"
            );
        }
    }
    assert_eq!(contents(&log), model.records, "seed {seed}");
}

fn append(log: &mut Log, model: &mut Model, random: &mut Random) {
    let gap = if random.below(8) == 0 {
        random.below(4) as i64
    } else {
        0
    };
    let builder = RecordBatchBuilder::new(model.end + gap).leader_epoch(LeaderEpoch(1));
    let values: Vec<String> = (0..=random.below(4))
        .map(|_| {
            format!(
                "{:0width$}",
                random.below(1000),
                width = 1 + random.below(60) as usize
            )
        })
        .collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    let first = model.end + gap;
    let info = if gap == 0 && random.below(2) == 0 {
        lead_at(log, batch(random.below(5000) as i64, &values), 1).unwrap()
    } else {
        log.append_as_follower(build(builder, random.below(5000) as i64, &values), NOW)
            .unwrap()
    };
    assert_eq!(info.first_offset, first);
    for (index, value) in values.iter().enumerate() {
        model
            .records
            .push((first + index as i64, (*value).to_owned()));
    }
    model.end = first + values.len() as i64;
}

fn truncate(log: &mut Log, model: &mut Model, random: &mut Random) {
    let back = random.below(12) as i64;
    let to = (model.end - back).max(0);
    let straddles = log.reader().read(to, 1, FetchIsolation::LogEnd, true);
    let gone_from = match straddles {
        Ok(fetched) if to < model.end => {
            let slice = fetched
                .slice
                .map(|slice| slice.read().unwrap())
                .unwrap_or_default();
            let first = ottla_record::BatchView::parse(&slice).ok();
            first.map_or(to, |batch| batch.base_offset().min(to))
        }
        _ => to,
    };
    let gone_from = if to < model.start { to } else { gone_from };
    if log.truncate_to(to, NOW).unwrap() {
        model.records.retain(|(offset, _)| *offset < gone_from);
        model.end = to;
        model.start = model.start.min(to);
        model.high_watermark = model.high_watermark.min(to);
    }
}

fn read(log: &Log, model: &Model, random: &mut Random, seed: u64) {
    let span = (model.end - model.start) as u64;
    let from = model.start + random.below(span + 1) as i64;
    let isolation =
        [FetchIsolation::LogEnd, FetchIsolation::HighWatermark][random.below(2) as usize];
    let bound = match isolation {
        FetchIsolation::LogEnd => model.end,
        _ => model.high_watermark,
    };
    let limit = random.below(600) as usize;
    let fetched = log.reader().read(from, limit, isolation, true).unwrap();
    let expected = model
        .records
        .iter()
        .find(|(offset, _)| *offset >= from && *offset < bound);
    let Some(slice) = fetched.slice else {
        assert!(
            expected.is_none() || fetched.first_batch_incomplete,
            "seed {seed}: nothing at {from} below {bound}, but the model has {expected:?}"
        );
        return;
    };
    let bytes = slice.read().unwrap();
    let mut found = Vec::new();
    for batch in BatchIterator::new(&bytes) {
        let batch = batch.unwrap();
        for record in batch.records(1 << 20).unwrap().iter().unwrap() {
            let record = record.unwrap();
            let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
            found.push((record.offset, value));
        }
    }
    found.retain(|(offset, _)| *offset >= from && *offset < bound);
    let wanted = model
        .records
        .iter()
        .filter(|(offset, _)| *offset >= from)
        .take(found.len());
    assert_eq!(
        found,
        wanted.cloned().collect::<Vec<_>>(),
        "seed {seed} from {from}"
    );
}
