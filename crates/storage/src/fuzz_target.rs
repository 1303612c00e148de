//! The body of the fuzz target `segment_recovery`: arbitrary bytes as a segment, with arbitrary
//! indexes, must never panic, never be trusted, and leave a log that works.

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use ottla_model::{LeaderEpoch, Timestamp, TopicPartition};
use ottla_record::{AppendOrigin, RecordBatchBuilder};

use crate::directory::{Directory, MemoryDirectory, OpenMode};
use crate::log::{Log, OpenLog, TimestampTarget};
use crate::log_config::LogConfig;
use crate::log_dir::{Background, LogDir};
use crate::log_reader::FetchIsolation;
use crate::partition_directory::PartitionDirectory;
use crate::producer::VerificationGuard;

/// Opens a log whose files hold these bytes, uncleanly and cleanly, and uses it.
pub fn recover_arbitrary_segment(data: &[u8]) {
    let [choice, rest @ ..] = data else { return };
    let split = rest.len() / 8 * usize::from(choice & 7);
    let (other, log) = rest.split_at(split);
    for is_clean in [false, true] {
        let files: Arc<dyn Directory> = Arc::new(MemoryDirectory::new());
        let path = Path::new("/data/t-0");
        // The memory is ours: these calls cannot fail.
        let write = |name: &str, bytes: &[u8]| {
            files
                .open(&path.join(name), OpenMode::CreateEmpty)
                .and_then(|file| file.write_all_at(&mut [IoSlice::new(bytes)], 0))
        };
        let made = files.create_directory(path).and_then(|()| {
            write("00000000000000000000.log", log)?;
            let name = match choice >> 3 & 7 {
                0 => "00000000000000000000.timeindex",
                1 => "00000000000000000000.txnindex",
                2 => "00000000000000000005.snapshot",
                3 => "leader-epoch-checkpoint",
                4 => "00000000000000000003.log",
                5 => "00000000000000000000.log.swap",
                _ => "00000000000000000000.index",
            };
            write(name, other)
        });
        assert!(made.is_ok(), "memory takes everything");
        exercise(open_request(&files, path, is_clean), is_clean);
    }
}

fn open_request(files: &Arc<dyn Directory>, path: &Path, is_clean: bool) -> OpenLog {
    let log_dir = LogDir::new(
        Arc::clone(files),
        "/data".into(),
        Arc::<Background>::default(),
    );
    OpenLog {
        topic_partition: TopicPartition::new("t", 0),
        directory: Arc::new(PartitionDirectory::new(Arc::clone(files), path.to_owned())),
        log_dir: Arc::new(log_dir),
        config: Arc::new(LogConfig {
            segment_index_bytes: 4096,
            ..LogConfig::default()
        }),
        log_start_offset: 0,
        recovery_point: 0,
        is_clean,
        is_future: false,
        topic_id: None,
        producer_expiration_ms: i64::MAX,
        jitter_seed: 0,
        now: Timestamp(0),
    }
}

fn exercise(request: OpenLog, is_clean: bool) {
    let Ok(mut log) = Log::open(request.clone()) else {
        return;
    };
    let reader = log.reader();
    // Every answer but a panic is an answer.
    let _ = reader.read(
        log.log_start_offset(),
        1000,
        FetchIsolation::TxnCommitted,
        true,
    );
    let _ = reader.read(log.log_start_offset(), 1000, FetchIsolation::LogEnd, true);
    let _ = log.fetch_offset_by_timestamp(TimestampTarget::At(Timestamp(5)));
    let _ = log.fetch_offset_by_timestamp(TimestampTarget::MaxTimestamp);
    if is_clean {
        return;
    }
    // What recovery accepted is a log: it takes an append and is the same after the next recovery.
    let mut builder = RecordBatchBuilder::new(0);
    let built = builder
        .append(Timestamp(1), Some(b"k"), None)
        .and_then(|()| builder.build());
    let Ok(batch) = built else { return };
    let end = log.log_end_offset();
    let none = VerificationGuard::NONE;
    let epoch = LeaderEpoch(i32::MAX);
    if log
        .append_as_leader(batch, epoch, AppendOrigin::Client, none, Timestamp(1))
        .is_err()
    {
        // An end near the last offset there is, or an index of a clean kind: nothing was written.
        return;
    }
    assert_eq!(log.log_end_offset(), end + 1);
    drop(log);
    match Log::open(request) {
        Ok(log) => assert_eq!(log.log_end_offset(), end + 1, "recovery is repeatable"),
        Err(error) => panic!("a recovered log opens again: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn arbitrary_and_slightly_damaged_segments_never_panic() {
        let mut seed_log = Vec::new();
        for offset in 0..6 {
            let mut builder =
                RecordBatchBuilder::new(offset).leader_epoch(LeaderEpoch(offset as i32));
            builder
                .append(Timestamp(offset), Some(b"k"), Some(b"value"))
                .unwrap();
            seed_log.extend(builder.build().unwrap());
        }
        for seed in 0..700 {
            let mut random = Random::new(seed);
            let mut data = vec![random.next_u64() as u8];
            if random.below(4) == 0 {
                data.extend((0..random.below(300)).map(|_| random.next_u64() as u8));
            } else {
                // Other files before, so that the log is mostly whole.
                data[0] &= !7;
                data.extend(&seed_log);
                for _ in 0..random.below(4) {
                    let at = 1 + random.below(data.len() as u64 - 1) as usize;
                    data[at] = random.next_u64() as u8;
                }
                let keep = data.len() - random.below(40) as usize;
                data.truncate(keep);
            }
            recover_arbitrary_segment(&data);
        }
    }
}
