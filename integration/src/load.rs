//! A load that goes on while brokers fail, and the check of what it was promised.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use crate::process::Process;
use crate::sequences::produced_batches;
use crate::wait::wait_for;
use crate::{command, tools};

/// Longer than what the clients wait for.
const DEADLINE: Duration = Duration::from_secs(300);

/// Stands for the offset of a record that the producer knows to be written because a later one is:
/// librdkafka's "implicit acknowledgement".
const UNKNOWN: &str = " None ";

/// Records per second: enough that every moment has some in flight, and no more, because brokers,
/// clients and other tests share the machine.
const RATE: &str = "1500";

/// An idempotent producer with acks=all and members of a consumer group, on one topic.
#[derive(Debug)]
pub struct Load {
    bootstrap: String,
    topic: String,
    producer: Process,
    members: Vec<Process>,
    directory: tempfile::TempDir,
}

/// A record that is in its partition twice, and that the producer knows of once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Resent {
    partition: i32,
    number: i64,
    /// The offset that was acknowledged.
    acknowledged: i64,
    /// The other one.
    other: i64,
}

/// How far a load has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Records that were acknowledged.
    pub acknowledged: usize,
    /// Commits of the group that were acknowledged.
    pub commits: usize,
}

impl Load {
    /// Starts a producer and one member on a topic that exists or is created by itself.
    pub fn start(bootstrap: &str, topic: &str) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("load-")
            .disable_cleanup(std::env::var_os("OTTLA_TEST_KEEP").is_some())
            .tempdir()?;
        let out = file_of(directory.path(), "produce");
        let mut python = tools::python("under_load.py");
        python
            .args(["produce", bootstrap, topic])
            .arg(out)
            .arg(RATE);
        let mut load = Self {
            bootstrap: bootstrap.to_owned(),
            topic: topic.to_owned(),
            producer: Process::start(python, directory.path(), "produce")?,
            members: Vec::new(),
            directory,
        };
        load.add_member()?;
        Ok(load)
    }

    /// Starts one more member of the group; gives its index. The first has index 0.
    pub fn add_member(&mut self) -> anyhow::Result<usize> {
        let index = self.members.len();
        let name = member(index);
        let mut python = tools::python("under_load.py");
        python
            .args(["consume", &self.bootstrap, &self.topic])
            .arg(file_of(self.directory.path(), &name));
        self.members
            .push(Process::start(python, self.directory.path(), &name)?);
        Ok(index)
    }

    /// How far it is now.
    pub fn progress(&self) -> Progress {
        let count = |what: &str| line_count(&file_of(self.directory.path(), what));
        Progress {
            acknowledged: count("produce"),
            commits: self.member_names().iter().map(|name| count(name)).sum(),
        }
    }

    /// Waits until more records and more commits than now are acknowledged.
    pub fn wait_for_progress(&self) -> anyhow::Result<()> {
        let before = self.progress();
        wait_for("progress of producer and consumer", DEADLINE, || {
            let now = self.progress();
            (now.acknowledged > before.acknowledged && now.commits > before.commits).then_some(())
        })
        .with_context(|| format!("{before:?}, then {:?}\n{}", self.progress(), self.errors()))
    }

    /// Waits until more records than now are acknowledged, whatever the group does.
    pub fn wait_for_acknowledgements(&self) -> anyhow::Result<()> {
        let before = self.progress().acknowledged;
        wait_for("progress of the producer", DEADLINE, || {
            (self.progress().acknowledged > before).then_some(())
        })
        .with_context(|| self.errors())
    }

    /// Waits until each member commits: all of them have partitions and the coordinator's ear.
    pub fn wait_for_every_member(&self) -> anyhow::Result<()> {
        for name in self.member_names() {
            let file = file_of(self.directory.path(), &name);
            let before = line_count(&file);
            wait_for("a commit of a member", DEADLINE, || {
                (line_count(&file) > before).then_some(())
            })
            .with_context(|| format!("{name}\n{}", self.errors()))?;
        }
        Ok(())
    }

    /// Ends the load and checks: every record was acknowledged in the end; each is read once, at
    /// the place that was acknowledged, in the order in which it was sent within its partition;
    /// each member read without gaps; and the group's committed offsets are not behind the
    /// acknowledged ones. Whether a record that comes twice is the client's doing is looked up in
    /// the log directories of the brokers. Tells how many records there were.
    pub fn finish(mut self, log_directories: &[PathBuf]) -> anyhow::Result<usize> {
        let members = self.members.iter_mut().map(|member| ("member", member));
        let processes = std::iter::once(("producer", &mut self.producer)).chain(members);
        for (name, process) in processes {
            process.signal("TERM")?;
            let status = process.wait(DEADLINE)?;
            anyhow::ensure!(
                status.success(),
                "the {name} ended with {status}\n{}",
                errors(self.directory.path())
            );
        }
        let acknowledged = lines(&file_of(self.directory.path(), "produce"));
        let refused: Vec<_> = acknowledged
            .iter()
            .filter(|line| line.starts_with("error"))
            .collect();
        anyhow::ensure!(
            refused.is_empty(),
            "{} refused, the first: {:?}",
            refused.len(),
            refused.first()
        );
        let (placed, placeless): (Vec<_>, Vec<_>) = acknowledged
            .iter()
            .partition(|line| !line.contains(UNKNOWN));
        let mut acknowledged = records(placed.iter().map(|line| line.as_str()))?;
        let mut found = records(self.ask("read")?.lines())?;
        for line in placeless {
            let (place, number) = find_place(line, &found, &acknowledged)?;
            acknowledged.insert(place, number);
        }
        for resent in take_resent(&mut found, &acknowledged) {
            let partition = format!("{}-{}", self.topic, resent.partition);
            judge(&resent, &partition, log_directories).with_context(|| self.errors())?;
        }
        compare(&found, &acknowledged)?;
        for partition in partitions(&found) {
            let numbers: Vec<i64> = found
                .range((partition, 0)..=(partition, i64::MAX))
                .map(|(_, number)| *number)
                .collect();
            let swapped = numbers.windows(2).find(|pair| pair[0] >= pair[1]);
            anyhow::ensure!(
                swapped.is_none(),
                "partition {partition} is out of order: {swapped:?}"
            );
        }
        let mut commits = Vec::new();
        for name in self.member_names() {
            commits.extend(lines(&file_of(self.directory.path(), &name)));
        }
        let promised = highest(&commits)?;
        let committed = self.ask("committed")?;
        let committed: Vec<String> = committed.lines().map(str::to_owned).collect();
        let committed = highest(&committed)?;
        for (partition, offset) in promised {
            let found = committed.get(&partition);
            anyhow::ensure!(
                found.is_some_and(|found| *found >= offset),
                "offset {offset} of partition {partition} was committed, found {found:?}"
            );
        }
        Ok(found.len())
    }

    fn ask(&self, what: &str) -> anyhow::Result<String> {
        let mut python = tools::python("under_load.py");
        python.args([what, &self.bootstrap, &self.topic]);
        Ok(String::from_utf8(command::run(
            &mut python,
            b"",
            DEADLINE,
        )?)?)
    }

    fn errors(&self) -> String {
        errors(self.directory.path())
    }

    fn member_names(&self) -> Vec<String> {
        (0..self.members.len()).map(member).collect()
    }
}

fn member(index: usize) -> String {
    format!("consume-{index}")
}

fn file_of(directory: &Path, what: &str) -> PathBuf {
    directory.join(format!("{what}.lines"))
}

/// How the producer tells that it takes a new epoch, and why.
const EPOCH_CHANGES: [&str; 2] = ["|ERRSEQ|", "bumped epoch"];

/// The last of what the clients wrote to standard error.
fn errors(directory: &Path) -> String {
    let mut all = String::new();
    let files = std::fs::read_dir(directory).into_iter().flatten().flatten();
    for file in files.filter(|file| file.file_name().to_string_lossy().ends_with(".err")) {
        let mut lines = lines(&file.path());
        // What the producer says of its epochs is much, and little of it matters.
        lines.retain(|line| {
            !line.starts_with("%7") || EPOCH_CHANGES.iter().any(|w| line.contains(w))
        });
        let tail = lines[lines.len().saturating_sub(30)..].join("\n");
        all += &format!("== {}\n{tail}\n", file.file_name().display());
    }
    all
}

/// How many lines were written whole.
fn line_count(path: &Path) -> usize {
    let bytes = std::fs::read(path).unwrap_or_default();
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

/// The lines that were written whole.
fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(str::to_owned).collect()
}

/// `partition offset number` lines as number by place; a place that comes twice is an error.
fn records<'a>(lines: impl Iterator<Item = &'a str>) -> anyhow::Result<BTreeMap<(i32, i64), i64>> {
    let mut records = BTreeMap::new();
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        let [partition, offset, number] = words[..] else {
            anyhow::bail!("not a record: {line}");
        };
        let place = (partition.parse()?, offset.parse()?);
        let before = records.insert(place, number.parse()?);
        anyhow::ensure!(
            before.is_none(),
            "{place:?} comes twice: {before:?}, {line}"
        );
    }
    Ok(records)
}

/// Where the record of a `partition None number` line is: the first of its places that is nobody
/// else's.
fn find_place(
    line: &str,
    found: &BTreeMap<(i32, i64), i64>,
    acknowledged: &BTreeMap<(i32, i64), i64>,
) -> anyhow::Result<((i32, i64), i64)> {
    let (partition, number) = line.split_once(UNKNOWN).context("not a record")?;
    let (partition, number) = (partition.parse::<i32>()?, number.parse()?);
    let place = found
        .range((partition, 0)..=(partition, i64::MAX))
        .find(|(place, candidate)| **candidate == number && !acknowledged.contains_key(place))
        .map(|(place, _)| *place);
    Ok((place.with_context(|| format!("{line} is lost"))?, number))
}

/// Takes out the records that were acknowledged at another place of the same partition.
fn take_resent(
    found: &mut BTreeMap<(i32, i64), i64>,
    acknowledged: &BTreeMap<(i32, i64), i64>,
) -> Vec<Resent> {
    let places: BTreeMap<(i32, i64), i64> = acknowledged
        .iter()
        .map(|((partition, offset), number)| ((*partition, *number), *offset))
        .collect();
    let mut resent = Vec::new();
    found.retain(|(partition, offset), number| {
        let promised = places.get(&(*partition, *number));
        let other = promised.filter(|_| !acknowledged.contains_key(&(*partition, *offset)));
        resent.extend(other.map(|acknowledged| Resent {
            partition: *partition,
            number: *number,
            acknowledged: *acknowledged,
            other: *offset,
        }));
        other.is_none()
    });
    resent
}

/// A record may come twice only if the producer gave it a new identity. librdkafka does so when a
/// request is out of order behind one that failed (its issue 4953): it raises its epoch for all
/// partitions, and sends again under the new one what it had on its way elsewhere, though that may
/// have been written. No broker can tell such a record from a new one.
fn judge(resent: &Resent, partition: &str, log_directories: &[PathBuf]) -> anyhow::Result<()> {
    let (other, acknowledged) = log_directories
        .iter()
        .filter_map(|directory| {
            let batches = produced_batches(&directory.join(partition)).ok()?;
            let find = |offset: i64| {
                let found = batches
                    .iter()
                    .find(|batch| (batch.base_offset..=batch.last_offset).contains(&offset));
                found.copied()
            };
            Some((find(resent.other)?, find(resent.acknowledged)?))
        })
        .next()
        .with_context(|| format!("{resent:?} is on no disk of {log_directories:?}"))?;
    anyhow::ensure!(
        other.producer_epoch != acknowledged.producer_epoch,
        "{resent:?} is in {other:?} and {acknowledged:?}"
    );
    eprintln!("resent by the client in a new epoch: {resent:?}");
    Ok(())
}

fn compare(
    found: &BTreeMap<(i32, i64), i64>,
    acknowledged: &BTreeMap<(i32, i64), i64>,
) -> anyhow::Result<()> {
    let lost = acknowledged
        .iter()
        .find(|(place, number)| found.get(place) != Some(number));
    let invented = found
        .iter()
        .find(|(place, number)| acknowledged.get(place) != Some(number));
    anyhow::ensure!(
        lost.is_none() && invented.is_none(),
        "{} records found, {} acknowledged; first that was lost: {lost:?}; first that nobody \
         acknowledged: {invented:?}",
        found.len(),
        acknowledged.len()
    );
    let mut numbers: Vec<i64> = found.values().copied().collect();
    numbers.sort_unstable();
    let double = numbers.windows(2).find(|pair| pair[0] == pair[1]);
    anyhow::ensure!(double.is_none(), "a record comes twice: {double:?}");
    Ok(())
}

fn partitions(records: &BTreeMap<(i32, i64), i64>) -> Vec<i32> {
    let mut partitions: Vec<i32> = records.keys().map(|(partition, _)| *partition).collect();
    partitions.dedup();
    partitions
}

/// `partition offset` lines as the highest offset of each partition.
fn highest(lines: &[String]) -> anyhow::Result<BTreeMap<i32, i64>> {
    let mut highest = BTreeMap::new();
    for line in lines {
        let (partition, offset) = line.split_once(' ').context("not a position")?;
        let (partition, offset) = (partition.parse()?, offset.parse::<i64>()?);
        let known = highest.entry(partition).or_insert(offset);
        *known = offset.max(*known);
    }
    Ok(highest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_finds_what_is_lost_doubled_or_invented() {
        let read = |text: &str| records(text.lines());
        let acknowledged = read("0 0 1\n0 1 2\n1 0 3").unwrap();
        let check = |found: &str| compare(&read(found).unwrap(), &acknowledged).is_ok();
        assert!(check("0 0 1\n0 1 2\n1 0 3"));
        assert!(!check("0 0 1\n1 0 3"), "lost");
        assert!(!check("0 0 1\n0 1 2\n1 0 3\n1 1 4"), "invented");
        assert!(!check("0 0 1\n0 1 9\n1 0 3"), "changed");
        assert!(read("0 0 1\n0 0 2").is_err());
    }

    #[test]
    fn a_record_that_comes_twice_is_told_with_both_places() {
        let read = |text: &str| records(text.lines()).unwrap();
        let acknowledged = read("0 2 1\n0 3 2\n1 0 3");
        let mut found = read("0 0 1\n0 1 2\n0 2 1\n0 3 2\n1 0 3\n1 1 2");
        let resent = take_resent(&mut found, &acknowledged);
        let places: Vec<_> = resent.iter().map(|r| (r.other, r.acknowledged)).collect();
        assert_eq!(places, [(0, 2), (1, 3)]);
        assert!(compare(&found, &acknowledged).is_err(), "another partition");
        found.remove(&(1, 1));
        compare(&found, &acknowledged).unwrap();
    }

    #[test]
    fn a_record_whose_offset_was_not_told_has_to_be_there() {
        let read = |text: &str| records(text.lines()).unwrap();
        let found = read("0 0 1\n0 1 2\n1 0 2");
        let acknowledged = read("0 0 1");
        let place = find_place("0 None 2", &found, &acknowledged).unwrap();
        assert_eq!(place, ((0, 1), 2));
        assert!(find_place("0 None 1", &found, &acknowledged).is_err());
        assert!(find_place("0 None 3", &found, &acknowledged).is_err());
    }
}
