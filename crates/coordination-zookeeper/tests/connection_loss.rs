//! What becomes of requests, watches and the session when the connection breaks: against a real
//! ZooKeeper, whose address `OTTLA_TEST_ZOOKEEPER` gives (`host:port`). Without it these tests say
//! that they are skipped.

mod proxy;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use ottla_coordination::conformance::Client;
use ottla_coordination::{
    AclPolicy, Coordination, CreateMode, Error, Event, EventSink, Op, Reply, Request, RequestId,
    SessionEvent, WatchEvent, WatchKind, multi_error,
};
use ottla_coordination_zookeeper::{ZookeeperOptions, ZookeeperSession};
use proxy::Proxy;

/// Longer than any machine stands still.
const SESSION_TIMEOUT: Duration = Duration::from_secs(30);
/// For those who wait until a connection is given up, or a session.
const SHORT_SESSION_TIMEOUT: Duration = Duration::from_secs(4);

fn server() -> Option<String> {
    let server = std::env::var("OTTLA_TEST_ZOOKEEPER").ok();
    if server.is_none() {
        eprintln!("SKIPPED: OTTLA_TEST_ZOOKEEPER names no server");
    }
    server
}

fn client(address: &str) -> Client {
    client_with(address, 3, SESSION_TIMEOUT)
}

/// With many requests under way.
fn eager_client(address: &str) -> Client {
    client_with(address, 500, SESSION_TIMEOUT)
}

fn client_with(address: &str, max_in_flight_requests: usize, session_timeout: Duration) -> Client {
    let options = ZookeeperOptions {
        session_timeout,
        connection_timeout: Duration::from_secs(60),
        max_in_flight_requests,
        ..ZookeeperOptions::new(address)
    };
    let open = move |sink: EventSink| {
        let session = ZookeeperSession::open(&options, sink).expect("opens");
        Box::new(session) as Box<dyn Coordination>
    };
    Client::open(&open)
}

/// The path of a znode that no earlier run has used.
fn fresh(name: &str) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_nanos();
    format!("/{name}-{now}")
}

fn create(path: &str, mode: CreateMode) -> Request {
    Request::Create {
        path: path.to_owned(),
        data: Some(Bytes::from_static(b"1")),
        mode,
        acl: AclPolicy::Open,
    }
}

fn set(path: &str, data: &'static str, version: i32) -> Request {
    Request::SetData {
        path: path.to_owned(),
        data: Some(Bytes::from_static(data.as_bytes())),
        version,
    }
}

fn watch(path: &str, kind: WatchKind) -> Event {
    let path = path.to_owned();
    Event::Watch(WatchEvent { path, kind })
}

fn exists(path: &str, watch: bool) -> Request {
    Request::Exists {
        path: path.to_owned(),
        watch,
    }
}

/// Submits these while the server's words are lost, lets `near` see an effect at `path`, breaks the
/// connection off and waits until `far` knows; gives the requests' ids.
fn lose_answers(
    far: &Client,
    near: &Client,
    requests: Vec<Request>,
    (path, kind): (&str, WatchKind),
    break_off: impl FnOnce(),
) -> Vec<RequestId> {
    assert!(near.call(exists(path, true)).is_ok() || kind == WatchKind::Created);
    let ids = requests
        .into_iter()
        .map(|request| far.submit(request))
        .collect();
    assert_eq!(near.next_event(), watch(path, kind));
    break_off();
    assert_eq!(far.next_event(), Event::Session(SessionEvent::Disconnected));
    ids
}

fn reply_of(event: Event) -> (RequestId, Result<Reply, Error>) {
    match event {
        Event::Reply { id, result } => (id, result),
        other => panic!("not a reply: {other:?}"),
    }
}

#[test]
fn requests_whose_answers_were_lost_are_sent_again_in_order() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(&server);
    let (far, near) = (client(proxy.address()), client(&server));
    let path = fresh("resend");
    proxy.mute();
    // More than may be in flight: the last two were never sent before the break.
    let requests = vec![
        create(&path, CreateMode::Persistent),
        set(&path, "2", 0),
        set(&path, "3", -1),
        set(&path, "4", 2),
        set(&path, "5", -1),
    ];
    let ids = lose_answers(&far, &near, requests, (&path, WatchKind::Created), || {
        proxy.cut();
    });
    let session_id = far.session_id();
    proxy.mend();
    assert_eq!(far.next_event(), Event::Session(SessionEvent::Connected));
    let replies: Vec<_> = ids.iter().map(|_| reply_of(far.next_event())).collect();
    let answered: Vec<RequestId> = replies.iter().map(|(id, _)| *id).collect();
    assert_eq!(answered, ids);
    // They meet their own effects.
    assert_eq!(replies[0].1, Err(Error::NodeExists));
    assert_eq!(far.session_id(), session_id);
    let Ok(Reply::Data { data, .. }) = near.call(Request::get_data(path.as_str())) else {
        panic!("the znode is there");
    };
    assert_eq!(data.as_deref(), Some(&b"5"[..]));
}

#[test]
fn a_server_that_falls_silent_loses_no_request() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(&server);
    let far = client_with(proxy.address(), 3, 3 * SHORT_SESSION_TIMEOUT);
    let near = client(&server);
    let path = fresh("silent");
    proxy.mute();
    let requests = vec![create(&path, CreateMode::Persistent)];
    // Nobody cuts the connection; the client itself must find out, and connect anew.
    let ids = lose_answers(&far, &near, requests, (&path, WatchKind::Created), || {});
    assert_eq!(far.next_event(), Event::Session(SessionEvent::Connected));
    assert_eq!(
        reply_of(far.next_event()),
        (ids[0], Err(Error::NodeExists)),
        "sent again, and met its own effect"
    );
}

#[test]
fn what_changed_during_the_break_fires_the_watches_before_any_answer() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(&server);
    let (far, near) = (client(proxy.address()), client(&server));
    let [changed, deleted, created, parent, same] =
        ["changed", "deleted", "created", "parent", "same"].map(fresh);
    for path in [&changed, &deleted, &parent, &same] {
        assert!(near.call(create(path, CreateMode::Persistent)).is_ok());
    }
    let get = |path: &String| Request::GetData {
        path: path.clone(),
        watch: true,
    };
    assert!(far.call(get(&changed)).is_ok());
    assert!(far.call(get(&deleted)).is_ok());
    assert!(far.call(get(&same)).is_ok());
    assert_eq!(far.call(exists(&created, true)), Err(Error::NoNode));
    let children = Request::GetChildren {
        path: parent.clone(),
        watch: true,
    };
    assert!(far.call(children).is_ok());

    proxy.cut();
    assert_eq!(far.next_event(), Event::Session(SessionEvent::Disconnected));
    let asked = far.submit(exists(&created, false));
    assert!(near.call(set(&changed, "2", -1)).is_ok());
    let delete = Request::Delete {
        path: deleted.clone(),
        version: -1,
    };
    assert!(near.call(delete).is_ok());
    assert!(near.call(create(&created, CreateMode::Persistent)).is_ok());
    let child = format!("{parent}/child");
    assert!(near.call(create(&child, CreateMode::Persistent)).is_ok());
    proxy.mend();

    assert_eq!(far.next_event(), Event::Session(SessionEvent::Connected));
    let mut fired: Vec<Event> = (0..4).map(|_| far.next_event()).collect();
    let (id, answer) = reply_of(far.next_event());
    assert!(id == asked && answer.is_ok(), "{answer:?}");
    for expected in [
        watch(&changed, WatchKind::DataChanged),
        watch(&deleted, WatchKind::Deleted),
        watch(&created, WatchKind::Created),
        watch(&parent, WatchKind::ChildrenChanged),
    ] {
        let at = fired.iter().position(|event| *event == expected);
        fired.remove(at.unwrap_or_else(|| panic!("{expected:?} is missing in {fired:?}")));
    }
    // The one that saw no change is still armed.
    assert!(near.call(set(&same, "2", -1)).is_ok());
    assert_eq!(far.next_event(), watch(&same, WatchKind::DataChanged));
}

#[test]
fn a_break_longer_than_the_session_timeout_ends_the_session() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(&server);
    let far = client_with(proxy.address(), 3, SHORT_SESSION_TIMEOUT);
    let near = client(&server);
    let path = fresh("ephemeral");
    assert!(far.call(create(&path, CreateMode::Ephemeral)).is_ok());
    assert!(near.call(exists(&path, true)).is_ok());
    proxy.cut();
    assert_eq!(far.next_event(), Event::Session(SessionEvent::Disconnected));
    let asked = far.submit(exists(&path, false));
    assert_eq!(near.next_event(), watch(&path, WatchKind::Deleted));
    proxy.mend();
    let refused = Err(Error::SessionExpired);
    assert_eq!(reply_of(far.next_event()), (asked, refused.clone()));
    assert_eq!(far.next_event(), Event::Session(SessionEvent::Expired));
    assert_eq!(far.call(exists(&path, false)), refused);
}

#[test]
fn a_session_is_closed_although_no_server_can_be_reached() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(&server);
    let far = client(proxy.address());
    proxy.cut();
    assert_eq!(far.next_event(), Event::Session(SessionEvent::Disconnected));
    let asked = far.submit(exists("/", false));
    let began = Instant::now();
    far.close();
    assert!(began.elapsed() < SESSION_TIMEOUT / 2, "nothing to wait for");
    let (id, result) = reply_of(far.next_event());
    assert_eq!((id, result), (asked, Err(Error::SessionExpired)));
}

/// Topics as long as their names may be nearly: with the watches of all, a `setWatches` of one piece
/// would be more than a server takes.
#[test]
fn ten_thousand_watches_survive_a_reconnection() {
    const COUNT: usize = 10_000;
    const BATCH: usize = 1_000;
    let Some(server) = server() else { return };
    let proxy = Proxy::start(&server);
    let (far, near) = (eager_client(proxy.address()), client(&server));
    let parent = fresh(&format!("topics-{}", "x".repeat(150)));
    assert!(near.call(create(&parent, CreateMode::Persistent)).is_ok());
    let paths: Vec<String> = (0..COUNT).map(|n| format!("{parent}/{n:05}")).collect();
    for batch in paths.chunks(BATCH) {
        let ops = batch.iter().map(|path| Op::Create {
            path: path.clone(),
            data: None,
            mode: CreateMode::Persistent,
            acl: AclPolicy::Open,
        });
        succeeds(&near, ops.collect());
    }
    for path in &paths {
        far.submit(exists(path, true));
    }
    for _ in &paths {
        let (_, result) = reply_of(far.next_event());
        assert!(result.is_ok(), "{result:?}");
    }
    let session_id = far.session_id();

    proxy.cut();
    assert_eq!(far.next_event(), Event::Session(SessionEvent::Disconnected));
    let changed = [&paths[0], &paths[COUNT - 1]];
    for path in changed {
        assert!(near.call(set(path, "2", -1)).is_ok());
    }
    proxy.mend();
    assert_eq!(far.next_event(), Event::Session(SessionEvent::Connected));
    for path in changed {
        assert_eq!(far.next_event(), watch(path, WatchKind::DataChanged));
    }
    // All the others are armed still, each for one change.
    let others = &paths[1..COUNT - 1];
    for batch in others.chunks(BATCH) {
        let ops = batch.iter().map(|path| Op::Delete {
            path: path.clone(),
            version: 0,
        });
        succeeds(&near, ops.collect());
    }
    for path in others {
        assert_eq!(far.next_event(), watch(path, WatchKind::Deleted));
    }
    assert_eq!(far.session_id(), session_id);
    let asked = far.submit(exists("/", false));
    let (id, answer) = reply_of(far.next_event());
    assert!(id == asked && answer.is_ok(), "{answer:?}");
    for path in changed.into_iter().chain([&parent]) {
        let path = path.clone();
        assert!(near.call(Request::Delete { path, version: -1 }).is_ok());
    }
}

fn succeeds(client: &Client, ops: Vec<Op>) {
    let Ok(Reply::Multi(results)) = client.call(Request::Multi(ops)) else {
        panic!("the multi is answered");
    };
    assert_eq!(multi_error(&results), None);
}

#[test]
fn another_server_takes_the_session_up() {
    let Some(server) = server() else { return };
    let proxies = [Proxy::start(&server), Proxy::start(&server)];
    let far = client(&format!(
        "{},{}",
        proxies[0].address(),
        proxies[1].address()
    ));
    let near = client(&server);
    let path = fresh("moved");
    assert!(far.call(create(&path, CreateMode::Ephemeral)).is_ok());
    assert!(far.call(exists(&path, true)).is_ok());
    let session_id = far.session_id();
    // One after the other: the first cut may be of the one that is not used.
    for away in 0..2 {
        proxies[1 - away].mend();
        proxies[away].cut();
        assert!(far.call(exists("/", false)).is_ok());
    }
    assert_eq!(far.session_id(), session_id);
    assert!(near.call(set(&path, "2", -1)).is_ok());
    let events: Vec<Event> = std::iter::from_fn(|| match far.next_event() {
        Event::Session(event) => {
            assert_ne!(event, SessionEvent::Expired);
            Some(Event::Session(event))
        }
        event => {
            assert_eq!(event, watch(&path, WatchKind::DataChanged));
            None
        }
    })
    .collect();
    let lost = Event::Session(SessionEvent::Disconnected);
    assert!(events.contains(&lost), "no server was ever lost");
}
