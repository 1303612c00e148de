//! Watches: armed by reads, fired once.

use super::{Client, Suite, children, create, create_op, delete, exists, get};
use crate::event::WatchKind;
use crate::request::{CreateMode, Error, Op, Request};

pub(super) fn run(suite: &Suite<'_>) {
    let (watcher, writer) = (suite.client(), suite.client());
    for promise in [
        a_data_watch_fires_once,
        exists_arms_a_watch_on_an_absent_znode,
        other_reads_arm_nothing_on_an_absent_znode,
        a_child_watch_fires_for_comings_and_goings_only,
        a_deleted_znode_fires_every_watch_on_it_once,
        arming_twice_fires_once,
        a_session_sees_its_own_changes,
        a_multi_fires_in_the_order_of_its_writes,
        a_failed_multi_fires_nothing,
        a_read_after_a_watch_shows_the_change,
        watches_that_are_not_asked_for_are_not_armed,
    ] {
        let place = suite.place(&writer);
        promise(&watcher, &writer, &place);
        watcher.expect_silence();
        writer.expect_silence();
    }
    watcher.close();
    writer.close();
}

fn arm(client: &Client, request: Request) {
    client.call(request).expect("the znode is there");
}

fn a_data_watch_fires_once(watcher: &Client, writer: &Client, place: &str) {
    for request in [get(place, true), exists(place, true)] {
        arm(watcher, request);
        writer.set(place, "1");
        watcher.expect_watch(place, WatchKind::DataChanged);
        writer.set(place, "2");
        watcher.expect_silence();
    }
}

fn exists_arms_a_watch_on_an_absent_znode(watcher: &Client, writer: &Client, place: &str) {
    let path = format!("{place}/a");
    assert_eq!(watcher.call(exists(&path, true)), Err(Error::NoNode));
    writer.create(&path, "");
    watcher.expect_watch(&path, WatchKind::Created);
    writer.delete(&path);
    watcher.expect_silence();
}

fn other_reads_arm_nothing_on_an_absent_znode(watcher: &Client, writer: &Client, place: &str) {
    let path = format!("{place}/a");
    assert_eq!(watcher.call(get(&path, true)), Err(Error::NoNode));
    assert_eq!(watcher.call(children(&path, true)), Err(Error::NoNode));
    writer.create(&path, "");
    writer.create(&format!("{path}/b"), "");
    watcher.expect_silence();
}

fn a_child_watch_fires_for_comings_and_goings_only(watcher: &Client, writer: &Client, place: &str) {
    let path = format!("{place}/a");
    arm(watcher, children(place, true));
    writer.set(place, "data");
    watcher.expect_silence();
    writer.create(&path, "");
    watcher.expect_watch(place, WatchKind::ChildrenChanged);
    arm(watcher, children(place, true));
    writer.set(&path, "data");
    writer.create(&format!("{path}/b"), "");
    writer.delete(&format!("{path}/b"));
    watcher.expect_silence();
    writer.delete(&path);
    watcher.expect_watch(place, WatchKind::ChildrenChanged);
}

fn a_deleted_znode_fires_every_watch_on_it_once(watcher: &Client, writer: &Client, place: &str) {
    let path = format!("{place}/a");
    writer.create(&path, "");
    arm(watcher, get(&path, true));
    arm(watcher, children(&path, true));
    arm(watcher, children(place, true));
    writer.delete(&path);
    watcher.expect_watch(&path, WatchKind::Deleted);
    watcher.expect_watch(place, WatchKind::ChildrenChanged);
    writer.create(&path, "");
    arm(watcher, children(&path, true));
    writer.delete(&path);
    watcher.expect_watch(&path, WatchKind::Deleted);
}

fn arming_twice_fires_once(watcher: &Client, writer: &Client, place: &str) {
    arm(watcher, get(place, true));
    arm(watcher, get(place, true));
    arm(watcher, exists(place, true));
    writer.set(place, "x");
    watcher.expect_watch(place, WatchKind::DataChanged);
    watcher.expect_silence();
}

fn a_session_sees_its_own_changes(watcher: &Client, _writer: &Client, place: &str) {
    arm(watcher, get(place, true));
    watcher.submit(super::set(place, "x", -1));
    // The watch comes before the answer.
    watcher.expect_watch(place, WatchKind::DataChanged);
    assert!(matches!(
        watcher.next_event(),
        crate::Event::Reply { result: Ok(_), .. }
    ));
}

fn a_multi_fires_in_the_order_of_its_writes(watcher: &Client, writer: &Client, place: &str) {
    let (a, b) = (format!("{place}/a"), format!("{place}/b"));
    writer.create(&b, "");
    arm(watcher, get(&b, true));
    assert_eq!(watcher.call(exists(&a, true)), Err(Error::NoNode));
    arm(watcher, children(place, true));
    let ops = vec![
        Op::SetData {
            path: b.clone(),
            data: None,
            version: -1,
        },
        create_op(&a, "", CreateMode::Persistent),
        Op::Delete {
            path: b.clone(),
            version: -1,
        },
    ];
    arm(writer, Request::Multi(ops));
    watcher.expect_watch(&b, WatchKind::DataChanged);
    watcher.expect_watch(&a, WatchKind::Created);
    watcher.expect_watch(place, WatchKind::ChildrenChanged);
}

fn a_failed_multi_fires_nothing(watcher: &Client, writer: &Client, place: &str) {
    arm(watcher, children(place, true));
    arm(watcher, get(place, true));
    let ops = vec![
        create_op(&format!("{place}/a"), "", CreateMode::Persistent),
        Op::Check {
            path: place.to_owned(),
            version: 7,
        },
    ];
    arm(writer, Request::Multi(ops));
    watcher.expect_silence();
    // They are still armed.
    writer.set(place, "x");
    watcher.expect_watch(place, WatchKind::DataChanged);
    writer.create(&format!("{place}/a"), "");
    watcher.expect_watch(place, WatchKind::ChildrenChanged);
}

fn a_read_after_a_watch_shows_the_change(watcher: &Client, writer: &Client, place: &str) {
    for index in 0..20 {
        arm(watcher, children(place, true));
        let path = format!("{place}/{index}");
        assert!(
            writer
                .call(create(&path, "", CreateMode::Persistent))
                .is_ok()
        );
        watcher.expect_watch(place, WatchKind::ChildrenChanged);
        assert_eq!(watcher.children(place).len(), index + 1);
    }
}

fn watches_that_are_not_asked_for_are_not_armed(watcher: &Client, writer: &Client, place: &str) {
    let path = format!("{place}/a");
    arm(watcher, get(place, false));
    arm(watcher, children(place, false));
    assert_eq!(watcher.call(exists(&path, false)), Err(Error::NoNode));
    writer.set(place, "x");
    writer.create(&path, "");
    assert!(writer.call(delete(&path, 0)).is_ok());
    watcher.expect_silence();
}
