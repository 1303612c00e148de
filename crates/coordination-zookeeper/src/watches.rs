//! Armed watches: one event for each, however often it was armed.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use ottla_coordination::{Request, WatchEvent, WatchKind};
use zookeeper_client::{EventType, OneshotWatcher, WatchedEvent};

/// Watches whose reads have been answered.
#[derive(Default)]
pub(crate) struct Watches {
    /// The token of the watcher that counts for each key; others are shadows of it.
    armed: BTreeMap<Key, u64>,
    watchers: FuturesUnordered<Watcher>,
    next_token: u64,
}

type Key = (Table, String);

type Watcher = Pin<Box<dyn Future<Output = (Key, u64, WatchedEvent)> + Send>>;

/// ZooKeeper keeps two tables; `exists` and `getData` share one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Table {
    Data,
    Children,
}

impl Watches {
    /// Takes the watcher that a read has armed.
    pub(crate) fn arm(&mut self, request: &Request, watcher: OneshotWatcher) {
        let key = match request {
            Request::Exists { path, .. } | Request::GetData { path, .. } => {
                (Table::Data, path.clone())
            }
            Request::GetChildren { path, .. } => (Table::Children, path.clone()),
            _ => return,
        };
        let token = self.next_token;
        self.next_token += 1;
        self.armed.entry(key.clone()).or_insert(token);
        self.watchers.push(Box::pin(
            async move { (key, token, watcher.changed().await) },
        ));
    }

    /// The next watch that fires.
    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<WatchEvent> {
        while let Poll::Ready(Some((key, token, event))) = self.watchers.poll_next_unpin(context) {
            if let Some(event) = self.fired(&key, token, event) {
                return Poll::Ready(event);
            }
        }
        Poll::Pending
    }

    fn fired(&mut self, key: &Key, token: u64, event: WatchedEvent) -> Option<WatchEvent> {
        let kind = match event.event_type {
            EventType::NodeCreated => WatchKind::Created,
            EventType::NodeDeleted => WatchKind::Deleted,
            EventType::NodeDataChanged => WatchKind::DataChanged,
            EventType::NodeChildrenChanged => WatchKind::ChildrenChanged,
            // The session's end; that is told once and by itself.
            EventType::Session => return None,
        };
        if self.armed.get(key) != Some(&token) {
            return None;
        }
        if kind == WatchKind::Deleted {
            // One event of the server uses up both tables.
            for table in [Table::Data, Table::Children] {
                self.armed.remove(&(table, key.1.clone()));
            }
        } else {
            self.armed.remove(key);
        }
        Some(WatchEvent {
            path: event.path,
            kind,
        })
    }
}
