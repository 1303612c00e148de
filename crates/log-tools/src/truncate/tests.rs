use bytes::Bytes;
use ottla_model::Timestamp;
use ottla_record::RecordBatchBuilder;

use super::*;
use crate::verify::verify;

/// A batch of one record.
fn batch(offset: Offset) -> Bytes {
    let mut builder = RecordBatchBuilder::new(offset);
    builder
        .append(Timestamp(1000 + offset), None, Some(b"value"))
        .unwrap();
    builder.build().unwrap()
}

/// A log directory with one partition: two segments of three records each.
fn partition(log_dir: &Path) -> PathBuf {
    let directory = log_dir.join("topic-0");
    std::fs::create_dir(&directory).unwrap();
    for base in [0, 3] {
        let bytes: Vec<u8> = (base..base + 3).flat_map(batch).collect();
        std::fs::write(directory.join(FileKind::Log.file_name(base)), bytes).unwrap();
        std::fs::write(directory.join(FileKind::OffsetIndex.file_name(base)), b"").unwrap();
    }
    std::fs::write(
        log_dir.join(RECOVERY_POINT_CHECKPOINT),
        "0\n2\nother 0 9\ntopic 0 6\n",
    )
    .unwrap();
    std::fs::write(log_dir.join(CLEAN_SHUTDOWN_FILE), "").unwrap();
    std::fs::write(directory.join(LEADER_EPOCH_CHECKPOINT), "0\n2\n0 0\n1 4\n").unwrap();
    directory
}

#[test]
fn everything_from_the_damage_on_goes_and_nothing_before_it() {
    let log_dir = tempfile::tempdir().unwrap();
    let directory = partition(log_dir.path());
    assert_eq!(plan(&directory, None).unwrap(), None, "nothing is damaged");
    let segment = directory.join(FileKind::Log.file_name(0));
    let mut bytes = std::fs::read(&segment).unwrap();
    let size = bytes.len() / 3;
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&segment, &bytes).unwrap();
    let report = verify(log_dir.path()).unwrap();
    assert!(
        report.problems.iter().any(|problem| problem.path == segment
            && problem.reason.contains(&format!("position {}", 2 * size))),
        "{report:?}"
    );

    let truncation = plan(&directory, None).unwrap().unwrap();
    assert_eq!(truncation.end_offset, 2);
    assert_eq!(truncation.cut, Some((segment.clone(), 2 * size as u64)));
    execute(&directory, &truncation).unwrap();
    assert_eq!(std::fs::read(&segment).unwrap(), bytes[..2 * size]);
    assert!(!directory.join(FileKind::Log.file_name(3)).exists());
    assert!(!directory.join(FileKind::OffsetIndex.file_name(0)).exists());
    assert!(!log_dir.path().join(CLEAN_SHUTDOWN_FILE).exists());
    let points = std::fs::read_to_string(log_dir.path().join(RECOVERY_POINT_CHECKPOINT)).unwrap();
    assert!(
        points.contains("topic 0 2\n") && points.contains("other 0 9\n"),
        "{points}"
    );
    let epochs = std::fs::read_to_string(directory.join(LEADER_EPOCH_CHECKPOINT)).unwrap();
    assert_eq!(epochs, "0\n1\n0 0\n");
    let problems = verify(log_dir.path()).unwrap().problems;
    assert!(problems.is_empty(), "{problems:?}");
}

#[test]
fn an_offset_of_the_operators_choice_is_where_the_log_ends() {
    let log_dir = tempfile::tempdir().unwrap();
    let directory = partition(log_dir.path());
    let truncation = plan(&directory, Some(4)).unwrap().unwrap();
    assert_eq!(truncation.end_offset, 4);
    execute(&directory, &truncation).unwrap();
    assert!(verify(&directory).unwrap().problems.is_empty());
    assert_eq!(plan(&directory, Some(4)).unwrap(), None);
    assert!(plan(log_dir.path(), Some(4)).is_err(), "not a partition");
}

#[test]
fn a_broker_that_runs_keeps_its_log() {
    let log_dir = tempfile::tempdir().unwrap();
    let directory = partition(log_dir.path());
    let truncation = plan(&directory, Some(4)).unwrap().unwrap();
    // A lock of this process would not exclude itself, so another holds it.
    let script = "import fcntl, sys, time\nf = open(sys.argv[1], 'w')\n\
                  fcntl.lockf(f, fcntl.LOCK_EX)\nprint(flush=True)\nsys.stdin.read()";
    let mut holder = std::process::Command::new("python3")
        .args(["-c", script])
        .arg(log_dir.path().join(LOCK_FILE))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    let out = holder.stdout.take().unwrap();
    io::BufRead::read_line(&mut io::BufReader::new(out), &mut ready).unwrap();
    let refused = execute(&directory, &truncation);
    assert!(
        matches!(refused, Err(TruncateError::InUse(_))),
        "{refused:?}"
    );
    assert!(directory.join(FileKind::Log.file_name(3)).exists());
    drop(holder.stdin.take());
    holder.wait().unwrap();
}
