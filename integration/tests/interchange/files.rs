//! Whether the files of a directory are sound, as both kafka-dump-log and `ottla log verify` see it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use ottla_integration::{ToolServer, tools};

const DUMP: &str = "kafka.tools.DumpLogSegments";
/// Parts of the paths of topics that have gaps.
const COMPACTED: &[&str] = &["/table-", "/__consumer_offsets-", "/__transaction_state-"];
const FILES_AT_ONCE: usize = 20;
const COMPLAINTS: &[&str] = &[
    "isvalid: false",
    "Mismatch",
    "mismatches",
    "out of order",
    "Found timestamp mismatch",
    "non increasing",
];

/// The JVM that runs kafka-dump-log for all tests; it ends with their process.
static TOOLS: Mutex<Option<ToolServer>> = Mutex::new(None);

/// Runs kafka-dump-log and `ottla log verify`.
#[derive(Debug)]
pub(crate) struct Checker(());

impl Checker {
    /// Starts the JVM if it does not run yet.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let mut tools = tools_of_all();
        if tools.is_none() {
            *tools = Some(ToolServer::start("kafka-3.9")?);
        }
        Ok(Self(()))
    }

    /// Checks all files of a directory that no broker uses; tells how many there were. After a kill
    /// what is half done is the next start's: files of the cleaner, indexes of segments that it took
    /// away, and the indexes of active segments, which end in zeros.
    pub(crate) fn check(&self, directory: &Path, is_clean: bool) -> anyhow::Result<usize> {
        let segments = files(directory, ".log")?;
        let indexes = files(directory, "index")?;
        let mut indexes: Vec<PathBuf> = indexes;
        indexes.retain(|path| !path.to_string_lossy().ends_with(".txnindex"));
        if !is_clean {
            // Sorted: the last segment of a partition is followed by one of another partition.
            let is_last = |(i, log): (usize, &PathBuf)| {
                let next = segments.get(i + 1);
                let is_last = next.is_none_or(|next| next.parent() != log.parent());
                is_last.then(|| log.with_extension(""))
            };
            let active: Vec<_> = segments.iter().enumerate().filter_map(is_last).collect();
            indexes.retain(|path| !active.contains(&path.with_extension("")));
            // A segment that the cleaner was about to take away has its files go one by one.
            indexes.retain(|path| path.with_extension("log").exists());
        }
        let mut snapshots = files(directory, ".snapshot")?;
        snapshots.extend(files(directory, ".txnindex")?);
        self.dump(&segments, &["--deep-iteration", "--print-data-log"])?;
        self.dump(&indexes, &["--verify-index-only"])?;
        self.dump(&snapshots, &[])?;
        let count = segments.len() + indexes.len() + snapshots.len();
        if !is_clean {
            return Ok(count);
        }
        self.dump(&indexes, &["--index-sanity-check"])?;
        let mut ottla = Command::new(tools::ottla());
        ottla.args(["log", "verify"]).arg(directory);
        let verified = ottla.output()?;
        anyhow::ensure!(
            verified.status.success(),
            "ottla log verify: {}\n{}{}",
            verified.status,
            String::from_utf8_lossy(&verified.stdout),
            String::from_utf8_lossy(&verified.stderr)
        );
        Ok(count)
    }

    fn dump(&self, files: &[PathBuf], options: &[&str]) -> anyhow::Result<()> {
        // The JVM keeps what is printed in memory.
        files
            .chunks(FILES_AT_ONCE)
            .try_for_each(|files| self.dump_some(files, options))
    }

    fn dump_some(&self, files: &[PathBuf], options: &[&str]) -> anyhow::Result<()> {
        let names: Vec<String> = files.iter().map(|f| f.display().to_string()).collect();
        let names = names.join(",");
        let arguments = [&["--files", names.as_str()], options].concat();
        let mut tools = tools_of_all();
        let tools = tools.as_mut().context("no JVM")?;
        let output = tools.run(DUMP, &arguments)?;
        let mut of_compacted = false;
        let mut errors: Vec<&str> = Vec::new();
        for line in output.err.lines().filter(|line| !line.contains("WARN")) {
            // Details are indented; the cleaner leaves gaps, which are no errors.
            if !line.starts_with("  ") {
                of_compacted = COMPACTED.iter().any(|topic| line.contains(topic));
                of_compacted &= line.starts_with("Non-consecutive offsets");
            }
            if !of_compacted {
                errors.push(line);
            }
        }
        anyhow::ensure!(errors.is_empty(), "{options:?}: {errors:#?}");
        let text = output.success()?;
        for complaint in COMPLAINTS {
            let found: Vec<&str> = text.lines().filter(|l| l.contains(complaint)).collect();
            anyhow::ensure!(found.is_empty(), "{options:?}: {found:#?}");
        }
        Ok(())
    }
}

fn tools_of_all() -> MutexGuard<'static, Option<ToolServer>> {
    // A test that failed leaves it as it was.
    TOOLS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The base offsets of a partition's segments, in order.
pub(crate) fn segments(partition: &Path) -> anyhow::Result<Vec<i64>> {
    let mut bases = Vec::new();
    for file in std::fs::read_dir(partition)? {
        let name = file?.file_name();
        if let Some(base) = name.to_string_lossy().strip_suffix(".log") {
            bases.push(base.parse()?);
        }
    }
    bases.sort_unstable();
    Ok(bases)
}

/// The segments that the cleaner was rewriting, or exchanging, when its broker ended.
pub(crate) fn half_cleaned(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = files(directory, ".log.cleaned")?;
    found.extend(files(directory, ".log.swap")?);
    Ok(found)
}

/// Whether the cleaner is rewriting, or exchanging, a segment of a partition.
pub(crate) fn is_half_cleaned(partition: &Path) -> anyhow::Result<bool> {
    for file in std::fs::read_dir(partition)? {
        let name = file?.file_name();
        let name = name.to_string_lossy();
        if name.ends_with(".log.cleaned") || name.ends_with(".log.swap") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The files with this ending in all partitions that are not about to be deleted.
fn files(directory: &Path, ending: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for partition in std::fs::read_dir(directory)? {
        let partition = partition?.path();
        if !partition.is_dir() {
            continue;
        }
        for file in std::fs::read_dir(&partition)? {
            let file = file?.path();
            if file.to_string_lossy().ends_with(ending) {
                found.push(file);
            }
        }
    }
    found.sort();
    Ok(found)
}
