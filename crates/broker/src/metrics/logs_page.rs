//! `kafka.log`: logs and their directories.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ottla_model::Timestamp;
use ottla_storage::log_manager::RemainingRecovery;
use ottla_storage::{LogManager, LogReader};

use super::logs::LogMetrics;
use super::page::{MILLISECONDS, Page};

/// Writes what the log manager knows.
pub(super) fn write(page: &mut Page, logs: &LogManager, metrics: &LogMetrics, now: Timestamp) {
    let series = [(Vec::new(), vec![&metrics.flush_time])];
    page.histogram(
        (
            "kafka_log_logflushstats_logflushrateandtimems",
            "kafka_log_logflushstats_logflushrateandtimems_count",
        ),
        "Milliseconds that flushes of segments took.",
        MILLISECONDS,
        &series,
    );
    if let Some(since) = metrics.since_cleaner_ran_ms(now) {
        cleaner(page, logs, metrics);
        page.gauge(
            "kafka_log_logcleanermanager_time_since_last_run_ms",
            "Milliseconds since the cleaner looked for work.",
        )
        .value(since);
        page.gauge(
            "kafka_log_logcleaner_cleaner_recopy_percent",
            "What the last cleanings kept.",
        )
        .value(metrics.recopy_percent());
        page.gauge(
            "kafka_log_logcleaner_max_clean_time_secs",
            "Seconds that the longest of the last cleanings took.",
        )
        .value(metrics.clean_time_max_seconds());
    }
    let current = logs.readers();
    let directories = logs.directories();
    each_log(page, &current);
    page.gauge(
        "kafka_log_logmanager_offlinelogdirectorycount",
        "Log directories that failed.",
    )
    .value(directories.iter().filter(|(_, offline)| *offline).count());
    let mut family = page.gauge(
        "kafka_log_logmanager_logdirectoryoffline",
        "Whether a log directory failed.",
    );
    for (path, is_offline) in &directories {
        let label = quoted(path);
        family.sample(&[("logDirectory", &label)], u8::from(*is_offline));
    }

    let mut uncleanable: BTreeMap<PathBuf, usize> = BTreeMap::new();
    let partitions = logs.uncleanable_partitions();
    for log in current
        .iter()
        .filter(|log| partitions.contains(log.topic_partition()))
    {
        *uncleanable
            .entry(log.log_dir().path().to_owned())
            .or_default() += 1;
    }
    let mut family = page.gauge(
        "kafka_log_logcleanermanager_uncleanable_partitions_count",
        "Compacted logs that could not be cleaned and are left alone.",
    );
    for (path, _) in &directories {
        let count = uncleanable.get(path).copied().unwrap_or(0);
        family.sample(&[("logDirectory", &quoted(path))], count);
    }
    let bytes = logs.uncleanable_bytes(now);
    let mut family = page.gauge(
        "kafka_log_logcleanermanager_uncleanable_bytes",
        "Bytes of these logs that could be cleaned.",
    );
    for (path, _) in &directories {
        let bytes = bytes.get(path).copied().unwrap_or(0);
        family.sample(&[("logDirectory", &quoted(path))], bytes);
    }
}

/// How far the loading of logs is. Kafka too shows these numbers only meanwhile.
pub(super) fn loading(page: &mut Page, remaining: &[RemainingRecovery]) {
    let mut family = page.gauge(
        "kafka_log_logmanager_remaininglogstorecover",
        "Logs of a directory that are not loaded yet.",
    );
    for dir in remaining {
        family.sample(&[("dir", &quoted(&dir.path))], dir.logs);
    }
    let mut family = page.gauge(
        "kafka_log_logmanager_remainingsegmentstorecover",
        "Segments of the log that a thread is recovering.",
    );
    for dir in remaining {
        for (thread, segments) in dir.segments.iter().enumerate() {
            let thread = thread.to_string();
            let labels = [("dir", quoted(&dir.path)), ("threadNum", thread)];
            let labels = labels
                .each_ref()
                .map(|(name, value)| (*name, value.as_str()));
            family.sample(&labels, segments);
        }
    }
}

/// What the threads of the cleaner last did.
fn cleaner(page: &mut Page, logs: &LogManager, metrics: &LogMetrics) {
    page.gauge(
        "kafka_log_logcleaner_deadthreadcount",
        "Threads of the cleaner that ended by an error.",
    )
    .value(metrics.dead_cleaners());
    page.gauge(
        "kafka_log_logcleaner_max_buffer_utilization_percent",
        "How full the fullest map of keys was in the last cleanings.",
    )
    .value(metrics.buffer_utilization_max_percent());
    page.gauge(
        "kafka_log_logcleaner_max_compaction_delay_secs",
        "Seconds by which the most overdue log was late when a log was last chosen.",
    )
    .value(metrics.compaction_delay_max_seconds());
    page.gauge(
        "kafka_log_logcleanermanager_max_dirty_percent",
        "The dirty share of the dirtiest log.",
    )
    .value((logs.dirtiest_ratio() * 100.0) as u64);
}

fn each_log(page: &mut Page, logs: &[LogReader]) {
    let mut gauge = |name, help, of: fn(&LogReader) -> i64| {
        let mut family = page.gauge(name, help);
        for log in logs {
            let number = log.topic_partition().partition.to_string();
            let topic = log.topic_partition().topic.as_str();
            family.sample(&[("topic", topic), ("partition", &number)], of(log));
        }
    };
    gauge("kafka_log_log_size", "Bytes of a log.", |log| {
        i64::try_from(log.size_in_bytes()).unwrap_or(i64::MAX)
    });
    gauge(
        "kafka_log_log_numlogsegments",
        "Segments of a log.",
        |log| log.segment_count() as i64,
    );
    gauge(
        "kafka_log_log_logstartoffset",
        "The first offset of a log.",
        LogReader::log_start_offset,
    );
    gauge(
        "kafka_log_log_logendoffset",
        "The offset that a log's next record will have.",
        LogReader::log_end_offset,
    );
}

/// Kafka quotes paths in the names of beans, and the exporter keeps the quotes.
fn quoted(path: &std::path::Path) -> String {
    format!("\"{}\"", path.display())
}
