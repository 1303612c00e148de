//! The conformance suite against a real ZooKeeper, whose address `OTTLA_TEST_ZOOKEEPER` gives
//! (`host:port`). Without it these tests say that they are skipped. Nobody else may use that
//! server meanwhile: the suite counts zxids.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ottla_coordination::conformance::{self, Client};
use ottla_coordination::{Coordination, EventSink, OpenError, Reply, Request};
use ottla_coordination_zookeeper::{ZookeeperOptions, ZookeeperSession};

/// One test at a time: another's sessions would take zxids in between.
static ALONE: Mutex<()> = Mutex::new(());

/// The server under test, for as long as the guard lives; `None` after saying that there is none.
fn server() -> Option<(String, MutexGuard<'static, ()>)> {
    let server = std::env::var("OTTLA_TEST_ZOOKEEPER").ok();
    if server.is_none() {
        eprintln!("SKIPPED: OTTLA_TEST_ZOOKEEPER names no server");
    }
    let guard = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    server.map(|server| (server, guard))
}

fn open(connect: &str, sink: EventSink) -> Result<ZookeeperSession, OpenError> {
    let options = ZookeeperOptions {
        session_timeout: Duration::from_secs(30),
        connection_timeout: Duration::from_secs(60),
        ..ZookeeperOptions::new(connect)
    };
    ZookeeperSession::open(&options, sink)
}

/// A name that no earlier run has used.
fn fresh(name: &str) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_nanos();
    format!("{name}-{now}")
}

#[test]
fn a_real_zookeeper_conforms() {
    let Some((server, _alone)) = server() else {
        return;
    };
    let open = |sink| Box::new(open(&server, sink).expect("opens")) as Box<dyn Coordination>;
    conformance::run_all(&open, &fresh("/conformance"));
}

#[test]
fn a_chroot_is_created_and_hidden() {
    let Some((server, _alone)) = server() else {
        return;
    };
    let chroot = fresh("/chroot");
    let connect = format!("{server}{chroot}/inner");
    let inner = |sink| Box::new(open(&connect, sink).expect("opens")) as Box<dyn Coordination>;
    let outer = |sink| Box::new(open(&server, sink).expect("opens")) as Box<dyn Coordination>;
    conformance::run_all(&inner, "/conformance");
    let client = Client::open(&outer);
    let children = client.call(Request::get_children(format!("{chroot}/inner")));
    assert!(matches!(children, Ok(Reply::Children { names, .. }) if names == ["conformance"]));
}

#[test]
fn an_ensemble_that_does_not_answer_is_given_up() {
    let options = ZookeeperOptions {
        connection_timeout: Duration::from_millis(300),
        // Nothing listens on the discard port of this machine.
        ..ZookeeperOptions::new("127.0.0.1:9")
    };
    let opened = ZookeeperSession::open(&options, Box::new(|_| {}));
    assert!(matches!(opened.err(), Some(OpenError::Timeout(_))));
}

#[test]
fn a_malformed_connect_string_is_refused() {
    let opened = open("host:1/a//b", Box::new(|_| {}));
    assert!(matches!(opened.err(), Some(OpenError::BadConnectString(_))));
}
