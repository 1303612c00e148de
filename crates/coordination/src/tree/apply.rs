//! Applying transactions.

use std::collections::BTreeSet;

use super::transaction::{Change, Transaction};
use super::watches::Fired;
use super::{Node, Tree};
use crate::paths;
use crate::request::Stat;

/// What applying a transaction gave.
#[derive(Default)]
pub(super) struct Applied {
    /// The stat after each [`Change::SetData`], in order.
    pub(super) stats: Vec<Stat>,
    /// Watches that fired.
    pub(super) watches: Fired,
}

/// A transaction that cannot have been made from this tree: the log or the snapshot is damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("transaction {zxid} does not fit the tree: {reason}")]
pub struct InconsistentTransaction {
    /// Its number.
    pub zxid: i64,
    /// What is wrong.
    pub reason: &'static str,
}

impl Tree {
    /// Applies a transaction that was logged earlier. On an error the tree is of no use any more.
    pub fn replay(&mut self, transaction: &Transaction) -> Result<(), InconsistentTransaction> {
        self.apply(transaction).map(|_| ())
    }

    pub(super) fn apply(
        &mut self,
        transaction: &Transaction,
    ) -> Result<Applied, InconsistentTransaction> {
        let fail = |reason| InconsistentTransaction {
            zxid: transaction.zxid,
            reason,
        };
        if transaction.zxid <= self.last_zxid {
            return Err(fail("its number is not greater than the last"));
        }
        self.last_zxid = transaction.zxid;
        let mut applied = Applied::default();
        for change in &transaction.changes {
            self.apply_change(transaction, change, &mut applied)
                .map_err(fail)?;
        }
        Ok(applied)
    }

    fn apply_change(
        &mut self,
        transaction: &Transaction,
        change: &Change,
        applied: &mut Applied,
    ) -> Result<(), &'static str> {
        match change {
            Change::OpenSession => {
                self.sessions.insert(transaction.session, BTreeSet::new());
            }
            Change::CloseSession => {
                let paths = self.sessions.remove(&transaction.session);
                if paths.is_none_or(|paths| !paths.is_empty()) {
                    return Err("it closes a session that is not open or has ephemeral znodes");
                }
            }
            Change::Create {
                path,
                data,
                ephemeral,
            } => {
                let owner = if *ephemeral { transaction.session } else { 0 };
                let parent = paths::parent(path).ok_or("it creates the root")?;
                if self.nodes.contains_key(path.as_str()) {
                    return Err("it creates a znode that exists");
                }
                let parent_node = self.nodes.get_mut(parent).ok_or("a parent is missing")?;
                parent_node.children += 1;
                parent_node.children_created = parent_node.children_created.wrapping_add(1);
                parent_node.pzxid = transaction.zxid;
                if *ephemeral {
                    let session = self
                        .sessions
                        .get_mut(&owner)
                        .ok_or("its session is not open")?;
                    session.insert(path.clone());
                }
                self.nodes.insert(
                    path.as_str().into(),
                    new_node(transaction, data.clone(), owner),
                );
                self.watches.created(path, parent, &mut applied.watches);
            }
            Change::SetData { path, data } => {
                let node = self
                    .nodes
                    .get_mut(path.as_str())
                    .ok_or("it sets a znode that is missing")?;
                node.data.clone_from(data);
                node.version = node.version.wrapping_add(1);
                node.mzxid = transaction.zxid;
                node.mtime = transaction.time;
                applied.stats.push(node.stat());
                self.watches.data_changed(path, &mut applied.watches);
            }
            Change::Delete { path } => {
                let parent = paths::parent(path).ok_or("it deletes the root")?;
                let node = self
                    .nodes
                    .remove(path.as_str())
                    .ok_or("it deletes a znode that is missing")?;
                if node.children > 0 {
                    return Err("it deletes a znode with children");
                }
                if let Some(session) = self.sessions.get_mut(&node.ephemeral_owner) {
                    session.remove(path);
                }
                let parent_node = self.nodes.get_mut(parent).ok_or("a parent is missing")?;
                parent_node.children -= 1;
                parent_node.pzxid = transaction.zxid;
                self.watches.deleted(path, parent, &mut applied.watches);
            }
        }
        Ok(())
    }
}

fn new_node(transaction: &Transaction, data: Option<bytes::Bytes>, owner: i64) -> Node {
    let Transaction { zxid, time, .. } = *transaction;
    Node {
        data,
        czxid: zxid,
        mzxid: zxid,
        pzxid: zxid,
        ctime: time,
        mtime: time,
        ephemeral_owner: owner,
        ..Node::default()
    }
}
