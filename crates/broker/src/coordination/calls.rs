//! Single calls over the handle, as `KafkaZkClient` has them.

use bytes::Bytes;
use ottla_coordination::{
    ANY_VERSION, CreateMode, Error, Op, OpResult, Reply, Request, Stat, multi_error, paths,
};

use super::CoordinationHandle;

/// Which write of a multi failed, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MultiError {
    /// This write is to blame; nothing happened.
    #[error("write {index} failed: {error}")]
    Failed {
        /// Its position.
        index: usize,
        /// Its error.
        error: Error,
    },
    /// The whole request failed.
    #[error(transparent)]
    Request(#[from] Error),
}

/// Why a fenced write failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FencedError {
    /// The znode that fences has another version: someone else is the controller.
    #[error("the controller has moved")]
    Moved,
    /// The write itself.
    #[error(transparent)]
    Write(#[from] Error),
}

impl CoordinationHandle {
    /// A znode's data and stat.
    pub async fn get_data(
        &self,
        path: impl Into<String>,
        watch: bool,
    ) -> Result<(Option<Bytes>, Stat), Error> {
        match self
            .request(Request::GetData {
                path: path.into(),
                watch,
            })
            .await?
        {
            Reply::Data { data, stat } => Ok((data, stat)),
            other => mismatch(&other),
        }
    }

    /// As [`CoordinationHandle::get_data`]; an absent znode is `None`.
    pub async fn find_data(
        &self,
        path: impl Into<String>,
        watch: bool,
    ) -> Result<Option<(Option<Bytes>, Stat)>, Error> {
        match self.get_data(path, watch).await {
            Ok(found) => Ok(Some(found)),
            Err(Error::NoNode) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A znode's stat, if it is there. The watch is armed in either case.
    pub async fn exists(
        &self,
        path: impl Into<String>,
        watch: bool,
    ) -> Result<Option<Stat>, Error> {
        match self
            .request(Request::Exists {
                path: path.into(),
                watch,
            })
            .await
        {
            Ok(Reply::Exists(stat)) => Ok(Some(stat)),
            Err(Error::NoNode) => Ok(None),
            Ok(other) => mismatch(&other),
            Err(error) => Err(error),
        }
    }

    /// Names of a znode's children, sorted; an absent znode has none, as in `KafkaZkClient`.
    pub async fn get_children(
        &self,
        path: impl Into<String>,
        watch: bool,
    ) -> Result<Vec<String>, Error> {
        match self
            .request(Request::GetChildren {
                path: path.into(),
                watch,
            })
            .await
        {
            Ok(Reply::Children { names, .. }) => Ok(names),
            Err(Error::NoNode) => Ok(Vec::new()),
            Ok(other) => mismatch(&other),
            Err(error) => Err(error),
        }
    }

    /// Creates a znode; its parent must exist. Gives its path, with the number of a sequential one.
    pub async fn create(
        &self,
        path: &str,
        data: Option<Bytes>,
        mode: CreateMode,
    ) -> Result<String, Error> {
        match self
            .request(self.create_op(path, data, mode).into())
            .await?
        {
            Reply::Created { path } => Ok(path),
            other => mismatch(&other),
        }
    }

    /// Creates a persistent znode and the parents that are missing (without data).
    pub async fn create_recursive(&self, path: &str, data: Option<Bytes>) -> Result<(), Error> {
        match self
            .create(path, data.clone(), CreateMode::Persistent)
            .await
        {
            Ok(_) => return Ok(()),
            Err(Error::NoNode) => {}
            Err(error) => return Err(error),
        }
        let mut parents = Vec::new();
        let mut next = paths::parent(path);
        while let Some(parent) = next.filter(|&parent| parent != "/") {
            parents.push(parent);
            next = paths::parent(parent);
        }
        let requests: Vec<Request> = parents
            .iter()
            .rev()
            .map(|parent| self.create_op(parent, None, CreateMode::Persistent).into())
            .collect();
        for created in self.request_all(requests).await {
            match created {
                Ok(_) | Err(Error::NodeExists) => {}
                Err(error) => return Err(error),
            }
        }
        self.create(path, data, CreateMode::Persistent)
            .await
            .map(|_| ())
    }

    /// Creates a persistent znode without data, and its parents, unless it is there.
    pub async fn make_sure_exists(&self, path: &str) -> Result<(), Error> {
        match self.create_recursive(path, None).await {
            Err(Error::NodeExists) => Ok(()),
            result => result,
        }
    }

    /// Replaces a znode's data.
    pub async fn set_data(
        &self,
        path: impl Into<String>,
        data: Option<Bytes>,
        version: i32,
    ) -> Result<Stat, Error> {
        match self
            .request(Request::SetData {
                path: path.into(),
                data,
                version,
            })
            .await?
        {
            Reply::Set(stat) => Ok(stat),
            other => mismatch(&other),
        }
    }

    /// Replaces a znode's data whatever its version, creating it and its parents if missing.
    pub async fn set_or_create(&self, path: &str, data: Option<Bytes>) -> Result<(), Error> {
        loop {
            match self.set_data(path, data.clone(), ANY_VERSION).await {
                Ok(_) => return Ok(()),
                Err(Error::NoNode) => {}
                Err(error) => return Err(error),
            }
            match self.create_recursive(path, data.clone()).await {
                // Someone else was faster.
                Err(Error::NodeExists) => {}
                result => return result,
            }
        }
    }

    /// Deletes a znode without children.
    pub async fn delete(&self, path: impl Into<String>, version: i32) -> Result<(), Error> {
        match self
            .request(Request::Delete {
                path: path.into(),
                version,
            })
            .await?
        {
            Reply::Deleted => Ok(()),
            other => mismatch(&other),
        }
    }

    /// Deletes a znode and all below it, children first; what vanishes meanwhile is fine. Gives
    /// whether the znode itself was there.
    pub async fn delete_recursive(&self, path: &str) -> Result<bool, Error> {
        // Parents before children; deleted from the end.
        let mut all = vec![path.to_owned()];
        let mut next = 0;
        while let Some(parent) = all.get(next).cloned() {
            let children = self.get_children(parent.clone(), false).await?;
            all.extend(children.iter().map(|name| paths::child(&parent, name)));
            next += 1;
        }
        let mut existed = false;
        for path in all.into_iter().rev() {
            existed = match self.delete(path, ANY_VERSION).await {
                Ok(()) => true,
                Err(Error::NoNode) => false,
                Err(error) => return Err(error),
            };
        }
        Ok(existed)
    }

    /// Performs writes together.
    pub async fn multi(&self, ops: Vec<Op>) -> Result<Vec<OpResult>, MultiError> {
        match self.request(Request::Multi(ops)).await? {
            Reply::Multi(results) => match multi_error(&results) {
                Some((index, error)) => Err(MultiError::Failed { index, error }),
                None => Ok(results),
            },
            other => mismatch(&other).map_err(MultiError::Request),
        }
    }

    /// Performs a write only while a znode has this version, for instance `/controller_epoch`.
    pub async fn fenced(
        &self,
        fence: impl Into<String>,
        fence_version: i32,
        write: Op,
    ) -> Result<OpResult, FencedError> {
        let check = Op::Check {
            path: fence.into(),
            version: fence_version,
        };
        match self.multi(vec![check, write]).await {
            Ok(mut results) => results.pop().ok_or(FencedError::Write(Error::SystemError)),
            Err(MultiError::Failed {
                index: 0,
                error: Error::BadVersion,
            }) => Err(FencedError::Moved),
            Err(MultiError::Failed { error, .. } | MultiError::Request(error)) => {
                Err(FencedError::Write(error))
            }
        }
    }

    /// A create with the access that `zookeeper.set.acl` asks for.
    pub fn create_op(&self, path: &str, data: Option<Bytes>, mode: CreateMode) -> Op {
        let acl = paths::acl_policy(path, self.sets_acl());
        Op::Create {
            path: path.to_owned(),
            data,
            mode,
            acl,
        }
    }
}

/// A provider that answers something else than it was asked is broken; nothing sensible can be
/// done but to fail the request.
fn mismatch<T>(reply: &Reply) -> Result<T, Error> {
    tracing::error!(
        ?reply,
        "the coordination provider gave an answer of another kind"
    );
    Err(Error::SystemError)
}
