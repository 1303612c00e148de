use bytes::BufMut as _;
use ottla_coordination::{AclPolicy, WatchKind};

use super::*;

fn machine() -> Machine {
    Machine::new(Chroot::new(Some("/k")), 2)
}

fn exists(path: &str, watch: bool) -> Request {
    Request::Exists {
        path: path.to_owned(),
        watch,
    }
}

fn delete(path: &str) -> Request {
    Request::Delete {
        path: path.to_owned(),
        version: -1,
    }
}

fn answer(xid: i32, zxid: i64, error: i32, body: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_i32(xid);
    frame.put_i64(zxid);
    frame.put_i32(error);
    frame.put_slice(body);
    frame.freeze()
}

fn notification(kind: i32, path: &str) -> Bytes {
    let mut body = BytesMut::new();
    body.put_i32(kind);
    body.put_i32(3);
    crate::jute::put_string(&mut body, path);
    answer(-1, -1, 0, &body)
}

fn reply(id: u64, result: Result<Reply, Error>) -> Event {
    Event::Reply {
        id: RequestId(id),
        result,
    }
}

/// The numbers of the requests in these frames, and how many `setWatches` with their zxid.
fn sent(out: &mut BytesMut) -> Vec<(i32, i64)> {
    let mut sent = Vec::new();
    while let Ok(Some(frame)) = crate::connection::take_frame(out) {
        let mut reader = Reader::new(frame);
        let (xid, _kind) = (reader.int().unwrap(), reader.int().unwrap());
        let zxid = match xid {
            SET_WATCHES_XID => reader.long().unwrap(),
            _ => 0,
        };
        sent.push((xid, zxid));
    }
    sent
}

fn connect(machine: &mut Machine) -> BytesMut {
    let mut out = BytesMut::new();
    machine.connected(&mut out);
    machine.send(&mut out);
    out
}

#[test]
fn requests_look_as_a_java_client_s() {
    let mut machine = Machine::new(Chroot::new(Some("/k")), 9);
    let create = |data, acl| Request::Create {
        path: "/a".to_owned(),
        data,
        mode: CreateMode::Ephemeral,
        acl,
    };
    let some = Some(Bytes::from_static(b"v"));
    machine.submit(RequestId(0), create(None, AclPolicy::Secure));
    machine.submit(RequestId(1), create(some.clone(), AclPolicy::Sensitive));
    let multi = vec![
        Op::Check {
            path: "/".to_owned(),
            version: 7,
        },
        Op::SetData {
            path: "/b".to_owned(),
            data: Some(Bytes::new()),
            version: -1,
        },
    ];
    machine.submit(RequestId(2), Request::Multi(multi));
    let out = connect(&mut machine);
    let expected: &[&[u8]] = &[
        // create, null data, auth all + world read.
        b"\0\0\0\x43\0\0\0\x01\0\0\0\x01\0\0\0\x04/k/a\xff\xff\xff\xff\0\0\0\x02",
        b"\0\0\0\x1f\0\0\0\x04auth\0\0\0\0\0\0\0\x01\0\0\0\x05world\0\0\0\x06anyone\0\0\0\x01",
        // create, a value, auth all.
        b"\0\0\0\x2d\0\0\0\x02\0\0\0\x01\0\0\0\x04/k/a\0\0\0\x01v\0\0\0\x01",
        b"\0\0\0\x1f\0\0\0\x04auth\0\0\0\0\0\0\0\x01",
        // multi of check and setData.
        b"\0\0\0\x3d\0\0\0\x03\0\0\0\x0e",
        b"\0\0\0\x0d\0\xff\xff\xff\xff\0\0\0\x02/k\0\0\0\x07",
        b"\0\0\0\x05\0\xff\xff\xff\xff\0\0\0\x04/k/b\0\0\0\0\xff\xff\xff\xff",
        b"\xff\xff\xff\xff\x01\xff\xff\xff\xff",
    ];
    assert_eq!(
        out.iter().map(|b| format!("{b:02x}")).collect::<String>(),
        expected
            .concat()
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect::<String>()
    );
}

#[test]
fn no_more_than_the_cap_is_under_way() {
    let mut machine = machine();
    for id in 0..3 {
        machine.submit(RequestId(id), delete("/a"));
    }
    let mut out = connect(&mut machine);
    assert_eq!(sent(&mut out), [(1, 0), (2, 0)]);
    assert_eq!(machine.received(answer(1, 5, 0, b"")), Ok(()));
    machine.send(&mut out);
    assert_eq!(sent(&mut out), [(3, 0)]);
    assert_eq!(
        machine.take_events(),
        [
            Event::Session(SessionEvent::Connected),
            reply(0, Ok(Reply::Deleted))
        ]
    );
}

fn get(path: &str, watch: bool) -> Request {
    Request::GetData {
        path: path.to_owned(),
        watch,
    }
}

/// A result of one read of several.
fn put_result(body: &mut BytesMut, data: Result<&[u8], i32>) {
    match data {
        Ok(data) => {
            body.put_slice(b"\0\0\0\x04\0\0\0\0\0");
            crate::jute::put_buffer(body, Some(data));
            body.put_bytes(0, 68);
        }
        Err(code) => {
            body.put_slice(b"\xff\xff\xff\xff\0");
            body.put_i32(code);
            body.put_i32(code);
        }
    }
}

fn put_end(body: &mut BytesMut) {
    body.put_slice(b"\xff\xff\xff\xff\x01\xff\xff\xff\xff");
}

fn data(data: &'static [u8]) -> Result<Reply, Error> {
    Ok(Reply::Data {
        data: Some(Bytes::from_static(data)),
        stat: ottla_coordination::Stat::default(),
    })
}

#[test]
fn reads_that_follow_each_other_share_a_frame() {
    let mut machine = machine();
    machine.submit(RequestId(0), get("/a", false));
    machine.submit(RequestId(1), get("/b", false));
    let mut out = connect(&mut machine);
    let expected = [
        &b"\0\0\0\x35\0\0\0\x01\0\0\0\x16"[..],
        b"\0\0\0\x04\0\xff\xff\xff\xff\0\0\0\x04/k/a\0",
        b"\0\0\0\x04\0\xff\xff\xff\xff\0\0\0\x04/k/b\0",
        b"\xff\xff\xff\xff\x01\xff\xff\xff\xff",
    ]
    .concat();
    assert_eq!(out.split().freeze(), expected);
    let mut body = BytesMut::new();
    put_result(&mut body, Err(-101));
    put_result(&mut body, Ok(b"v"));
    put_end(&mut body);
    for wrong in [&body[..body.len() - 9], &body[9 + 4..], b""] {
        let received = machine.received(answer(1, 3, 0, wrong));
        assert!(matches!(received, Err(Broken::Malformed(_))));
    }
    assert_eq!(machine.received(answer(1, 3, 0, &body)), Ok(()));
    assert_eq!(
        machine.take_events()[1..],
        [reply(0, Err(Error::NoNode)), reply(1, data(b"v"))]
    );
    assert!(machine.is_idle());
}

#[test]
fn only_reads_without_a_watch_share_a_frame_and_order_is_kept() {
    let mut machine = Machine::new(Chroot::new(None), 9);
    let requests = [
        get("/a", false),
        get("/b", true),
        get("/c", false),
        get("bad", false),
        get("/d", false),
        get("/e", false),
        delete("/f"),
        get("/g", false),
    ];
    for (id, request) in requests.into_iter().enumerate() {
        machine.submit(RequestId(id as u64), request);
    }
    let mut out = connect(&mut machine);
    assert_eq!(sent(&mut out).len(), 6);
    let mut body = BytesMut::new();
    put_result(&mut body, Ok(b"v"));
    let one = body[9..].to_vec();
    put_result(&mut body, Ok(b"w"));
    put_end(&mut body);
    for (xid, body) in [
        (1, &one),
        (2, &one),
        (3, &one),
        (4, &body.to_vec()),
        (5, &vec![]),
        (6, &one),
    ] {
        assert_eq!(machine.received(answer(xid, 3, 0, body)), Ok(()));
    }
    assert_eq!(
        machine.take_events()[1..],
        [
            reply(0, data(b"v")),
            reply(1, data(b"v")),
            reply(2, data(b"v")),
            reply(3, Err(Error::BadArguments)),
            reply(4, data(b"v")),
            reply(5, data(b"w")),
            reply(6, Ok(Reply::Deleted)),
            reply(7, data(b"v")),
        ]
    );
}

#[test]
fn a_shared_frame_has_an_end() {
    let mut machine = Machine::new(Chroot::new(None), 1);
    for id in 0..1_000 {
        machine.submit(RequestId(id), get("/a", false));
    }
    assert_eq!(sent(&mut connect(&mut machine)).len(), 8);
    machine.disconnected();
    for id in 0..1_000 {
        machine.submit(
            RequestId(id),
            get(&format!("/{}", "a".repeat(20_000)), false),
        );
    }
    let mut out = connect(&mut machine);
    let mut frames = 0;
    while let Ok(Some(frame)) = crate::connection::take_frame(&mut out) {
        assert!(frame.len() <= JOINED_BYTES_MAX + 64, "{}", frame.len());
        frames += 1;
    }
    assert_eq!(frames, READS_PER_REQUEST);
}

#[test]
fn a_server_that_knows_no_shared_frames_is_asked_one_by_one() {
    let mut machine = Machine::new(Chroot::new(None), 9);
    machine.submit(RequestId(0), delete("/f"));
    machine.submit(RequestId(1), get("/a", false));
    machine.submit(RequestId(2), get("/b", false));
    assert_eq!(sent(&mut connect(&mut machine)).len(), 2);
    // It says so before it answers what came earlier.
    let refused = machine.received(answer(2, 1, -6, b""));
    assert_eq!(refused, Err(Broken::Refused(-6)));
    machine.disconnected();
    assert_eq!(sent(&mut connect(&mut machine)), [(3, 0), (4, 0), (5, 0)]);
    assert_eq!(machine.received(answer(3, 2, 0, b"")), Ok(()));
    assert_eq!(machine.received(answer(4, 2, -101, b"")), Ok(()));
    // Of a server that knows no such requests, this is an answer like others.
    assert_eq!(machine.received(answer(5, 2, -6, b"")), Ok(()));
}

#[test]
fn what_was_under_way_is_sent_again_in_order() {
    let mut machine = machine();
    machine.submit(RequestId(0), delete("/a"));
    machine.submit(RequestId(1), delete("bad"));
    machine.submit(RequestId(2), delete("/b"));
    let mut out = connect(&mut machine);
    assert_eq!(sent(&mut out), [(1, 0), (2, 0)], "the bad one is not sent");
    machine.disconnected();
    let mut out = connect(&mut machine);
    assert_eq!(sent(&mut out), [(3, 0), (4, 0)]);
    assert_eq!(machine.received(answer(3, 9, -101, b"")), Ok(()));
    assert_eq!(machine.received(answer(4, 10, 0, b"")), Ok(()));
    assert!(machine.is_idle());
    let replies: Vec<Event> = machine.take_events().split_off(3);
    assert_eq!(
        replies,
        [
            reply(0, Err(Error::NoNode)),
            reply(1, Err(Error::BadArguments)),
            reply(2, Ok(Reply::Deleted)),
        ]
    );
}

#[test]
fn watches_that_were_not_armed_again_count_from_before() {
    let mut machine = machine();
    machine.submit(RequestId(0), exists("/a", true));
    connect(&mut machine);
    assert_eq!(machine.received(answer(1, 5, -101, b"")), Ok(()));
    machine.disconnected();
    assert_eq!(sent(&mut connect(&mut machine)), [(-8, 5)]);
    // Nothing answers before the next break: there may have been a change.
    machine.disconnected();
    assert_eq!(sent(&mut connect(&mut machine)), [(-8, 5)]);
    assert_eq!(machine.received(answer(-8, 7, 0, b"")), Ok(()));
    assert_eq!(machine.last_zxid(), 7);
    machine.disconnected();
    assert_eq!(sent(&mut connect(&mut machine)), [(-8, 7)]);
    machine.take_events();
    assert_eq!(machine.received(notification(1, "/k/a")), Ok(()));
    assert_eq!(machine.received(notification(1, "/k/a")), Ok(()));
    assert_eq!(machine.received(notification(3, "/other")), Ok(()));
    assert_eq!(
        machine.take_events(),
        [Event::Watch(WatchEvent {
            path: "/a".to_owned(),
            kind: WatchKind::Created
        })]
    );
    machine.disconnected();
    assert_eq!(sent(&mut connect(&mut machine)), []);
}

#[test]
fn many_watches_are_armed_again_in_pieces_that_a_server_takes() {
    let mut machine = Machine::new(Chroot::new(Some("/k")), usize::MAX);
    let path = |number: usize| format!("/brokers/topics/{number:0>200}");
    for number in 0..10_000 {
        machine.submit(RequestId(0), exists(&path(number), true));
    }
    connect(&mut machine);
    for xid in 1..=10_000 {
        assert_eq!(machine.received(answer(xid, 1, -101, b"")), Ok(()));
    }
    machine.disconnected();
    let mut out = connect(&mut machine);
    let mut paths = 0;
    while let Ok(Some(frame)) = crate::connection::take_frame(&mut out) {
        assert!(frame.len() <= CHUNK_BYTES + 64, "{}", frame.len());
        paths += frame.windows(9).filter(|w| w == b"/k/broker").count();
    }
    assert_eq!(paths, 10_000);
}

#[test]
fn a_session_that_is_elsewhere_is_no_answer() {
    for code in [-4, -112, -118] {
        let mut machine = machine();
        machine.submit(RequestId(0), delete("/a"));
        connect(&mut machine);
        let received = machine.received(answer(1, 1, code, b""));
        assert_eq!(received, Err(Broken::Refused(code)));
        machine.disconnected();
        assert_eq!(sent(&mut connect(&mut machine)), [(2, 0)]);
    }
}

#[test]
fn what_was_not_asked_breaks_the_connection() {
    let mut machine = machine();
    machine.submit(RequestId(0), exists("/a", false));
    connect(&mut machine);
    let received = machine.received(answer(2, 1, 0, b""));
    assert_eq!(received, Err(Broken::OutOfOrder));
    let short = machine.received(answer(1, 1, 0, b"short"));
    assert!(matches!(short, Err(Broken::Malformed(_))));
    assert!(machine.received(Bytes::from_static(b"\0")).is_err());
    machine.take_events();
    machine.disconnected();
    machine.expired();
    assert_eq!(
        machine.take_events(),
        [
            Event::Session(SessionEvent::Disconnected),
            reply(0, Err(Error::SessionExpired)),
            Event::Session(SessionEvent::Expired),
        ]
    );
}

#[test]
fn the_results_of_a_failed_multi_are_told_as_they_are() {
    let mut machine = machine();
    let op = |path: &str| Op::Delete {
        path: path.to_owned(),
        version: 0,
    };
    machine.submit(
        RequestId(0),
        Request::Multi(vec![op("/a"), op("/b"), op("/c")]),
    );
    connect(&mut machine);
    let mut body = BytesMut::new();
    for code in [0, -103, -2] {
        body.put_slice(b"\xff\xff\xff\xff\0");
        body.put_i32(code);
        body.put_i32(code);
    }
    body.put_slice(b"\xff\xff\xff\xff\x01\xff\xff\xff\xff");
    assert_eq!(machine.received(answer(1, 3, 0, &body)), Ok(()));
    let results = vec![
        OpResult::RolledBack,
        OpResult::Failed(Error::BadVersion),
        OpResult::Failed(Error::RuntimeInconsistency),
    ];
    let events = machine.take_events();
    assert_eq!(events[1], reply(0, Ok(Reply::Multi(results))));
}

#[test]
fn the_session_is_closed_by_its_own_answer() {
    let mut machine = machine();
    let mut out = connect(&mut machine);
    machine.close(&mut out);
    assert!(!machine.is_closed());
    assert_eq!(machine.received(answer(1, 4, 0, b"")), Ok(()));
    assert!(machine.is_closed());
}
