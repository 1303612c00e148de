//! Compaction of a topic of many keys and of the offsets of groups: the last value of each key is
//! there, tombstones vanish when their time is over, and Kafka goes on with what is left.
//!
//! `OTTLA_TEST_KEYS` sets the number of keys.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use bytes::Bytes;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::{
    FindCoordinatorRequest, GroupId, OffsetCommitRequest, OffsetFetchRequest, TopicName,
};
use ottla_integration::wait::wait_for;
use ottla_integration::{Cluster, Direct, Operator, Program, Zookeeper};
use ottla_model::{Timestamp, TopicId};
use ottla_protocol::Part;
use ottla_protocol::fetch::{FetchPartition, FetchRequest, FetchTopic};
use ottla_protocol::produce::{ProducePartition, ProduceRequest, ProduceTopic};
use ottla_record::{BatchIterator, RecordBatchBuilder};

const DEADLINE: Duration = Duration::from_secs(600);
const KEYS: u32 = 1_000_000;
const BATCH_RECORDS: usize = 10_000;
const COMMITS: i64 = 3_000;
const TABLE: &str = "table";
const BOTH: &str = "both";
const OFFSETS: &str = "__consumer_offsets";
const GROUP: &str = "committers";
const HOUR_MS: i64 = 3_600_000;
const FETCH_BYTES: i32 = 8_000_000;
const RECORDS_BYTES_MAX: usize = 1 << 26;

/// What a partition holds.
#[derive(Debug, Default)]
struct Content {
    start: i64,
    records: usize,
    /// The last offset and value by key; control records and tombstones included.
    last: BTreeMap<Vec<u8>, (i64, Option<Bytes>)>,
    bytes: usize,
    digest: u32,
}

#[test]
fn the_last_value_of_each_key_is_kept() {
    let given = std::env::var("OTTLA_TEST_KEYS").ok();
    let keys = given.and_then(|keys| keys.parse().ok()).unwrap_or(KEYS);
    let zookeeper = Zookeeper::start().expect("a ZooKeeper");
    let mut cluster = Cluster::start_on(
        zookeeper,
        &[Program::Ottla],
        &[
            ("log.cleaner.backoff.ms", "200"),
            ("log.cleaner.dedupe.buffer.size", "64000000"),
            ("log.initial.task.delay.ms", "1000"),
            ("log.retention.check.interval.ms", "1000"),
            ("log.segment.delete.delay.ms", "500"),
            ("offsets.topic.num.partitions", "1"),
            ("offsets.topic.segment.bytes", "50000"),
        ],
    )
    .expect("a broker");
    let shown = show(&mut cluster, keys);
    if let Err(error) = shown {
        panic!("{error:#}\n{}", cluster.logs());
    }
}

fn show(cluster: &mut Cluster, keys: u32) -> anyhow::Result<()> {
    let started = Instant::now();
    let tell = |what: &str| eprintln!("{:6.1} s: {what}", started.elapsed().as_secs_f64());
    let mut operator = Operator::new(&cluster.bootstrap())?;
    let table = [
        "cleanup.policy=compact",
        "segment.bytes=10000000",
        "segment.ms=1000",
        "min.cleanable.dirty.ratio=0",
        "delete.retention.ms=1000",
    ];
    operator.create_topic(TABLE, "1", &table)?;
    let both = [
        "cleanup.policy=compact,delete",
        "segment.bytes=20000",
        "segment.ms=1000",
        "min.cleanable.dirty.ratio=0",
        "retention.ms=3600000",
    ];
    operator.create_topic(BOTH, "1", &both)?;
    drop(operator);
    let address = cluster.address(1);
    let broker = Direct::connect(&address)?;
    let now = now()?;

    // All keys; then every second again, every fifth of them as a tombstone.
    write(&broker, TABLE, (0..keys).map(|key| (key, Some("1"))), now)?;
    let second = (0..keys).step_by(2);
    let second = second.map(|key| (key, (key % 10 != 0).then_some("2")));
    let end = write(&broker, TABLE, second, now)?;
    tell(&format!("{end} records are written"));
    commit_often(&broker)?;
    // What is old goes as a whole; of what is new, the last values stay.
    let old = (0..2_000).map(|key| (key, Some("old")));
    let first_new = write(&broker, BOTH, old, now - 2 * HOUR_MS)?;
    for value in ["1", "2"] {
        let new = (1_000..3_000).map(|key| (key, Some(value)));
        write(&broker, BOTH, new, now)?;
    }
    tell("commits and old records are written");

    let logs = cluster.broker(1).log_directory();
    let mut filler = keys;
    let mut nudge = |topic: &str| {
        // The active segment is not cleaned: something new has to end it, and to be dirty. Its
        // age is that of its records.
        filler += 1;
        let record = [(filler, Some("filler"))].into_iter();
        write(&broker, topic, record, self::now()?)
    };
    wait_for("a clean table", DEADLINE, || {
        nudge(TABLE).ok()?;
        (first_dirty(&logs, TABLE)? >= end).then_some(())
    })?;
    tell("the table was cleaned");
    let mut last = Content::default();
    wait_for("the end of tombstones", DEADLINE, || {
        nudge(TABLE).ok()?;
        last = read(&broker, TABLE).ok()?;
        let has_tombstones = last.last.values().any(|(_, value)| value.is_none());
        (!has_tombstones).then_some(())
    })?;
    check_table(&last, keys, end)?;
    tell(&format!("{} records are left", last.records));
    let mut both = Content::default();
    wait_for("deletion and compaction of one topic", DEADLINE, || {
        nudge(BOTH).ok()?;
        both = read(&broker, BOTH).ok()?;
        let news = both.last.range(key_of(1_000)..key_of(3_000)).count();
        (both.start >= first_new - 1_000 && news == 2_000 && first_dirty(&logs, BOTH)? > first_new)
            .then_some(())
    })
    .with_context(|| format!("{} from {}", both.records, both.start))?;
    check_both(&both)?;
    wait_for("clean offsets", DEADLINE, || {
        commit(&broker, COMMITS).ok()?;
        let offsets = read(&broker, OFFSETS).ok()?;
        (offsets.records < COMMITS as usize / 2).then_some(())
    })?;
    check_committed(&broker)?;
    tell("the rest is clean");

    // Nothing is dirty when no segment has ended since.
    wait_until_quiet(&broker, &logs)?;
    let before = read_all(&broker)?;
    cluster.broker(1).stop()?;
    let checkpoint = std::fs::read_to_string(logs.join("cleaner-offset-checkpoint"))?;
    let dirty = first_dirty(&logs, TABLE).context("no table in the checkpoint")?;
    anyhow::ensure!(dirty >= end, "{checkpoint}");
    cluster.broker(1).set_program(Program::Java);
    cluster.broker(1).restart()?;
    let broker = wait_for("Kafka with the same content", DEADLINE, || {
        let broker = Direct::connect(&address).ok()?;
        read(&broker, TABLE).is_ok().then_some(broker)
    })?;
    let after = read_all(&broker)?;
    for (topic, before) in &before {
        let (found, wanted) = (summary(&after[topic]), summary(before));
        anyhow::ensure!(found == wanted, "{topic}: {found} instead of {wanted}");
    }
    check_table(&after[TABLE], keys, end)?;
    check_both(&after[BOTH])?;
    check_committed(&broker)?;
    cluster.broker(1).stop()?;
    // It went on from our checkpoint, or it would know less.
    let kept = first_dirty(&logs, TABLE);
    anyhow::ensure!(kept >= Some(dirty), "{kept:?} instead of {dirty}");
    tell("Kafka has read the same");
    Ok(())
}

fn check_table(table: &Content, keys: u32, end: i64) -> anyhow::Result<()> {
    for key in 0..keys {
        let expected = match (key % 2, key % 10) {
            (_, 0) => None,
            (0, _) => Some(&b"2"[..]),
            _ => Some(&b"1"[..]),
        };
        let found = table.last.get(&key_of(key));
        let found = found.and_then(|(_, value)| value.as_deref());
        anyhow::ensure!(found == expected, "key {key}: {found:?}, not {expected:?}");
    }
    // Fillers come once as well: no key is there twice, nor is what was dropped.
    anyhow::ensure!(
        table.records == table.last.len(),
        "{} records for {} keys below {end}",
        table.records,
        table.last.len()
    );
    Ok(())
}

fn check_both(both: &Content) -> anyhow::Result<()> {
    for key in 1_000..3_000 {
        let found = both.last.get(&key_of(key)).and_then(|(_, v)| v.as_deref());
        anyhow::ensure!(found == Some(&b"2"[..]), "key {key}: {found:?}");
    }
    Ok(())
}

/// Many commits of few offsets.
fn commit_often(broker: &Direct) -> anyhow::Result<()> {
    let request = FindCoordinatorRequest::default().with_key(GROUP.to_owned().into());
    wait_for("a coordinator", DEADLINE, || {
        (broker.send(&request, 3).ok()?.error_code == 0).then_some(())
    })?;
    wait_for("a first commit", DEADLINE, || commit(broker, 0).ok())?;
    let pending: Vec<_> = (1..COMMITS)
        .map(|number| broker.begin(commit_request(number), 8))
        .collect();
    for commit in pending {
        let response = broker.wait(commit)?;
        let error = response.topics[0].partitions[0].error_code;
        anyhow::ensure!(error == 0, "error {error}");
    }
    commit(broker, COMMITS)
}

fn commit(broker: &Direct, offset: i64) -> anyhow::Result<()> {
    let response = broker.send(&commit_request(offset), 8)?;
    let error = response.topics[0].partitions[0].error_code;
    anyhow::ensure!(error == 0, "error {error}");
    Ok(())
}

fn commit_request(offset: i64) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(0)
        .with_committed_offset(offset)
        .with_committed_leader_epoch(-1)
        .with_committed_metadata(Some("metadata".into()));
    OffsetCommitRequest::default()
        .with_group_id(GroupId(GROUP.to_owned().into()))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![
            OffsetCommitRequestTopic::default()
                .with_name(TopicName(TABLE.to_owned().into()))
                .with_partitions(vec![partition]),
        ])
}

fn check_committed(broker: &Direct) -> anyhow::Result<()> {
    let asked = OffsetFetchRequestGroup::default()
        .with_group_id(GroupId(GROUP.to_owned().into()))
        .with_topics(None);
    let request = OffsetFetchRequest::default().with_groups(vec![asked]);
    let mut found = None;
    wait_for("the last commit", DEADLINE, || {
        let response = broker.send(&request, 8).ok()?;
        let group = response.groups.first()?;
        (group.error_code == 0).then_some(())?;
        let partition = group.topics.first()?.partitions.first()?;
        found = Some(partition.committed_offset);
        Some(())
    })?;
    anyhow::ensure!(found == Some(COMMITS), "{found:?}");
    Ok(())
}

/// Appends records in batches without compression; gives the offset after the last.
fn write<'a>(
    broker: &Direct,
    topic: &str,
    records: impl Iterator<Item = (u32, Option<&'a str>)>,
    time: i64,
) -> anyhow::Result<i64> {
    let mut records = records.peekable();
    let mut end = 0;
    while records.peek().is_some() {
        let size = if topic == BOTH { 100 } else { BATCH_RECORDS };
        let mut builder = RecordBatchBuilder::new(0);
        for (key, value) in records.by_ref().take(size) {
            let (key, value) = (key_of(key), value.map(str::as_bytes));
            builder.append(Timestamp(time), Some(&key), value)?;
        }
        let count = builder.record_count();
        let request = ProduceRequest {
            transactional_id: None,
            acks: -1,
            timeout_ms: 30_000,
            topics: vec![ProduceTopic {
                name: topic.to_owned().into(),
                partitions: vec![ProducePartition {
                    index: 0,
                    records: Some(builder.build()?),
                }],
            }],
        };
        end = wait_for("an append", DEADLINE, || {
            let response = broker.produce_as(&request).ok()?;
            let partition = &response.responses[0].partition_responses[0];
            let is_done = partition.error_code == 0;
            is_done.then_some(partition.base_offset + i64::from(count))
        })?;
    }
    Ok(end)
}

fn read_all(broker: &Direct) -> anyhow::Result<BTreeMap<&'static str, Content>> {
    let topics = [TABLE, BOTH, OFFSETS].into_iter();
    topics
        .map(|topic| Ok((topic, read(broker, topic)?)))
        .collect()
}

/// Reads a partition from its start to its high watermark.
fn read(broker: &Direct, topic: &str) -> anyhow::Result<Content> {
    let mut content = Content::default();
    let mut at = 0;
    loop {
        let request = FetchRequest {
            max_bytes: FETCH_BYTES,
            topics: vec![FetchTopic {
                name: topic.to_owned().into(),
                topic_id: TopicId::ZERO,
                partitions: vec![FetchPartition {
                    partition: 0,
                    current_leader_epoch: -1,
                    fetch_offset: at,
                    last_fetched_epoch: -1,
                    log_start_offset: -1,
                    max_bytes: FETCH_BYTES,
                }],
            }],
            ..FetchRequest::default()
        };
        let response = broker.fetch_as(&request)?;
        let partitions = response.topics.into_iter().flat_map(|t| t.partitions);
        let partition = partitions.into_iter().next().context("no partition")?;
        if partition.error_code.code() == OFFSET_OUT_OF_RANGE {
            // The retention has taken it meanwhile; the answer does not tell the start.
            at += 1;
            continue;
        }
        anyhow::ensure!(partition.error_code.is_none(), "{partition:?}");
        content.start = partition.log_start_offset;
        let Some(Part::Bytes(bytes)) = partition.records else {
            return Ok(content);
        };
        let from = at;
        for batch in BatchIterator::new(&bytes) {
            let batch = batch?;
            batch.ensure_valid()?;
            at = batch.header().next_offset();
            content.bytes += batch.bytes().len();
            content.digest = crc32c::crc32c_append(content.digest, batch.bytes());
            for record in batch.records(RECORDS_BYTES_MAX)?.iter()? {
                let record = record?;
                content.records += 1;
                let key = record.key.unwrap_or_default().to_vec();
                let value = record.value.map(Bytes::copy_from_slice);
                content.last.insert(key, (record.offset, value));
            }
        }
        if at == from {
            return Ok(content);
        }
    }
}

const OFFSET_OUT_OF_RANGE: i16 = 1;

fn summary(content: &Content) -> String {
    let Content {
        start,
        records,
        bytes,
        digest,
        ..
    } = content;
    format!("{records} records of {bytes} bytes from {start} with crc {digest:x}")
}

/// Waits until all is clean but the active segments, and readings agree: the cleaner has come to
/// its end.
fn wait_until_quiet(broker: &Direct, logs: &Path) -> anyhow::Result<()> {
    let is_clean = |topic: &str| {
        let active = active_segment(&logs.join(format!("{topic}-0")))?;
        Some(first_dirty(logs, topic)? >= active)
    };
    let mut last = Vec::new();
    let mut equal = 0;
    wait_for("the end of cleaning", DEADLINE, || {
        std::thread::sleep(Duration::from_secs(1));
        let all = read_all(broker).ok()?;
        let now: Vec<String> = all.values().map(summary).collect();
        let is_quiet = now == last && is_clean(TABLE)? && is_clean(BOTH)?;
        equal = if is_quiet { equal + 1 } else { 0 };
        last = now;
        (equal >= 2).then_some(())
    })
}

/// Where the active segment of a partition begins.
fn active_segment(partition: &Path) -> Option<i64> {
    let names = std::fs::read_dir(partition).ok()?.flatten();
    let bases = names.filter_map(|entry| {
        let name = entry.file_name();
        name.to_str()?.strip_suffix(".log")?.parse().ok()
    });
    bases.max()
}

/// Where the dirty part of partition 0 begins, by the file that the cleaner keeps: a version, the
/// number of entries, and `topic partition offset` lines.
fn first_dirty(logs: &Path, topic: &str) -> Option<i64> {
    let text = std::fs::read_to_string(logs.join("cleaner-offset-checkpoint")).ok()?;
    let mut lines = text.lines();
    let (version, count) = (lines.next()?, lines.next()?);
    let entries: Vec<&str> = lines.collect();
    (version == "0" && count.parse() == Ok(entries.len())).then_some(())?;
    entries.iter().find_map(|line| {
        let rest = line.strip_prefix(topic)?.strip_prefix(" 0 ")?;
        rest.parse().ok()
    })
}

fn key_of(number: u32) -> Vec<u8> {
    format!("{number:07}").into_bytes()
}

fn now() -> anyhow::Result<i64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(i64::try_from(now.as_millis())?)
}
