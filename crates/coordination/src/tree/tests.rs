use bytes::{Bytes, BytesMut};
use ottla_model::Timestamp;

use super::*;
use crate::request::{AclPolicy, CreateMode};

const NOW: Timestamp = Timestamp(1000);

fn tree() -> (Tree, i64) {
    let mut tree = Tree::new();
    let (session, _) = tree.open_session(NOW);
    (tree, session)
}

fn create(path: &str, mode: CreateMode) -> Request {
    Request::Create {
        path: path.into(),
        data: Some(Bytes::from_static(b"x")),
        mode,
        acl: AclPolicy::Open,
    }
}

fn encoded(tree: &Tree) -> Bytes {
    let mut bytes = BytesMut::new();
    tree.encode(&mut bytes);
    bytes.freeze()
}

/// A tree with a bit of everything, and the transactions that made it.
fn busy_tree() -> (Tree, Vec<Transaction>) {
    let mut tree = Tree::new();
    let mut log = Vec::new();
    let (one, opened) = tree.open_session(NOW);
    log.push(opened);
    let (two, opened) = tree.open_session(NOW);
    log.push(opened);
    for (session, request) in [
        (one, create("/a", CreateMode::Persistent)),
        (one, create("/a/s-", CreateMode::PersistentSequential)),
        (two, create("/a/s-", CreateMode::PersistentSequential)),
        (two, create("/a/e", CreateMode::Ephemeral)),
        (one, create("/a/e", CreateMode::Ephemeral)),
        (
            one,
            Request::Delete {
                path: "/a/s-0000000000".into(),
                version: 0,
            },
        ),
        (
            one,
            Request::SetData {
                path: "/a".into(),
                data: None,
                version: 0,
            },
        ),
        (one, create("/f", CreateMode::Ephemeral)),
    ] {
        log.extend(tree.handle(session, &request, NOW).transaction);
    }
    log.push(tree.close_session(one, NOW).unwrap().1);
    (tree, log)
}

#[test]
fn the_same_transactions_give_the_same_tree() {
    let (tree, log) = busy_tree();
    let mut again = Tree::new();
    for transaction in &log {
        again.replay(transaction).unwrap();
    }
    assert_eq!(encoded(&again), encoded(&tree));
}

#[test]
fn a_snapshot_holds_the_whole_tree() {
    let (tree, _) = busy_tree();
    let bytes = encoded(&tree);
    let again = Tree::decode(&bytes).unwrap();
    assert_eq!(encoded(&again), bytes);
    assert_eq!(again.last_zxid(), tree.last_zxid());
    assert_eq!(again.nodes, tree.nodes);
    assert_eq!(again.sessions, tree.sessions);
}

#[test]
fn a_damaged_snapshot_is_refused_without_a_panic() {
    let bytes = encoded(&busy_tree().0);
    for end in 0..bytes.len() {
        if let Ok(part) = Tree::decode(&bytes[..end]) {
            assert!(part.node_count() < 5, "cut at {end}");
        }
    }
    for position in 0..bytes.len() {
        let mut flipped = bytes.to_vec();
        flipped[position] ^= 0x80;
        drop(Tree::decode(&flipped));
    }
}

#[test]
fn transactions_that_do_not_fit_are_refused() {
    let (tree, log) = busy_tree();
    assert!(tree.clone().replay(&log[0]).is_err(), "an old number");
    let change = |changes| Transaction {
        zxid: 1000,
        time: 0,
        session: 1,
        changes,
    };
    for changes in [
        vec![Change::Create {
            path: "/a".into(),
            data: None,
            ephemeral: false,
        }],
        vec![Change::Create {
            path: "/".into(),
            data: None,
            ephemeral: false,
        }],
        vec![Change::Create {
            path: "/no/a".into(),
            data: None,
            ephemeral: false,
        }],
        vec![Change::Create {
            path: "/n".into(),
            data: None,
            ephemeral: true,
        }],
        vec![Change::SetData {
            path: "/no".into(),
            data: None,
        }],
        vec![Change::Delete { path: "/".into() }],
        vec![Change::Delete { path: "/a".into() }],
        vec![Change::Delete { path: "/no".into() }],
        vec![Change::CloseSession],
    ] {
        assert!(
            tree.clone().replay(&change(changes.clone())).is_err(),
            "{changes:?}"
        );
    }
}

#[test]
fn writes_take_a_zxid_even_when_they_fail_and_reads_take_none() {
    let (mut tree, session) = tree();
    let before = tree.last_zxid();
    let absent = Request::Delete {
        path: "/no".into(),
        version: -1,
    };
    assert_eq!(
        tree.handle(session, &absent, NOW).result,
        Err(Error::NoNode)
    );
    assert_eq!(tree.last_zxid(), before + 1);
    assert_eq!(
        tree.handle(session, &Request::get_data("/no"), NOW).result,
        Err(Error::NoNode)
    );
    assert_eq!(tree.last_zxid(), before + 1);
}

#[test]
fn a_closed_session_can_do_nothing() {
    let (mut tree, session) = tree();
    tree.close_session(session, NOW).unwrap();
    let outcome = tree.handle(session, &Request::get_data("/"), NOW);
    assert_eq!(outcome.result, Err(Error::SessionExpired));
    assert!(tree.close_session(session, NOW).is_none());
}

#[test]
fn the_number_of_a_sequential_znode_counts_creations_only() {
    let (mut tree, session) = tree();
    tree.handle(session, &create("/p", CreateMode::Persistent), NOW);
    for number in 0..3 {
        let outcome = tree.handle(
            session,
            &create("/p/s-", CreateMode::PersistentSequential),
            NOW,
        );
        let path = format!("/p/s-{number:010}");
        assert_eq!(outcome.result, Ok(Reply::Created { path: path.clone() }));
        tree.handle(session, &Request::Delete { path, version: -1 }, NOW);
    }
    let Ok(Reply::Data { stat, .. }) = tree.handle(session, &Request::get_data("/p"), NOW).result
    else {
        panic!("/p is there");
    };
    assert_eq!((stat.cversion, stat.num_children), (6, 0));
}

#[test]
fn children_are_told_from_what_lies_below_and_beside_them() {
    let (mut tree, session) = tree();
    let paths = [
        "/a", "/a/b", "/a/b/c", "/a/b/c/d", "/a/b-2", "/a/b-2/c", "/a/b.", "/a/b0", "/a/b0/c",
        "/a/bb", "/a-", "/a-/b", "/a0", "/b", "/ä", "/ä/ö",
    ];
    for path in paths {
        let outcome = tree.handle(session, &create(path, CreateMode::Persistent), NOW);
        assert!(outcome.result.is_ok(), "{path}");
    }
    for (path, children) in [
        ("/", &["a", "a-", "a0", "b", "ä"] as &[_]),
        ("/a", &["b", "b-2", "b.", "b0", "bb"]),
        ("/a/b", &["c"]),
        ("/a/b-2", &["c"]),
        ("/a/bb", &[]),
        ("/ä", &["ö"]),
    ] {
        let request = Request::GetChildren {
            path: path.into(),
            watch: false,
        };
        let Ok(Reply::Children { names, stat }) = tree.handle(session, &request, NOW).result else {
            panic!("no children of {path}");
        };
        assert_eq!(names, children, "{path}");
        assert_eq!(stat.num_children as usize, children.len(), "{path}");
    }
}
