//! ZooKeeper's data tree, in memory and without a clock: what the embedded provider persists and
//! the simulator drives.
//!
//! A write goes through two steps, as in ZooKeeper: it is *planned* against the tree (every check
//! is made, for a multi against what its earlier writes would leave) and becomes a [`Transaction`],
//! which cannot fail; then that is *applied*. Transactions are what a log keeps: applying the same
//! ones to the same tree gives the same tree.
//!
//! Every write takes the next zxid, also one that fails; reads take none. Where ZooKeeper leaves
//! an order open (its hash sets), ours is that of the paths and session ids.

mod apply;
mod encoding;
mod path;
mod plan;
#[cfg(test)]
mod tests;
mod transaction;
mod watches;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use bytes::Bytes;
use ottla_model::Timestamp;

use crate::event::WatchEvent;
use crate::request::{Error, Reply, Request, Stat};

pub use encoding::DamagedSnapshot;
pub use path::is_valid_path;
pub use transaction::{Change, DamagedTransaction, Transaction};

use apply::Applied;
pub use apply::InconsistentTransaction;
use watches::Watches;

/// The tree, its sessions and their watches.
#[derive(Clone, Debug)]
pub struct Tree {
    /// By full path; always holds `/`. What lies below a path is a range of it.
    nodes: BTreeMap<Box<str>, Node>,
    /// Open sessions and the ephemeral znodes of each.
    sessions: BTreeMap<i64, BTreeSet<String>>,
    watches: Watches,
    last_zxid: i64,
}

/// What became of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// The answer.
    pub result: Result<Reply, Error>,
    /// Watches that fired, with the session to tell; to be delivered before the answer.
    pub watches: Vec<(i64, WatchEvent)>,
    /// What to log before anyone hears of it; `None` if nothing changed.
    pub transaction: Option<Transaction>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Node {
    data: Option<Bytes>,
    czxid: i64,
    mzxid: i64,
    pzxid: i64,
    ctime: i64,
    mtime: i64,
    version: i32,
    /// Children ever created: the number of the next sequential child. ZooKeeper shows
    /// `2 × children_created − children` as cversion: creations plus deletions.
    children_created: i32,
    ephemeral_owner: i64,
    /// How many there are. Their names are not kept once more: see [`Tree::child_names`].
    children: u32,
}

impl Default for Tree {
    fn default() -> Self {
        Self::new()
    }
}

impl Tree {
    /// A tree that has only its root.
    pub fn new() -> Self {
        Self {
            nodes: BTreeMap::from([("/".into(), Node::default())]),
            sessions: BTreeMap::new(),
            watches: Watches::default(),
            last_zxid: 0,
        }
    }

    /// The number of the last write.
    pub fn last_zxid(&self) -> i64 {
        self.last_zxid
    }

    /// The open sessions.
    pub fn sessions(&self) -> impl Iterator<Item = i64> + '_ {
        self.sessions.keys().copied()
    }

    /// How many znodes there are, the root included.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Opens a session; its id is the zxid of its opening, so no two sessions share one.
    pub fn open_session(&mut self, now: Timestamp) -> (i64, Transaction) {
        let session = self.last_zxid + 1;
        let transaction = self
            .commit(session, now, vec![Change::OpenSession])
            .transaction;
        (session, transaction)
    }

    /// Ends a session: its watches and ephemeral znodes go. `None` if it is not open.
    pub fn close_session(
        &mut self,
        session: i64,
        now: Timestamp,
    ) -> Option<(Vec<(i64, WatchEvent)>, Transaction)> {
        let paths = self.sessions.get(&session)?;
        let mut changes: Vec<Change> = paths
            .iter()
            .map(|path| Change::Delete { path: path.clone() })
            .collect();
        changes.push(Change::CloseSession);
        // A session that ends is told nothing any more.
        self.watches.remove_session(session);
        let committed = self.commit(session, now, changes);
        Some((committed.applied.watches, committed.transaction))
    }

    /// Performs a request of a session.
    pub fn handle(&mut self, session: i64, request: &Request, now: Timestamp) -> Outcome {
        if !self.sessions.contains_key(&session) {
            return Outcome::read(Err(Error::SessionExpired));
        }
        match request {
            Request::Exists { path, watch } => Outcome::read(self.exists(session, path, *watch)),
            Request::GetData { path, watch } => Outcome::read(self.get_data(session, path, *watch)),
            Request::GetChildren { path, watch } => {
                Outcome::read(self.get_children(session, path, *watch))
            }
            Request::Create { .. }
            | Request::Delete { .. }
            | Request::SetData { .. }
            | Request::Multi(_) => self.write(session, request, now),
        }
    }

    fn write(&mut self, session: i64, request: &Request, now: Timestamp) -> Outcome {
        let plan = match plan::plan(self, session, request) {
            Ok(plan) => plan,
            Err(plan::Refused(result)) => {
                self.last_zxid += 1;
                return Outcome::read(result);
            }
        };
        if plan.changes.is_empty() {
            // A multi of checks that hold.
            self.last_zxid += 1;
            return Outcome::read(plan.reply(&[]));
        }
        let replies = plan.replies;
        let Committed {
            applied,
            transaction,
        } = self.commit(session, now, plan.changes);
        Outcome {
            result: replies.reply(&applied.stats),
            watches: applied.watches,
            transaction: Some(transaction),
        }
    }

    /// Applies changes that were planned against this very tree.
    fn commit(&mut self, session: i64, now: Timestamp, changes: Vec<Change>) -> Committed {
        let transaction = Transaction {
            zxid: self.last_zxid + 1,
            time: now.0,
            session,
            changes,
        };
        let applied = self.apply(&transaction).expect("planned against this tree");
        Committed {
            applied,
            transaction,
        }
    }

    fn exists(&mut self, session: i64, path: &str, watch: bool) -> Result<Reply, Error> {
        valid(path)?;
        if watch {
            self.watches.arm_data(path, session);
        }
        self.node(path).map(|node| Reply::Exists(node.stat()))
    }

    fn get_data(&mut self, session: i64, path: &str, watch: bool) -> Result<Reply, Error> {
        valid(path)?;
        let node = self.node(path)?;
        let reply = Reply::Data {
            data: node.data.clone(),
            stat: node.stat(),
        };
        if watch {
            self.watches.arm_data(path, session);
        }
        Ok(reply)
    }

    fn get_children(&mut self, session: i64, path: &str, watch: bool) -> Result<Reply, Error> {
        valid(path)?;
        let node = self.node(path)?;
        let reply = Reply::Children {
            names: self.child_names(path),
            stat: node.stat(),
        };
        if watch {
            self.watches.arm_children(path, session);
        }
        Ok(reply)
    }

    /// The names of a znode's children, in their order. Whole subtrees are skipped: it takes one or
    /// two searches per child.
    fn child_names(&self, path: &str) -> Vec<String> {
        let prefix = if path == "/" {
            path.to_owned()
        } else {
            format!("{path}/")
        };
        let mut names = Vec::new();
        let mut from = Bound::Included(prefix.clone());
        loop {
            let bounds = (from.as_ref().map(String::as_str), Bound::Unbounded);
            let next = self.nodes.range::<str, _>(bounds).next();
            let Some((key, name)) =
                next.and_then(|(key, _)| Some((key, key.strip_prefix(&*prefix)?)))
            else {
                return names;
            };
            from = match name.split_once('/') {
                // The character after the slash: behind all that lies below this child.
                Some((child, _)) => Bound::Included(format!("{prefix}{child}0")),
                None => {
                    if !name.is_empty() {
                        names.push(name.to_owned());
                    }
                    Bound::Excluded(key.to_string())
                }
            };
        }
    }

    fn node(&self, path: &str) -> Result<&Node, Error> {
        self.nodes.get(path).ok_or(Error::NoNode)
    }
}

struct Committed {
    applied: Applied,
    transaction: Transaction,
}

impl Outcome {
    fn read(result: Result<Reply, Error>) -> Self {
        Self {
            result,
            watches: Vec::new(),
            transaction: None,
        }
    }
}

impl Node {
    fn stat(&self) -> Stat {
        let num_children = i32::try_from(self.children).unwrap_or(i32::MAX);
        Stat {
            czxid: self.czxid,
            mzxid: self.mzxid,
            ctime: self.ctime,
            mtime: self.mtime,
            version: self.version,
            cversion: self
                .children_created
                .wrapping_mul(2)
                .wrapping_sub(num_children),
            ephemeral_owner: self.ephemeral_owner,
            data_length: self.data.as_ref().map_or(0, |data| saturate(data.len())),
            num_children,
            pzxid: self.pzxid,
        }
    }
}

fn valid(path: &str) -> Result<(), Error> {
    if is_valid_path(path) {
        Ok(())
    } else {
        Err(Error::BadArguments)
    }
}

fn saturate(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
