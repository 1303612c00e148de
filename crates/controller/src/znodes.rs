//! What the controller reads and writes, one function per purpose, over [`Exchange::batch`].
//! Source: `KafkaZkClient.scala`.
//!
//! Every write of the controller is fenced: it goes into a multi of its own together with a check
//! that `/controller_epoch` still has the version of our election. Reads arm a watch on what is
//! handled. A znode that does not hold what Kafka writes there is reported and passed over.

mod brokers;
mod controller;
mod notifications;
mod orders;
mod partition_states;
mod topics;

use bytes::Bytes;
use ottla_coordination::{
    ANY_VERSION, AclPolicy, CreateMode, Error, Op, OpResult, Reply, Request, multi_error, paths,
};

use crate::exchange::{Exchange, Outcome};
use crate::failure::Failure;

/// The version of `/controller_epoch` that our writes rely on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Fence(pub(crate) i32);

impl Exchange {
    /// Performs each write if we are still the controller, and tells each one's own outcome.
    pub(crate) async fn fenced(
        &self,
        fence: Fence,
        writes: Vec<Op>,
    ) -> Result<Vec<Result<OpResult, Error>>, Failure> {
        let check = || Op::Check {
            path: paths::CONTROLLER_EPOCH.to_owned(),
            version: fence.0,
        };
        let multis = writes
            .into_iter()
            .map(|write| Request::Multi(vec![check(), write]));
        let outcomes = self.batch(multis.collect()).await;
        outcomes.into_iter().map(unwrap_fenced).collect()
    }

    /// Performs one write; its own failure is the failure.
    pub(crate) async fn fenced_one(&self, fence: Fence, write: Op) -> Result<OpResult, Failure> {
        let mut outcomes = self.fenced(fence, vec![write]).await?;
        // One write has one outcome; were it missing, the service has failed.
        Ok(outcomes.pop().unwrap_or(Err(Error::SystemError))?)
    }

    /// Deletes a znode; that it is gone already is fine.
    pub(crate) async fn delete_if_there(&self, fence: Fence, path: String) -> Result<(), Failure> {
        match self
            .fenced_one(
                fence,
                Op::Delete {
                    path,
                    version: ANY_VERSION,
                },
            )
            .await
        {
            Ok(_) | Err(Failure::Coordination(Error::NoNode)) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    /// Deletes a znode and all below it, the deepest first; what is gone already is fine.
    pub(crate) async fn delete_recursively(
        &self,
        fence: Fence,
        path: String,
    ) -> Result<(), Failure> {
        let mut levels = vec![vec![path]];
        while let Some(parents) = levels.last().filter(|level| !level.is_empty()) {
            let lists = parents
                .iter()
                .map(|parent| Request::get_children(parent.as_str()));
            let outcomes = self.batch(lists.collect()).await;
            let mut children = Vec::new();
            for (parent, outcome) in parents.iter().zip(outcomes) {
                let names = children_or_none(outcome)?;
                children.extend(names.iter().map(|name| paths::child(parent, name)));
            }
            levels.push(children);
        }
        for level in levels.into_iter().rev() {
            let delete = |path| Op::Delete {
                path,
                version: ANY_VERSION,
            };
            for outcome in self
                .fenced(fence, level.into_iter().map(delete).collect())
                .await?
            {
                match outcome {
                    Ok(_) | Err(Error::NoNode) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Whether a znode is there; arms a data watch, there or not, if somebody handles it.
    pub(crate) async fn is_there(&self, path: &str) -> Result<bool, Failure> {
        match self.request(self.exists(path.to_owned())).await {
            Ok(_) => Ok(true),
            Err(Error::NoNode) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The names of the children, none if the parent is absent.
    pub(crate) async fn children(&self, path: &str) -> Result<Vec<String>, Failure> {
        children_or_none(self.request(self.get_children(path.to_owned())).await)
    }
}

/// The outcome of a write whose multi began with the check.
fn unwrap_fenced(outcome: Outcome) -> Result<Result<OpResult, Error>, Failure> {
    match outcome? {
        Reply::Multi(results) => match multi_error(&results) {
            None => Ok(results.into_iter().nth(1).ok_or(Error::SystemError)),
            Some((0, Error::BadVersion)) => Err(Failure::ControllerMoved),
            Some((0, error)) => Err(error.into()),
            Some((_, error)) => Ok(Err(error)),
        },
        _ => Err(Error::SystemError.into()),
    }
}

fn children_or_none(outcome: Outcome) -> Result<Vec<String>, Failure> {
    match outcome {
        Ok(Reply::Children { names, .. }) => Ok(names),
        Err(Error::NoNode) => Ok(Vec::new()),
        Ok(_) => Err(Error::SystemError.into()),
        Err(error) => Err(error.into()),
    }
}

/// Data and stat; `None` for a znode that is not there.
fn data_or_none(
    outcome: Outcome,
) -> Result<Option<(Option<Bytes>, ottla_coordination::Stat)>, Failure> {
    match outcome {
        Ok(Reply::Data { data, stat }) => Ok(Some((data, stat))),
        Err(Error::NoNode) => Ok(None),
        Ok(_) => Err(Error::SystemError.into()),
        Err(error) => Err(error.into()),
    }
}

/// A persistent znode.
fn create(path: String, data: Option<Bytes>, acl: AclPolicy) -> Op {
    Op::Create {
        path,
        data,
        mode: CreateMode::Persistent,
        acl,
    }
}
