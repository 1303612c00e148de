//! Whatever happens to a log, it knows the last batches of its producers.

use std::collections::BTreeMap;

use super::*;
use crate::producer::{BATCHES_RETAINED, BatchMetadata};
use crate::random::Random;

/// A batch of the log: base offset, number of records, producer, epoch, first sequence.
#[derive(Clone, Copy, Debug)]
struct Written {
    offset: Offset,
    count: usize,
    producer: i64,
    epoch: i16,
    sequence: i32,
}

impl Written {
    fn end(&self) -> Offset {
        self.offset + self.count as Offset
    }

    /// As a producer sends it, or, with its offset, as a leader does.
    fn bytes(&self, offset: Offset, leader_epoch: i32) -> Bytes {
        let (id, epoch) = (ProducerId(self.producer), ProducerEpoch(self.epoch));
        let builder = RecordBatchBuilder::new(offset)
            .producer(id, epoch, self.sequence)
            .leader_epoch(LeaderEpoch(leader_epoch));
        build(builder, 1000, &vec!["v"; self.count])
    }
}

/// A producer's epoch and its last five batches in it, as (last sequence, last offset), oldest
/// first.
type Known = BTreeMap<i64, (i16, Vec<(i32, Offset)>)>;

fn of(batch: &BatchMetadata) -> (i32, Offset) {
    (batch.last_sequence, batch.last_offset)
}

fn expected(written: &[Written]) -> Known {
    let mut known = Known::new();
    for batch in written {
        let (epoch, batches) = known.entry(batch.producer).or_default();
        if *epoch != batch.epoch {
            batches.clear();
        }
        *epoch = batch.epoch;
        if batches.len() == BATCHES_RETAINED {
            batches.remove(0);
        }
        let last_sequence = batch.sequence + batch.count as i32 - 1;
        batches.push((last_sequence, batch.end() - 1));
    }
    known
}

fn known(log: &Log) -> Known {
    let entry = |entry: &crate::producer::ProducerEntry| {
        let batches = entry.batches().iter().map(of).collect();
        (entry.producer_id.0, (entry.producer_epoch.0, batches))
    };
    log.producers.producers().map(entry).collect()
}

#[test]
fn the_last_five_batches_are_known_after_every_truncation_crash_and_restart() {
    for seed in 0..100 {
        play(seed);
    }
}

fn play(seed: u64) {
    let mut random = Random::new(seed);
    let disk = Disk::new(small());
    let mut log = disk.open();
    let mut leader_epoch = 0;
    for step in 0..80 {
        let written = batches(&log);
        match random.below(20) {
            0..=8 => {
                let batch = next(&written, log.log_end_offset(), &mut random);
                let appended = lead_at(&mut log, batch.bytes(0, 0), leader_epoch).unwrap();
                assert!(!appended.is_duplicate, "seed {seed} step {step}");
            }
            9..=13 => {
                let mut all = written;
                let mut bytes = Vec::new();
                for _ in 0..=random.below(3) {
                    let end = all.last().map_or(0, Written::end);
                    let batch = next(&all, end, &mut random);
                    bytes.extend_from_slice(&batch.bytes(batch.offset, leader_epoch));
                    all.push(batch);
                }
                log.append_as_follower(bytes.into(), NOW).unwrap();
            }
            14 => drop(log.roll(NOW).unwrap()),
            15 => log.flush(NOW).unwrap(),
            16 | 17 => {
                let kept = written.len().saturating_sub(random.below(8) as usize);
                let end = written[..kept].last().map_or(0, Written::end);
                log.truncate_to(end, NOW).unwrap();
                leader_epoch += 1;
            }
            18 => {
                log.close(NOW).unwrap();
                log = disk.open();
            }
            _ => {
                // After kill -9 what was written is there, after a power failure what was flushed.
                let recovery_point = log.recovery_point();
                drop(log);
                if random.below(2) == 0 {
                    disk.files.crash(seed + step);
                }
                log = disk.recover(recovery_point).unwrap();
            }
        }
        assert_eq!(
            known(&log),
            expected(&batches(&log)),
            "seed {seed} step {step}"
        );
    }
}

/// What the log holds.
fn batches(log: &Log) -> Vec<Written> {
    let (reader, mut from) = (log.reader(), log.log_start_offset());
    let mut batches: Vec<Written> = Vec::new();
    while from < log.log_end_offset() {
        let fetched = reader
            .read(from, 10_000, FetchIsolation::LogEnd, true)
            .unwrap();
        let bytes = fetched.slice.unwrap().read().unwrap();
        batches.extend(BatchIterator::new(&bytes).map(|batch| {
            let batch = batch.unwrap();
            Written {
                offset: batch.base_offset(),
                count: batch.last_offset_delta as usize + 1,
                producer: batch.producer_id.0,
                epoch: batch.producer_epoch.0,
                sequence: batch.base_sequence,
            }
        }));
        from = batches.last().map_or(from, Written::end);
    }
    batches
}

fn next(written: &[Written], offset: Offset, random: &mut Random) -> Written {
    let producer = 1 + random.below(3) as i64;
    let mut before = written.iter().rev();
    let (epoch, sequence) = match before.find(|batch| batch.producer == producer) {
        None => (0, 0),
        Some(batch) if random.below(12) == 0 => (batch.epoch + 1, 0),
        Some(batch) => (batch.epoch, batch.sequence + batch.count as i32),
    };
    Written {
        offset,
        count: 1 + random.below(3) as usize,
        producer,
        epoch,
        sequence,
    }
}

#[test]
fn requests_that_were_on_their_way_are_duplicates_after_the_log_was_cut_at_a_snapshot() {
    let disk = Disk::new(small());
    let mut log = disk.open();
    let mut ends = Vec::new();
    for sequence in 0..4 {
        ends.push(
            lead(&mut log, produced(7, 0, sequence, 1, false))
                .unwrap()
                .last_offset,
        );
    }
    // The process is killed; recovery writes a snapshot at the log's end. Then a leader's log is
    // shorter than what was fetched since.
    drop(log);
    let mut log = disk.recover(0).unwrap();
    lead(&mut log, batch(1, &["of another leader"])).unwrap();
    log.truncate_to(4, NOW).unwrap();
    for (sequence, end) in (0..).zip(ends) {
        let again = lead(&mut log, produced(7, 0, sequence, 1, false)).unwrap();
        assert!(again.is_duplicate);
        assert_eq!(again.last_offset, end);
    }
    assert_eq!(log.log_end_offset(), 4);
    assert!(
        !lead(&mut log, produced(7, 0, 4, 1, false))
            .unwrap()
            .is_duplicate
    );
}
