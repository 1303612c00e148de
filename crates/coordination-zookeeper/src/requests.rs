//! Requests of the contract as requests of the client, and its answers back.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use ottla_coordination::tree::is_valid_path;
use ottla_coordination::{AclPolicy, CreateMode, Error, Op, OpResult, Reply, Request, Stat};
use zookeeper_client::{self as zk, Acl, Acls, AuthId, Client, OneshotWatcher, Permission};

/// What became of a request.
pub(crate) struct Answer {
    pub(crate) result: Result<Reply, Error>,
    /// The watch that the read armed.
    pub(crate) watcher: Option<OneshotWatcher>,
}

/// A request under way.
pub(crate) type Pending = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// Makes the request's future. It is sent when the future is polled first.
pub(crate) fn send(client: Client, request: Request) -> Pending {
    Box::pin(async move {
        match answer(&client, &request).await {
            Ok((reply, watcher)) => Answer {
                result: Ok(reply),
                watcher,
            },
            Err(Failure { error, watcher }) => Answer {
                result: Err(error),
                watcher,
            },
        }
    })
}

struct Failure {
    error: Error,
    watcher: Option<OneshotWatcher>,
}

impl From<zk::Error> for Failure {
    fn from(error: zk::Error) -> Self {
        Self {
            error: error_of(&error),
            watcher: None,
        }
    }
}

async fn answer(
    client: &Client,
    request: &Request,
) -> Result<(Reply, Option<OneshotWatcher>), Failure> {
    if !has_valid_path(request) {
        let error = Error::BadArguments;
        return Err(Failure {
            error,
            watcher: None,
        });
    }
    let reply = match request {
        Request::Create {
            path,
            data,
            mode,
            acl,
        } => {
            let (_, sequence) = with_options(*mode, *acl, |options| {
                client.create(path, slice(data.as_ref()), options)
            })
            .await?;
            Reply::Created {
                path: created_path(path, *mode, sequence),
            }
        }
        Request::Delete { path, version } => {
            client.delete(path, Some(*version)).await?;
            Reply::Deleted
        }
        Request::SetData {
            path,
            data,
            version,
        } => {
            let data = slice(data.as_ref());
            Reply::Set(stat_of(&client.set_data(path, data, Some(*version)).await?))
        }
        Request::Multi(ops) => multi(client, ops).await?,
        Request::Exists { path, watch: false } => exists(client.check_stat(path).await?, None)?,
        Request::Exists { path, watch: true } => {
            let (stat, watcher) = client.check_and_watch_stat(path).await?;
            return match stat {
                Some(stat) => Ok((Reply::Exists(stat_of(&stat)), Some(watcher))),
                None => Err(Failure {
                    error: Error::NoNode,
                    watcher: Some(watcher),
                }),
            };
        }
        Request::GetData { path, watch: false } => {
            let (data, stat) = client.get_data(path).await?;
            data_reply(data, &stat)
        }
        Request::GetData { path, watch: true } => {
            let (data, stat, watcher) = client.get_and_watch_data(path).await?;
            return Ok((data_reply(data, &stat), Some(watcher)));
        }
        Request::GetChildren { path, watch: false } => {
            let (names, stat) = client.get_children(path).await?;
            children_reply(names, &stat)
        }
        Request::GetChildren { path, watch: true } => {
            let (names, stat, watcher) = client.get_and_watch_children(path).await?;
            return Ok((children_reply(names, &stat), Some(watcher)));
        }
    };
    Ok((reply, None))
}

fn exists(stat: Option<zk::Stat>, watcher: Option<OneshotWatcher>) -> Result<Reply, Failure> {
    match stat {
        Some(stat) => Ok(Reply::Exists(stat_of(&stat))),
        None => Err(Failure {
            error: Error::NoNode,
            watcher,
        }),
    }
}

async fn multi(client: &Client, ops: &[Op]) -> Result<Reply, Failure> {
    let mut writer = client.new_multi_writer();
    for (index, op) in ops.iter().enumerate() {
        // Refused before it is sent.
        if !op_has_valid_path(op) {
            return Ok(failed_multi(index, ops.len(), Error::BadArguments));
        }
        if let Err(error) = add(&mut writer, op) {
            return Ok(failed_multi(index, ops.len(), error_of(&error)));
        }
    }
    match writer.commit().await {
        Ok(results) => Ok(Reply::Multi(results.into_iter().map(op_result).collect())),
        Err(zk::MultiWriteError::OperationFailed { index, source }) => {
            Ok(failed_multi(index, ops.len(), error_of(&source)))
        }
        Err(zk::MultiWriteError::RequestFailed { source }) => Err(source.into()),
    }
}

fn add(writer: &mut zk::MultiWriter<'_>, op: &Op) -> Result<(), zk::Error> {
    match op {
        Op::Create {
            path,
            data,
            mode,
            acl,
        } => with_options(*mode, *acl, |options| {
            writer.add_create(path, slice(data.as_ref()), options)
        }),
        Op::Delete { path, version } => writer.add_delete(path, Some(*version)),
        Op::SetData {
            path,
            data,
            version,
        } => writer.add_set_data(path, slice(data.as_ref()), Some(*version)),
        Op::Check { path, version } => writer.add_check_version(path, *version),
    }
}

fn op_result(result: zk::MultiWriteResult) -> OpResult {
    match result {
        zk::MultiWriteResult::Check => OpResult::Checked,
        zk::MultiWriteResult::Delete => OpResult::Deleted,
        zk::MultiWriteResult::Create { path, .. } => OpResult::Created { path },
        zk::MultiWriteResult::SetData { stat } => OpResult::Set(stat_of(&stat)),
        other => {
            tracing::error!(?other, "ZooKeeper answered a write in an unknown way");
            OpResult::Failed(Error::SystemError)
        }
    }
}

/// The client tells only the culprit; the others' codes follow from that.
fn failed_multi(culprit: usize, count: usize, error: Error) -> Reply {
    let result = |index: usize| match index.cmp(&culprit) {
        std::cmp::Ordering::Less => OpResult::RolledBack,
        std::cmp::Ordering::Equal => OpResult::Failed(error),
        std::cmp::Ordering::Greater => OpResult::Failed(Error::RuntimeInconsistency),
    };
    Reply::Multi((0..count).map(result).collect())
}

/// Java's client checks paths before it sends them; the one used here leaves some to the server,
/// which answers in another way.
fn has_valid_path(request: &Request) -> bool {
    match request {
        Request::Create { path, mode, .. } => is_valid_new_path(path, *mode),
        Request::Delete { path, .. }
        | Request::SetData { path, .. }
        | Request::Exists { path, .. }
        | Request::GetData { path, .. }
        | Request::GetChildren { path, .. } => is_valid_path(path),
        Request::Multi(_) => true,
    }
}

fn op_has_valid_path(op: &Op) -> bool {
    match op {
        Op::Create { path, mode, .. } => is_valid_new_path(path, *mode),
        Op::Delete { path, .. } | Op::SetData { path, .. } | Op::Check { path, .. } => {
            is_valid_path(path)
        }
    }
}

/// A number follows the path of a sequential znode.
fn is_valid_new_path(path: &str, mode: CreateMode) -> bool {
    match mode {
        CreateMode::PersistentSequential => is_valid_path(&format!("{path}1")),
        CreateMode::Persistent | CreateMode::Ephemeral => is_valid_path(path),
    }
}

fn with_options<T>(
    mode: CreateMode,
    acl: AclPolicy,
    then: impl FnOnce(&zk::CreateOptions<'_>) -> T,
) -> T {
    let mode = match mode {
        CreateMode::Persistent => zk::CreateMode::Persistent,
        CreateMode::Ephemeral => zk::CreateMode::Ephemeral,
        CreateMode::PersistentSequential => zk::CreateMode::PersistentSequential,
    };
    let creator = Acl::new(Permission::ALL, AuthId::authed());
    match acl {
        AclPolicy::Open => then(&mode.with_acls(Acls::anyone_all())),
        AclPolicy::Secure => {
            let acls = [creator, Acl::new(Permission::READ, AuthId::anyone())];
            then(&mode.with_acls(Acls::new(&acls)))
        }
        AclPolicy::Sensitive => then(&mode.with_acls(Acls::new(&[creator]))),
    }
}

fn created_path(path: &str, mode: CreateMode, sequence: zk::CreateSequence) -> String {
    match mode {
        CreateMode::PersistentSequential => format!("{path}{sequence}"),
        CreateMode::Persistent | CreateMode::Ephemeral => path.to_owned(),
    }
}

/// The client cannot write null; the contract reads empty as absent.
fn slice(data: Option<&Bytes>) -> &[u8] {
    data.map_or(&[], |data| data.as_ref())
}

fn data_reply(data: Vec<u8>, stat: &zk::Stat) -> Reply {
    let data = (!data.is_empty()).then(|| Bytes::from(data));
    Reply::Data {
        data,
        stat: stat_of(stat),
    }
}

fn children_reply(mut names: Vec<String>, stat: &zk::Stat) -> Reply {
    names.sort_unstable();
    Reply::Children {
        names,
        stat: stat_of(stat),
    }
}

fn stat_of(stat: &zk::Stat) -> Stat {
    Stat {
        czxid: stat.czxid,
        mzxid: stat.mzxid,
        ctime: stat.ctime,
        mtime: stat.mtime,
        version: stat.version,
        cversion: stat.cversion,
        ephemeral_owner: stat.ephemeral_owner,
        data_length: stat.data_length,
        num_children: stat.num_children,
        pzxid: stat.pzxid,
    }
}

/// The contract's word for the client's error.
pub(crate) fn error_of(error: &zk::Error) -> Error {
    match error {
        zk::Error::NoNode => Error::NoNode,
        zk::Error::NoAuth => Error::NoAuth,
        zk::Error::BadVersion => Error::BadVersion,
        zk::Error::NoChildrenForEphemerals => Error::NoChildrenForEphemerals,
        zk::Error::NodeExists => Error::NodeExists,
        zk::Error::NotEmpty => Error::NotEmpty,
        zk::Error::SessionExpired | zk::Error::ClientClosed | zk::Error::SessionMoved => {
            Error::SessionExpired
        }
        zk::Error::InvalidAcl => Error::InvalidAcl,
        zk::Error::AuthFailed => Error::AuthFailed,
        // What the client makes of a failed socket or of a silent server is "custom"; nothing that
        // a server answers is.
        zk::Error::ConnectionLoss | zk::Error::Custom(_) => Error::ConnectionLoss,
        zk::Error::BadArguments(_) => Error::BadArguments,
        zk::Error::RuntimeInconsistent => Error::RuntimeInconsistency,
        zk::Error::UnexpectedErrorCode(code) => Error::Other(*code),
        other => {
            tracing::error!(error = %other, "ZooKeeper request failed in an unusual way");
            Error::SystemError
        }
    }
}
