//! Writes a log with all kinds of files into a new directory, for Kafka's own dump-log to read:
//! `cargo run -p ottla-storage --example write_log -- DIRECTORY`.

use std::path::PathBuf;
use std::sync::Arc;

use ottla_model::{
    BrokerId, LeaderEpoch, ProducerEpoch, ProducerId, Timestamp, TopicId, TopicPartition,
};
use ottla_record::{
    AppendOrigin, EndTransactionMarker, RecordBatchBuilder, TransactionResult,
    end_transaction_marker,
};
use ottla_storage::directory::RealDirectory;
use ottla_storage::{LogConfig, LogDirs, LogManager, LogManagerSettings, VerificationGuard};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("which directory?")?;
    let now = Timestamp(1_700_000_000_000);
    let mut dirs = LogDirs::open(Arc::new(RealDirectory), &[PathBuf::from(path)])?;
    dirs.verify("vpGdYTVQTK-RrrM6dJ1YPg", Some(BrokerId(0)))?;
    dirs.write_identity("vpGdYTVQTK-RrrM6dJ1YPg", BrokerId(0), now);
    let config = Arc::new(LogConfig {
        segment_bytes: 20_000,
        ..LogConfig::default()
    });
    let configs = |_: &_| Arc::clone(&config);
    let settings = LogManagerSettings {
        verifies_transactions: false,
        ..LogManagerSettings::default()
    };
    let manager = LogManager::load(dirs, settings, &configs, now)?;
    let partition = TopicPartition::new("written-by-ottla", 0);
    let topic_id = TopicId([7; 16]);
    let log =
        manager.get_or_create_log(&partition, true, Some(topic_id), Arc::clone(&config), now)?;
    for round in 0..200_i32 {
        let (id, epoch) = (ProducerId(i64::from(round % 3)), ProducerEpoch(0));
        let is_transactional = id.0 > 0;
        let mut builder = RecordBatchBuilder::new(0)
            .producer(id, epoch, round / 3 * 2)
            .transactional(is_transactional);
        for _ in 0..2 {
            let time = Timestamp(now.0 + i64::from(round));
            builder.append(time, Some(b"key"), Some(&[b'v'; 100]))?;
        }
        let mut log = log.lock();
        let (guard, leader_epoch) = (VerificationGuard::NONE, LeaderEpoch(round / 50));
        let client = AppendOrigin::Client;
        log.append_as_leader(builder.build()?, leader_epoch, client, guard, now)?;
        if is_transactional && round % 6 > 2 {
            let result = [TransactionResult::Abort, TransactionResult::Commit][round as usize % 2];
            let marker = EndTransactionMarker {
                result,
                coordinator_epoch: 1,
            };
            let marker = end_transaction_marker(0, now, leader_epoch, id, epoch, marker)?;
            log.append_as_leader(marker, leader_epoch, AppendOrigin::Coordinator, guard, now)?;
        }
        let end = log.log_end_offset();
        log.update_high_watermark(end);
    }
    manager.shutdown(now);
    Ok(())
}
