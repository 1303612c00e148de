//! What the embedded provider promises: the contract, and that what it answered survives.

use std::fs;
use std::path::{Path, PathBuf};

use ottla_coordination::conformance::{self, Client};
use ottla_coordination::{
    AclPolicy, Coordination as _, CreateMode, Error, Event, Reply, Request, SessionEvent,
};
use ottla_coordination_embedded::{EmbeddedService, StoreError};

fn client(service: &EmbeddedService) -> Client {
    Client::open(&|sink| Box::new(service.session(sink).unwrap()))
}

fn create(path: &str, mode: CreateMode) -> Request {
    let data = Some(path.to_owned().into());
    Request::Create {
        path: path.to_owned(),
        data,
        mode,
        acl: AclPolicy::Open,
    }
}

fn children(client: &Client, path: &str) -> Vec<String> {
    match client.call(Request::get_children(path)) {
        Ok(Reply::Children { names, .. }) => names,
        other => panic!("no children: {other:?}"),
    }
}

fn files(directory: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.retain(|path| {
        path.file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with(prefix)
    });
    paths.sort();
    paths
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

/// A directory as `kill -9` leaves it: copied while the service has it open. The log grows by one
/// frame with each of the `count` creations; gives the log's length after each.
fn killed(directory: &Path, copied: &Path, count: usize) -> Vec<u64> {
    let service = EmbeddedService::open(directory).unwrap();
    let client = client(&service);
    let log = files(directory, "log.").pop().unwrap();
    let mut lengths = vec![fs::metadata(&log).unwrap().len()];
    for index in 0..count {
        let mode = if index == 0 {
            CreateMode::Ephemeral
        } else {
            CreateMode::Persistent
        };
        client.call(create(&format!("/{index}"), mode)).unwrap();
        lengths.push(fs::metadata(&log).unwrap().len());
    }
    copy(directory, copied);
    lengths
}

#[test]
fn the_embedded_service_conforms() {
    let directory = tempfile::tempdir().unwrap();
    // So small that snapshots are taken all the time.
    let service = EmbeddedService::open_with(directory.path(), 2000).unwrap();
    conformance::run_all(
        &|sink| Box::new(service.session(sink).unwrap()),
        "/conformance",
    );
}

#[test]
fn what_was_answered_survives_a_kill_and_ephemeral_znodes_do_not() {
    let scratch = tempfile::tempdir().unwrap();
    let copied = scratch.path().join("copy");
    killed(&scratch.path().join("original"), &copied, 5);
    let service = EmbeddedService::open(&copied).unwrap();
    let client = client(&service);
    assert_eq!(children(&client, "/"), ["1", "2", "3", "4"]);
    let Ok(Reply::Data { data, stat }) = client.call(Request::get_data("/3")) else {
        panic!("/3 is there");
    };
    assert_eq!(data.as_deref(), Some(&b"/3"[..]));
    // A session of the new process has an id of its own, and zxids go on.
    assert!(client.session_id() > stat.czxid);
}

#[test]
fn a_log_cut_at_any_byte_keeps_every_whole_write() {
    let scratch = tempfile::tempdir().unwrap();
    let copied = scratch.path().join("copy");
    let lengths = killed(&scratch.path().join("original"), &copied, 4);
    let log = files(&copied, "log.").pop().unwrap();
    let whole = fs::read(&log).unwrap();
    // From the end of the first creation (the ephemeral one) on.
    for cut in lengths[1]..=whole.len() as u64 {
        fs::write(&log, &whole[..cut as usize]).unwrap();
        let service = EmbeddedService::open(&copied).unwrap();
        let client = client(&service);
        let survived = lengths.iter().filter(|&&length| length <= cut).count() - 1;
        let expected: Vec<String> = (1..survived).map(|index| index.to_string()).collect();
        assert_eq!(children(&client, "/"), expected, "cut at {cut}");
        // It goes on from there.
        client
            .call(create("/after", CreateMode::Persistent))
            .unwrap();
        drop((client, service));
        let service = EmbeddedService::open(&copied).unwrap();
        let client = self::client(&service);
        assert!(
            children(&client, "/").contains(&"after".to_owned()),
            "cut at {cut}"
        );
    }
}

#[test]
fn flipped_bits_are_an_error_and_nothing_is_changed() {
    let scratch = tempfile::tempdir().unwrap();
    let copied = scratch.path().join("copy");
    killed(&scratch.path().join("original"), &copied, 3);
    let log = files(&copied, "log.").pop().unwrap();
    let whole = fs::read(&log).unwrap();
    for position in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[position] ^= 0x10;
        fs::write(&log, &flipped).unwrap();
        let error = EmbeddedService::open(&copied).err();
        assert!(
            matches!(error, Some(StoreError::Damaged { .. })),
            "byte {position}: {error:?}"
        );
        assert_eq!(fs::read(&log).unwrap(), flipped);
    }
}

#[test]
fn a_damaged_snapshot_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let service = EmbeddedService::open_with(directory.path(), 0).unwrap();
    client(&service)
        .call(create("/a", CreateMode::Persistent))
        .unwrap();
    drop(service);
    let snapshot = files(directory.path(), "snapshot.").pop().unwrap();
    let whole = fs::read(&snapshot).unwrap();
    for position in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[position] ^= 1;
        fs::write(&snapshot, &flipped).unwrap();
        let error = EmbeddedService::open(directory.path()).err();
        assert!(
            matches!(error, Some(StoreError::Damaged { .. })),
            "byte {position}: {error:?}"
        );
    }
    fs::write(&snapshot, &whole).unwrap();
    let service = EmbeddedService::open(directory.path()).unwrap();
    assert_eq!(children(&client(&service), "/"), ["a"]);
}

#[test]
fn snapshots_bound_the_files() {
    let directory = tempfile::tempdir().unwrap();
    let service = EmbeddedService::open_with(directory.path(), 4000).unwrap();
    let client = client(&service);
    client.call(create("/a", CreateMode::Persistent)).unwrap();
    for index in 0..500 {
        let data = Some(format!("{index:0100}").into());
        client.submit(Request::SetData {
            path: "/a".to_owned(),
            data,
            version: -1,
        });
        client.call(Request::get_data("/a")).unwrap();
    }
    let size: u64 = files(directory.path(), "")
        .iter()
        .map(|path| fs::metadata(path).unwrap().len())
        .sum();
    assert!(size < 10_000, "{size} bytes");
    assert_eq!(files(directory.path(), "snapshot.").len(), 1);
    assert_eq!(files(directory.path(), "log.").len(), 1);
    drop((client, service));
    let service = EmbeddedService::open(directory.path()).unwrap();
    let Ok(Reply::Data { data, stat }) = self::client(&service).call(Request::get_data("/a"))
    else {
        panic!("/a is there");
    };
    assert_eq!(stat.version, 500);
    assert_eq!(data, Some(format!("{:0100}", 499).into()));
}

#[test]
fn a_snapshot_beside_the_log_that_it_covers_is_read_once() {
    // As a crash between the snapshot's rename and the new log leaves it.
    let scratch = tempfile::tempdir().unwrap();
    let original = scratch.path().join("original");
    let copied = scratch.path().join("copy");
    killed(&original, &copied, 3);
    let snapshotted = scratch.path().join("snapshotted");
    copy(&copied, &snapshotted);
    drop(EmbeddedService::open_with(&snapshotted, 0).unwrap());
    let snapshot = files(&snapshotted, "snapshot.").pop().unwrap();
    // The first thing that open did was to end the old session and take a snapshot of that.
    fs::copy(&snapshot, copied.join(snapshot.file_name().unwrap())).unwrap();
    fs::write(copied.join("snapshot.temporary"), b"half").unwrap();
    let service = EmbeddedService::open(&copied).unwrap();
    assert_eq!(children(&client(&service), "/"), ["1", "2"]);
    assert!(!copied.join("snapshot.temporary").exists());
}

#[test]
fn the_directory_has_one_user_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let service = EmbeddedService::open(directory.path()).unwrap();
    assert!(matches!(
        EmbeddedService::open(directory.path()),
        Err(StoreError::Locked(_))
    ));
    service.close();
    drop(EmbeddedService::open(directory.path()).unwrap());
}

#[test]
fn an_expired_session_is_told_and_loses_its_ephemeral_znodes() {
    let directory = tempfile::tempdir().unwrap();
    let service = EmbeddedService::open(directory.path()).unwrap();
    let (one, two) = (client(&service), client(&service));
    one.call(create("/e", CreateMode::Ephemeral)).unwrap();
    service.expire(one.session_id());
    assert_eq!(one.next_event(), Event::Session(SessionEvent::Expired));
    assert_eq!(one.call(Request::get_data("/")), Err(Error::SessionExpired));
    assert_eq!(two.call(Request::get_data("/e")), Err(Error::NoNode));
}

#[test]
fn after_the_service_has_stopped_sessions_answer_that_they_are_gone() {
    let directory = tempfile::tempdir().unwrap();
    let service = EmbeddedService::open(directory.path()).unwrap();
    let client = client(&service);
    service.close();
    assert_eq!(client.next_event(), Event::Session(SessionEvent::Expired));
    assert_eq!(
        client.call(Request::get_data("/")),
        Err(Error::SessionExpired)
    );
    client.close();
}

#[test]
fn sessions_on_many_threads_share_the_tree() {
    let directory = tempfile::tempdir().unwrap();
    let service = EmbeddedService::open(directory.path()).unwrap();
    client(&service)
        .call(create("/s", CreateMode::Persistent))
        .unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let client = client(&service);
                for _ in 0..25 {
                    client
                        .call(create("/s/n-", CreateMode::PersistentSequential))
                        .unwrap();
                }
            });
        }
    });
    let names: Vec<String> = (0..100).map(|number| format!("n-{number:010}")).collect();
    assert_eq!(children(&client(&service), "/s"), names);
    let session = service.session(Box::new(|_| {})).unwrap();
    session.close();
}
