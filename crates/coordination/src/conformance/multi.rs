//! Writes that happen together.

use super::{Client, Suite, create_op, data_of};
use crate::request::{CreateMode, Error, Op, OpResult, Reply, Request, Stat, multi_error};

pub(super) fn run(suite: &Suite<'_>) {
    let client = suite.client();
    for promise in [
        all_writes_share_one_zxid,
        a_registration_shows_its_epoch,
        later_writes_see_earlier_ones,
        a_failed_multi_blames_the_culprit_and_changes_nothing,
        a_failed_check_fences_the_write,
        sequential_names_in_a_multi_count_on,
        a_multi_of_checks_changes_nothing,
        a_failed_multi_takes_a_zxid,
    ] {
        promise(&client, &suite.place(&client));
    }
    client.close();
}

fn check(path: &str, version: i32) -> Op {
    Op::Check {
        path: path.to_owned(),
        version,
    }
}

fn delete(path: &str, version: i32) -> Op {
    Op::Delete {
        path: path.to_owned(),
        version,
    }
}

fn set(path: &str, data: &str, version: i32) -> Op {
    Op::SetData {
        path: path.to_owned(),
        data: data_of(data),
        version,
    }
}

fn multi(client: &Client, ops: Vec<Op>) -> Vec<OpResult> {
    match client.call(Request::Multi(ops)) {
        Ok(Reply::Multi(results)) => results,
        other => panic!("no results: {other:?}"),
    }
}

fn stat_of(result: &OpResult) -> Stat {
    match result {
        OpResult::Set(stat) => *stat,
        other => panic!("not set: {other:?}"),
    }
}

fn all_writes_share_one_zxid(client: &Client, place: &str) {
    let (a, b) = (format!("{place}/a"), format!("{place}/b"));
    client.create(&b, "");
    let results = multi(
        client,
        vec![
            check(&b, 0),
            create_op(&a, "x", CreateMode::Persistent),
            set(&b, "y", 0),
            delete(&a, 0),
            create_op(&a, "z", CreateMode::Persistent),
        ],
    );
    assert_eq!(multi_error(&results), None);
    let stat = stat_of(&results[2]);
    assert_eq!(
        results,
        [
            OpResult::Checked,
            OpResult::Created { path: a.clone() },
            OpResult::Set(stat),
            OpResult::Deleted,
            OpResult::Created { path: a.clone() },
        ]
    );
    assert_eq!(client.stat(&b), stat);
    assert_eq!(client.stat(&a).czxid, stat.mzxid);
    assert_eq!(client.stat(place).pzxid, stat.mzxid);
}

fn a_registration_shows_its_epoch(client: &Client, place: &str) {
    let path = format!("{place}/0");
    let results = multi(
        client,
        vec![
            create_op(&path, "", CreateMode::Ephemeral),
            set(&path, "json", 0),
        ],
    );
    let stat = stat_of(&results[1]);
    assert_eq!((stat.version, stat.mzxid), (1, stat.czxid));
    assert_eq!(stat.ephemeral_owner, client.session_id());
    assert_eq!(client.data(&path).as_deref(), Some(&b"json"[..]));
    client.delete(&path);
}

fn later_writes_see_earlier_ones(client: &Client, place: &str) {
    let path = format!("{place}/a");
    let results = multi(
        client,
        vec![
            create_op(&path, "", CreateMode::Persistent),
            create_op(&format!("{path}/b"), "", CreateMode::Persistent),
            delete(&path, -1),
        ],
    );
    assert_eq!(multi_error(&results), Some((2, Error::NotEmpty)));
    assert!(client.is_absent(&path));
    let results = multi(
        client,
        vec![
            create_op(&path, "", CreateMode::Persistent),
            set(&path, "1", 0),
            set(&path, "2", 1),
            check(&path, 2),
            create_op(&format!("{path}/b"), "", CreateMode::Persistent),
            delete(&format!("{path}/b"), 0),
            delete(&path, 2),
        ],
    );
    assert_eq!(multi_error(&results), None);
    assert!(client.is_absent(&path));
    let results = multi(
        client,
        vec![
            create_op(&path, "", CreateMode::Ephemeral),
            create_op(&format!("{path}/b"), "", CreateMode::Persistent),
        ],
    );
    assert_eq!(
        multi_error(&results),
        Some((1, Error::NoChildrenForEphemerals))
    );
}

fn a_failed_multi_blames_the_culprit_and_changes_nothing(client: &Client, place: &str) {
    let (a, b) = (format!("{place}/a"), format!("{place}/b"));
    client.create(&a, "");
    let before = client.stat(place);
    for (culprit, error) in [
        (create_op(&a, "", CreateMode::Persistent), Error::NodeExists),
        (
            create_op(&format!("{place}/no/a"), "", CreateMode::Persistent),
            Error::NoNode,
        ),
        (set(&a, "", 5), Error::BadVersion),
        (delete(&format!("{place}/no"), -1), Error::NoNode),
        (check(&a, 1), Error::BadVersion),
        (check(&format!("{place}/no"), -1), Error::NoNode),
    ] {
        let results = multi(
            client,
            vec![
                create_op(&b, "", CreateMode::Persistent),
                culprit,
                set(&a, "x", -1),
                check(&a, 0),
            ],
        );
        assert_eq!(
            results,
            [
                OpResult::RolledBack,
                OpResult::Failed(error),
                OpResult::Failed(Error::RuntimeInconsistency),
                OpResult::Failed(Error::RuntimeInconsistency),
            ]
        );
        assert_eq!(multi_error(&results), Some((1, error)));
    }
    assert_eq!(client.stat(place), before);
    assert_eq!(client.data(&a), None);
}

fn a_failed_check_fences_the_write(client: &Client, place: &str) {
    let (epoch, state) = (format!("{place}/epoch"), format!("{place}/state"));
    client.create(&epoch, "1");
    client.create(&state, "old");
    client.set(&epoch, "2");
    let results = multi(client, vec![check(&epoch, 0), set(&state, "new", 0)]);
    assert_eq!(multi_error(&results), Some((0, Error::BadVersion)));
    assert_eq!(client.data(&state).as_deref(), Some(&b"old"[..]));
    let results = multi(client, vec![check(&epoch, 1), set(&state, "new", 0)]);
    assert_eq!(results[0], OpResult::Checked);
    assert_eq!(stat_of(&results[1]).version, 1);
    // Any version.
    let results = multi(client, vec![check(&epoch, -1), set(&state, "newer", -1)]);
    assert_eq!(multi_error(&results), None);
}

fn sequential_names_in_a_multi_count_on(client: &Client, place: &str) {
    let path = format!("{place}/s-");
    let op = || create_op(&path, "", CreateMode::PersistentSequential);
    assert_eq!(
        multi(client, vec![op(), op()]),
        [
            OpResult::Created {
                path: format!("{path}0000000000")
            },
            OpResult::Created {
                path: format!("{path}0000000001")
            },
        ]
    );
    // What is rolled back is not counted.
    assert!(multi_error(&multi(client, vec![op(), delete(&path, -1)])).is_some());
    assert_eq!(
        multi(client, vec![op()]),
        [OpResult::Created {
            path: format!("{path}0000000002")
        }]
    );
}

fn a_multi_of_checks_changes_nothing(client: &Client, place: &str) {
    let before = client.stat(place);
    assert_eq!(
        multi(client, vec![check(place, 0), check("/", -1)]),
        [OpResult::Checked, OpResult::Checked]
    );
    assert_eq!(client.stat(place), before);
}

fn a_failed_multi_takes_a_zxid(client: &Client, place: &str) {
    client.create(&format!("{place}/a"), "");
    let first = client.stat(&format!("{place}/a")).czxid;
    assert!(multi_error(&multi(client, vec![check(place, 9)])).is_some());
    assert_eq!(client.set(&format!("{place}/a"), "x").mzxid, first + 2);
}
