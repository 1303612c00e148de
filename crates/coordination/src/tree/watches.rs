//! One-shot watches by path.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::{WatchEvent, WatchKind};

/// Armed watches: for each path the sessions to tell.
#[derive(Clone, Debug, Default)]
pub(super) struct Watches {
    data: BTreeMap<String, BTreeSet<i64>>,
    children: BTreeMap<String, BTreeSet<i64>>,
}

/// Watches that fired, in order.
pub(super) type Fired = Vec<(i64, WatchEvent)>;

impl Watches {
    pub(super) fn arm_data(&mut self, path: &str, session: i64) {
        arm(&mut self.data, path, session);
    }

    pub(super) fn arm_children(&mut self, path: &str, session: i64) {
        arm(&mut self.children, path, session);
    }

    pub(super) fn created(&mut self, path: &str, parent: &str, fired: &mut Fired) {
        fire(
            &mut self.data,
            path,
            WatchKind::Created,
            &BTreeSet::new(),
            fired,
        );
        fire(
            &mut self.children,
            parent,
            WatchKind::ChildrenChanged,
            &BTreeSet::new(),
            fired,
        );
    }

    /// A session that watched both the data and the children is told once.
    pub(super) fn deleted(&mut self, path: &str, parent: &str, fired: &mut Fired) {
        let told = fire(
            &mut self.data,
            path,
            WatchKind::Deleted,
            &BTreeSet::new(),
            fired,
        );
        fire(&mut self.children, path, WatchKind::Deleted, &told, fired);
        fire(
            &mut self.children,
            parent,
            WatchKind::ChildrenChanged,
            &BTreeSet::new(),
            fired,
        );
    }

    pub(super) fn data_changed(&mut self, path: &str, fired: &mut Fired) {
        fire(
            &mut self.data,
            path,
            WatchKind::DataChanged,
            &BTreeSet::new(),
            fired,
        );
    }

    pub(super) fn remove_session(&mut self, session: i64) {
        for armed in [&mut self.data, &mut self.children] {
            armed.retain(|_, sessions| {
                sessions.remove(&session);
                !sessions.is_empty()
            });
        }
    }
}

fn arm(armed: &mut BTreeMap<String, BTreeSet<i64>>, path: &str, session: i64) {
    match armed.get_mut(path) {
        Some(sessions) => _ = sessions.insert(session),
        None => _ = armed.insert(path.to_owned(), BTreeSet::from([session])),
    }
}

fn fire(
    armed: &mut BTreeMap<String, BTreeSet<i64>>,
    path: &str,
    kind: WatchKind,
    told: &BTreeSet<i64>,
    fired: &mut Fired,
) -> BTreeSet<i64> {
    let sessions = armed.remove(path).unwrap_or_default();
    for &session in sessions.difference(told) {
        fired.push((
            session,
            WatchEvent {
                path: path.to_owned(),
                kind,
            },
        ));
    }
    sessions
}
