//! Single writes and reads.

use super::{Client, Suite, children, create, delete, exists, get, set};
use crate::request::{CreateMode, Error, Reply, Request};

pub(super) fn run(suite: &Suite<'_>) {
    let client = suite.client();
    for promise in [
        a_new_znode_has_a_fresh_stat,
        absent_and_empty_data_are_the_same,
        create_needs_a_parent_and_a_free_name,
        writes_are_conditional_on_the_version,
        a_znode_with_children_is_not_deleted,
        sequential_names_count_creations,
        ephemeral_znodes_have_an_owner_and_no_children,
        the_list_of_children_has_versions_of_its_own,
        malformed_paths_are_refused,
        requests_are_answered_in_order,
        many_reads_are_answered_each_for_itself,
        zxids_grow_by_one_with_every_write,
        the_root_stays,
    ] {
        promise(&client, &suite.place(&client));
    }
    client.close();
}

fn a_new_znode_has_a_fresh_stat(client: &Client, place: &str) {
    let path = format!("{place}/a");
    client.create(&path, "data");
    assert_eq!(client.data(&path).as_deref(), Some(&b"data"[..]));
    let stat = client.stat(&path);
    assert_eq!((stat.version, stat.cversion, stat.num_children), (0, 0, 0));
    assert_eq!((stat.mzxid, stat.pzxid), (stat.czxid, stat.czxid));
    assert_eq!((stat.ephemeral_owner, stat.data_length), (0, 4));
    assert!(stat.ctime > 0 && stat.ctime == stat.mtime);
    let after = client.set(&path, "longer");
    assert_eq!((after.version, after.data_length), (1, 6));
    assert!(after.mzxid > stat.mzxid && after.mtime >= stat.mtime);
    assert_eq!(
        (after.czxid, after.pzxid, after.ctime),
        (stat.czxid, stat.pzxid, stat.ctime)
    );
    assert_eq!(client.stat(&path), after);
}

fn absent_and_empty_data_are_the_same(client: &Client, place: &str) {
    let path = format!("{place}/a");
    client.create(&path, "");
    assert_eq!(client.data(&path), None);
    client.set(&path, "x");
    let stat = client.set(&path, "");
    assert_eq!((stat.version, stat.data_length), (2, 0));
    assert_eq!(client.data(&path), None);
}

fn create_needs_a_parent_and_a_free_name(client: &Client, place: &str) {
    let path = format!("{place}/a/b");
    let request = create(&path, "", CreateMode::Persistent);
    assert_eq!(client.call(request.clone()), Err(Error::NoNode));
    client.create(&format!("{place}/a"), "");
    client.create(&path, "");
    assert_eq!(client.call(request), Err(Error::NodeExists));
    for request in [
        get(&path, false),
        children(&path, false),
        exists(&path, false),
    ] {
        let mut absent = request;
        let (Request::GetData { path, .. }
        | Request::GetChildren { path, .. }
        | Request::Exists { path, .. }) = &mut absent
        else {
            unreachable!("only reads are listed");
        };
        path.push('x');
        assert_eq!(client.call(absent), Err(Error::NoNode));
    }
}

fn writes_are_conditional_on_the_version(client: &Client, place: &str) {
    let path = format!("{place}/a");
    assert_eq!(client.call(set(&path, "x", -1)), Err(Error::NoNode));
    assert_eq!(client.call(delete(&path, -1)), Err(Error::NoNode));
    client.create(&path, "0");
    assert_eq!(client.call(set(&path, "x", 1)), Err(Error::BadVersion));
    assert!(matches!(client.call(set(&path, "1", 0)), Ok(Reply::Set(stat)) if stat.version == 1));
    assert_eq!(client.call(delete(&path, 0)), Err(Error::BadVersion));
    assert_eq!(client.data(&path).as_deref(), Some(&b"1"[..]));
    assert_eq!(client.call(delete(&path, 1)), Ok(Reply::Deleted));
    assert!(client.is_absent(&path));
}

fn a_znode_with_children_is_not_deleted(client: &Client, place: &str) {
    client.create(&format!("{place}/a"), "");
    client.create(&format!("{place}/a/b"), "");
    assert_eq!(
        client.call(delete(&format!("{place}/a"), -1)),
        Err(Error::NotEmpty)
    );
    // The version is looked at first.
    assert_eq!(
        client.call(delete(&format!("{place}/a"), 7)),
        Err(Error::BadVersion)
    );
    client.delete(&format!("{place}/a/b"));
    client.delete(&format!("{place}/a"));
}

fn sequential_names_count_creations(client: &Client, place: &str) {
    let next = |prefix: &str| match client.call(create(
        &format!("{place}/{prefix}"),
        "x",
        CreateMode::PersistentSequential,
    )) {
        Ok(Reply::Created { path }) => path,
        other => panic!("not created: {other:?}"),
    };
    assert_eq!(next("a-"), format!("{place}/a-0000000000"));
    assert_eq!(next("b-"), format!("{place}/b-0000000001"));
    client.create(&format!("{place}/plain"), "");
    client.delete(&format!("{place}/a-0000000000"));
    client.delete(&format!("{place}/plain"));
    assert_eq!(next("a-"), format!("{place}/a-0000000003"));
    // The number alone is a name.
    assert_eq!(next(""), format!("{place}/0000000004"));
    assert_eq!(
        client.children(place),
        ["0000000004", "a-0000000003", "b-0000000001"].map(str::to_owned)
    );
    let absent = create(
        &format!("{place}/no/a-"),
        "",
        CreateMode::PersistentSequential,
    );
    assert_eq!(client.call(absent), Err(Error::NoNode));
}

fn ephemeral_znodes_have_an_owner_and_no_children(client: &Client, place: &str) {
    let path = format!("{place}/e");
    let created = client.call(create(&path, "x", CreateMode::Ephemeral));
    assert_eq!(created, Ok(Reply::Created { path: path.clone() }));
    assert_eq!(client.stat(&path).ephemeral_owner, client.session_id());
    for mode in [
        CreateMode::Persistent,
        CreateMode::Ephemeral,
        CreateMode::PersistentSequential,
    ] {
        let child = create(&format!("{path}/c"), "", mode);
        assert_eq!(client.call(child), Err(Error::NoChildrenForEphemerals));
    }
    client.delete(&path);
}

fn the_list_of_children_has_versions_of_its_own(client: &Client, place: &str) {
    let start = client.stat(place);
    client.create(&format!("{place}/a"), "");
    let child = client.stat(&format!("{place}/a"));
    let stat = client.stat(place);
    assert_eq!((stat.cversion, stat.num_children), (start.cversion + 1, 1));
    assert_eq!(
        (stat.pzxid, stat.mzxid, stat.version),
        (child.czxid, start.mzxid, start.version)
    );
    client.set(&format!("{place}/a"), "x");
    assert_eq!(client.stat(place), stat);
    client.delete(&format!("{place}/a"));
    let after = client.stat(place);
    assert_eq!(
        (after.cversion, after.num_children),
        (start.cversion + 2, 0)
    );
    assert!(after.pzxid > stat.pzxid);
}

fn malformed_paths_are_refused(client: &Client, place: &str) {
    for path in [
        "", "a", "//a", "/a/", "/./a", "/a/..", "/a//b", "/\u{1}", "/a\0",
    ] {
        let path = if path.starts_with('/') {
            format!("{place}{path}")
        } else {
            path.to_owned()
        };
        for request in [
            create(&path, "", CreateMode::Persistent),
            delete(&path, -1),
            set(&path, "", -1),
            exists(&path, false),
            get(&path, false),
            children(&path, false),
        ] {
            assert_eq!(client.call(request), Err(Error::BadArguments), "{path:?}");
        }
    }
}

fn requests_are_answered_in_order(client: &Client, place: &str) {
    let mut sent = Vec::new();
    for index in 0..50 {
        let path = format!("{place}/{index}");
        sent.push(client.submit(create(&path, "x", CreateMode::Persistent)));
        sent.push(client.submit(get(&path, false)));
        sent.push(client.submit(children(place, false)));
    }
    for (position, expected) in sent.iter().enumerate() {
        let crate::Event::Reply { id, result } = client.next_event() else {
            panic!("only replies are due");
        };
        assert_eq!(id, *expected);
        match result {
            Ok(Reply::Children { names, .. }) => assert_eq!(names.len(), position / 3 + 1),
            Ok(Reply::Created { .. } | Reply::Data { .. }) => {}
            other => panic!("request {position}: {other:?}"),
        }
    }
}

fn many_reads_are_answered_each_for_itself(client: &Client, place: &str) {
    let path = |number: usize| format!("{place}/{}", number % 3);
    client.create(&path(0), "zero");
    client.create(&path(1), "");
    let mut sent = Vec::new();
    for number in 0..300 {
        if number == 150 {
            sent.push(client.submit(set(&path(0), "new", -1)));
        }
        sent.push(client.submit(get(&path(number), false)));
    }
    let mut read = Vec::new();
    for id in sent {
        match client.next_event() {
            crate::Event::Reply {
                id: answered,
                result,
            } if answered == id => match result {
                Ok(Reply::Set(_)) => assert_eq!(read.len(), 150),
                Ok(Reply::Data { data, .. }) => read.push(Ok(data)),
                Ok(other) => panic!("unexpected reply: {other:?}"),
                Err(error) => read.push(Err(error)),
            },
            other => panic!("unexpected event: {other:?}"),
        }
    }
    assert_eq!(read.len(), 300);
    for (number, read) in read.into_iter().enumerate() {
        let expected = match number % 3 {
            0 if number < 150 => Ok(super::data_of("zero")),
            0 => Ok(super::data_of("new")),
            1 => Ok(None),
            _ => Err(Error::NoNode),
        };
        assert_eq!(read, expected, "read {number}");
    }
}

fn zxids_grow_by_one_with_every_write(client: &Client, place: &str) {
    client.create(&format!("{place}/a"), "");
    let first = client.stat(&format!("{place}/a")).czxid;
    client.create(&format!("{place}/b"), "");
    assert_eq!(client.stat(&format!("{place}/b")).czxid, first + 1);
    // A write that fails takes a number too; a read does not.
    assert_eq!(
        client.call(delete(&format!("{place}/no"), -1)),
        Err(Error::NoNode)
    );
    assert_eq!(client.set(&format!("{place}/a"), "x").mzxid, first + 3);
}

fn the_root_stays(client: &Client, _place: &str) {
    assert_eq!(client.call(delete("/", -1)), Err(Error::BadArguments));
}
