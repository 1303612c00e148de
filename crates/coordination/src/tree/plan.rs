//! Checking writes and turning them into changes (`PrepRequestProcessor`).

use std::collections::BTreeMap;

use bytes::Bytes;

use super::transaction::{Change, LENGTH_MAX};
use super::{Tree, valid};
use crate::ANY_VERSION;
use crate::paths;
use crate::request::{CreateMode, Error, Op, OpResult, Reply, Request, Stat};

/// A write that will succeed.
pub(super) struct Plan {
    pub(super) changes: Vec<Change>,
    pub(super) replies: Replies,
}

/// The answer to a write, but for the stats that only applying it gives.
pub(super) enum Replies {
    One(PlannedReply),
    Multi(Vec<PlannedReply>),
}

pub(super) enum PlannedReply {
    Created(String),
    Deleted,
    Set,
    Checked,
}

/// A write that fails, with the answer that says so.
pub(super) struct Refused(pub(super) Result<Reply, Error>);

/// Plans a write. Nothing is changed.
pub(super) fn plan(tree: &Tree, session: i64, request: &Request) -> Result<Plan, Refused> {
    let mut planner = Planner {
        tree,
        session,
        pending: BTreeMap::new(),
        changes: Vec::new(),
    };
    let one =
        |op: Result<PlannedReply, Error>| op.map(Replies::One).map_err(|error| Refused(Err(error)));
    let replies = match request {
        Request::Create {
            path,
            data,
            mode,
            acl: _,
        } => one(planner.create(path, data.as_ref(), *mode))?,
        Request::Delete { path, version } => one(planner.delete(path, *version))?,
        Request::SetData {
            path,
            data,
            version,
        } => one(planner.set_data(path, data.as_ref(), *version))?,
        Request::Multi(ops) => Replies::Multi(planner.multi(ops)?),
        Request::Exists { .. } | Request::GetData { .. } | Request::GetChildren { .. } => {
            unreachable!("reads are not planned")
        }
    };
    Ok(Plan {
        changes: planner.changes,
        replies,
    })
}

impl Plan {
    pub(super) fn reply(&self, stats: &[Stat]) -> Result<Reply, Error> {
        self.replies.reply(stats)
    }
}

impl Replies {
    /// The answer; `stats` are those of the set data, in order.
    pub(super) fn reply(&self, stats: &[Stat]) -> Result<Reply, Error> {
        let mut stats = stats.iter().copied();
        let mut stat = move || stats.next().expect("one stat for every znode that was set");
        Ok(match self {
            Self::One(PlannedReply::Created(path)) => Reply::Created { path: path.clone() },
            Self::One(PlannedReply::Deleted) => Reply::Deleted,
            Self::One(PlannedReply::Set) => Reply::Set(stat()),
            Self::One(PlannedReply::Checked) => unreachable!("a check comes only in a multi"),
            Self::Multi(replies) => {
                let result = |reply: &PlannedReply| match reply {
                    PlannedReply::Created(path) => OpResult::Created { path: path.clone() },
                    PlannedReply::Deleted => OpResult::Deleted,
                    PlannedReply::Set => OpResult::Set(stat()),
                    PlannedReply::Checked => OpResult::Checked,
                };
                Reply::Multi(replies.iter().map(result).collect())
            }
        })
    }
}

struct Planner<'a> {
    tree: &'a Tree,
    session: i64,
    /// What the changes so far leave of the znodes that they touch; `None` is deleted.
    pending: BTreeMap<String, Option<Record>>,
    changes: Vec<Change>,
}

/// As much of a znode as the checks need.
#[derive(Clone, Copy)]
struct Record {
    version: i32,
    children: u32,
    children_created: i32,
    is_ephemeral: bool,
}

impl Planner<'_> {
    fn multi(&mut self, ops: &[Op]) -> Result<Vec<PlannedReply>, Refused> {
        let mut replies = Vec::new();
        for op in ops {
            match self.op(op) {
                Ok(reply) => replies.push(reply),
                Err(error) => {
                    return Err(Refused(Ok(failed_multi(replies.len(), ops.len(), error))));
                }
            }
        }
        Ok(replies)
    }

    fn op(&mut self, op: &Op) -> Result<PlannedReply, Error> {
        match op {
            Op::Create {
                path,
                data,
                mode,
                acl: _,
            } => self.create(path, data.as_ref(), *mode),
            Op::Delete { path, version } => self.delete(path, *version),
            Op::SetData {
                path,
                data,
                version,
            } => self.set_data(path, data.as_ref(), *version),
            Op::Check { path, version } => {
                valid(path)?;
                check_version(self.record(path)?, *version)?;
                Ok(PlannedReply::Checked)
            }
        }
    }

    fn create(
        &mut self,
        path: &str,
        data: Option<&Bytes>,
        mode: CreateMode,
    ) -> Result<PlannedReply, Error> {
        let sequential = mode == CreateMode::PersistentSequential;
        // The number makes "/a/" a legal prefix.
        valid(&if sequential {
            format!("{path}1")
        } else {
            path.to_owned()
        })?;
        let data = stored(data)?;
        let Some(parent) = paths::parent(path) else {
            return Err(Error::NodeExists);
        };
        let parent = parent.to_owned();
        let mut parent_record = self.record(&parent)?;
        let path = if sequential {
            format!("{path}{:010}", parent_record.children_created)
        } else {
            path.to_owned()
        };
        if self.record(&path).is_ok() {
            return Err(Error::NodeExists);
        }
        if parent_record.is_ephemeral {
            return Err(Error::NoChildrenForEphemerals);
        }
        parent_record.children += 1;
        parent_record.children_created = parent_record.children_created.wrapping_add(1);
        self.pending.insert(parent, Some(parent_record));
        let ephemeral = mode == CreateMode::Ephemeral;
        let record = Record {
            version: 0,
            children: 0,
            children_created: 0,
            is_ephemeral: ephemeral,
        };
        self.pending.insert(path.clone(), Some(record));
        self.changes.push(Change::Create {
            path: path.clone(),
            data,
            ephemeral,
        });
        Ok(PlannedReply::Created(path))
    }

    fn delete(&mut self, path: &str, version: i32) -> Result<PlannedReply, Error> {
        valid(path)?;
        let parent = paths::parent(path).ok_or(Error::BadArguments)?.to_owned();
        let mut parent_record = self.record(&parent)?;
        let record = self.record(path)?;
        check_version(record, version)?;
        if record.children > 0 {
            return Err(Error::NotEmpty);
        }
        parent_record.children -= 1;
        self.pending.insert(parent, Some(parent_record));
        self.pending.insert(path.to_owned(), None);
        self.changes.push(Change::Delete {
            path: path.to_owned(),
        });
        Ok(PlannedReply::Deleted)
    }

    fn set_data(
        &mut self,
        path: &str,
        data: Option<&Bytes>,
        version: i32,
    ) -> Result<PlannedReply, Error> {
        valid(path)?;
        let data = stored(data)?;
        let mut record = self.record(path)?;
        check_version(record, version)?;
        record.version = record.version.wrapping_add(1);
        self.pending.insert(path.to_owned(), Some(record));
        self.changes.push(Change::SetData {
            path: path.to_owned(),
            data,
        });
        Ok(PlannedReply::Set)
    }

    fn record(&self, path: &str) -> Result<Record, Error> {
        if let Some(record) = self.pending.get(path) {
            return record.ok_or(Error::NoNode);
        }
        debug_assert!(self.tree.sessions.contains_key(&self.session));
        self.tree.node(path).map(|node| Record {
            version: node.version,
            children: node.children,
            children_created: node.children_created,
            is_ephemeral: node.ephemeral_owner != 0,
        })
    }
}

fn check_version(record: Record, expected: i32) -> Result<(), Error> {
    if expected == ANY_VERSION || expected == record.version {
        Ok(())
    } else {
        Err(Error::BadVersion)
    }
}

/// Data as the tree holds it: absent or non-empty.
fn stored(data: Option<&Bytes>) -> Result<Option<Bytes>, Error> {
    match data {
        Some(data) if data.len() > LENGTH_MAX => Err(Error::BadArguments),
        data => Ok(data.filter(|data| !data.is_empty()).cloned()),
    }
}

/// What ZooKeeper answers: the culprit's code, 0 before it, "runtime inconsistency" after it.
fn failed_multi(culprit: usize, count: usize, error: Error) -> Reply {
    let result = |index: usize| match index.cmp(&culprit) {
        std::cmp::Ordering::Less => OpResult::RolledBack,
        std::cmp::Ordering::Equal => OpResult::Failed(error),
        std::cmp::Ordering::Greater => OpResult::Failed(Error::RuntimeInconsistency),
    };
    Reply::Multi((0..count).map(result).collect())
}
