//! What a session owns, and its end.

use super::{Suite, children, create, exists, get};
use crate::event::WatchKind;
use crate::request::{CreateMode, Error};

pub(super) fn run(suite: &Suite<'_>) {
    for promise in [
        sessions_have_ids_of_their_own,
        closing_a_session_deletes_its_ephemeral_znodes,
        another_session_may_delete_an_ephemeral_znode,
        a_closed_session_answers_that_it_is_gone,
        closing_waits_for_what_was_submitted,
    ] {
        promise(suite);
    }
}

fn sessions_have_ids_of_their_own(suite: &Suite<'_>) {
    let (one, two) = (suite.client(), suite.client());
    assert_ne!(one.session_id(), 0);
    assert_ne!(one.session_id(), two.session_id());
    one.close();
    two.close();
}

fn closing_a_session_deletes_its_ephemeral_znodes(suite: &Suite<'_>) {
    let (owner, other) = (suite.client(), suite.client());
    let place = suite.place(&other);
    let (mine, theirs) = (format!("{place}/mine"), format!("{place}/theirs"));
    assert!(owner.call(create(&mine, "", CreateMode::Ephemeral)).is_ok());
    assert!(
        owner
            .call(create(
                &format!("{place}/stays"),
                "",
                CreateMode::Persistent
            ))
            .is_ok()
    );
    assert!(
        other
            .call(create(&theirs, "", CreateMode::Ephemeral))
            .is_ok()
    );
    assert!(other.call(exists(&mine, true)).is_ok());
    assert!(other.call(children(&place, true)).is_ok());
    owner.close();
    other.expect_watch(&mine, WatchKind::Deleted);
    other.expect_watch(&place, WatchKind::ChildrenChanged);
    assert_eq!(
        other.children(&place),
        ["stays".to_owned(), "theirs".to_owned()]
    );
    other.close();
}

fn another_session_may_delete_an_ephemeral_znode(suite: &Suite<'_>) {
    let (owner, other) = (suite.client(), suite.client());
    let path = format!("{}/e", suite.place(&other));
    assert!(owner.call(create(&path, "", CreateMode::Ephemeral)).is_ok());
    other.delete(&path);
    assert!(other.call(create(&path, "", CreateMode::Ephemeral)).is_ok());
    owner.close();
    // The new one is not the closed session's.
    assert_eq!(other.stat(&path).ephemeral_owner, other.session_id());
    other.close();
}

fn a_closed_session_answers_that_it_is_gone(suite: &Suite<'_>) {
    let client = suite.client();
    client.close();
    assert_eq!(client.call(get("/", false)), Err(Error::SessionExpired));
    client.close();
}

fn closing_waits_for_what_was_submitted(suite: &Suite<'_>) {
    let (one, two) = (suite.client(), suite.client());
    let place = suite.place(&two);
    for index in 0..100 {
        one.submit(create(
            &format!("{place}/{index}"),
            "",
            CreateMode::Persistent,
        ));
    }
    one.close();
    assert_eq!(two.children(&place).len(), 100);
    two.close();
}
