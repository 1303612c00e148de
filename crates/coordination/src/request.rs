//! Requests, their replies and their errors.

use bytes::Bytes;

/// What a new znode is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum CreateMode {
    /// Stays until it is deleted.
    Persistent,
    /// Goes with the session that created it; cannot have children.
    Ephemeral,
    /// Persistent, and its name gets a 10-digit number that its parent counts.
    PersistentSequential,
}

/// Who may touch a new znode (`zookeeper.set.acl`). The embedded tree has one user and ignores it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum AclPolicy {
    /// Anyone may do anything.
    #[default]
    Open,
    /// The authenticated creator may do anything, anyone may read.
    Secure,
    /// Only the authenticated creator: paths that hold secrets.
    Sensitive,
}

/// One request of a session. Paths are absolute and without the chroot. A `version` of −1 matches
/// any version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// Creates a znode; its parent must exist.
    Create {
        /// Where; for a sequential znode the prefix of its name.
        path: String,
        /// Its data; an empty value counts as absent.
        data: Option<Bytes>,
        /// What it is.
        mode: CreateMode,
        /// Who may touch it.
        acl: AclPolicy,
    },
    /// Deletes a znode without children.
    Delete {
        /// Which.
        path: String,
        /// The data version that it must have.
        version: i32,
    },
    /// Asks for a znode's stat. An absent znode is [`Error::NoNode`], and the watch is armed
    /// nevertheless.
    Exists {
        /// Which.
        path: String,
        /// Whether to arm a data watch.
        watch: bool,
    },
    /// Reads a znode's data. Arms a watch only on a znode that is there.
    GetData {
        /// Which.
        path: String,
        /// Whether to arm a data watch.
        watch: bool,
    },
    /// Replaces a znode's data.
    SetData {
        /// Which.
        path: String,
        /// The new data; an empty value counts as absent.
        data: Option<Bytes>,
        /// The data version that it must have.
        version: i32,
    },
    /// Lists a znode's children. Arms a watch only on a znode that is there.
    GetChildren {
        /// Which.
        path: String,
        /// Whether to arm a child watch.
        watch: bool,
    },
    /// Writes that happen together or not at all.
    Multi(Vec<Op>),
}

impl Request {
    /// Creates an open persistent znode.
    pub fn create(path: impl Into<String>, data: Option<Bytes>) -> Self {
        Self::Create {
            path: path.into(),
            data,
            mode: CreateMode::Persistent,
            acl: AclPolicy::Open,
        }
    }

    /// Reads data without a watch.
    pub fn get_data(path: impl Into<String>) -> Self {
        Self::GetData {
            path: path.into(),
            watch: false,
        }
    }

    /// Lists children without a watch.
    pub fn get_children(path: impl Into<String>) -> Self {
        Self::GetChildren {
            path: path.into(),
            watch: false,
        }
    }
}

/// One write of a [`Request::Multi`]; fields as in [`Request`].
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Op {
    /// See [`Request::Create`].
    Create {
        path: String,
        data: Option<Bytes>,
        mode: CreateMode,
        acl: AclPolicy,
    },
    /// See [`Request::Delete`].
    Delete { path: String, version: i32 },
    /// See [`Request::SetData`].
    SetData {
        path: String,
        data: Option<Bytes>,
        version: i32,
    },
    /// Only checks that the znode is there with this data version.
    Check { path: String, version: i32 },
}

impl From<Op> for Request {
    /// The same write alone. A check alone is a multi of one, as ZooKeeper has no such request.
    fn from(op: Op) -> Self {
        match op {
            Op::Create {
                path,
                data,
                mode,
                acl,
            } => Self::Create {
                path,
                data,
                mode,
                acl,
            },
            Op::Delete { path, version } => Self::Delete { path, version },
            Op::SetData {
                path,
                data,
                version,
            } => Self::SetData {
                path,
                data,
                version,
            },
            check @ Op::Check { .. } => Self::Multi(vec![check]),
        }
    }
}

/// A znode's metadata.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct Stat {
    /// The transaction that created it. Of `/brokers/ids/<id>` this is the broker epoch.
    pub czxid: i64,
    /// The transaction that last changed its data.
    pub mzxid: i64,
    /// Wall time of its creation, ms.
    pub ctime: i64,
    /// Wall time of the last change of its data, ms.
    pub mtime: i64,
    /// Changes of its data since creation. Wraps at int32 like ZooKeeper's.
    pub version: i32,
    /// Changes of its list of children.
    pub cversion: i32,
    /// The session that owns an ephemeral znode; 0 for the others.
    pub ephemeral_owner: i64,
    /// Bytes of data.
    pub data_length: i32,
    /// How many children it has.
    pub num_children: i32,
    /// The transaction that last changed its list of children; at first its own creation.
    pub pzxid: i64,
}

/// The answer to a request that did not fail.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// Created.
    Created {
        /// The path, with the number of a sequential znode.
        path: String,
    },
    /// Deleted.
    Deleted,
    /// It exists.
    Exists(Stat),
    /// Its data.
    Data {
        /// The data, `None` or non-empty.
        data: Option<Bytes>,
        /// Its stat.
        stat: Stat,
    },
    /// Its data was replaced.
    Set(Stat),
    /// Its children.
    Children {
        /// Names without the parent's path, sorted.
        names: Vec<String>,
        /// The parent's stat.
        stat: Stat,
    },
    /// The outcome of each write of a multi, in order. A multi that failed is a reply too: see
    /// [`multi_error`].
    Multi(Vec<OpResult>),
}

/// The outcome of one write of a multi.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OpResult {
    /// Created.
    Created {
        /// The path, with the number of a sequential znode.
        path: String,
    },
    /// Deleted.
    Deleted,
    /// Its data was replaced.
    Set(Stat),
    /// The check held.
    Checked,
    /// This write was fine, but a later one failed, so nothing happened (ZooKeeper's code 0).
    RolledBack,
    /// This write failed; those after the culprit carry [`Error::RuntimeInconsistency`].
    Failed(Error),
}

/// The culprit of a failed multi and its error; `None` if the multi happened. As in Kafka, the
/// first error counts, which is never that of the innocent writes after the culprit.
pub fn multi_error(results: &[OpResult]) -> Option<(usize, Error)> {
    results
        .iter()
        .enumerate()
        .find_map(|(index, result)| match result {
            OpResult::Failed(error) => Some((index, *error)),
            _ => None,
        })
}

/// Why a request failed: ZooKeeper's codes, as far as they concern Kafka.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, thiserror::Error)]
pub enum Error {
    /// The znode, or the parent of the one to create, is not there.
    #[error("no such znode")]
    NoNode,
    /// The znode to create is there already.
    #[error("znode exists")]
    NodeExists,
    /// The znode has another version.
    #[error("version conflict")]
    BadVersion,
    /// The znode to delete has children.
    #[error("znode has children")]
    NotEmpty,
    /// The parent is ephemeral.
    #[error("ephemeral znodes cannot have children")]
    NoChildrenForEphemerals,
    /// The connection broke; the request may have been applied or not.
    #[error("connection to the coordination service lost")]
    ConnectionLoss,
    /// The session has ended; nothing can be asked of this handle any more.
    #[error("coordination session expired")]
    SessionExpired,
    /// The credentials were refused.
    #[error("authentication with the coordination service failed")]
    AuthFailed,
    /// The znode's access control list forbids it.
    #[error("not allowed by the znode's access control list")]
    NoAuth,
    /// The access control list of a create is not acceptable.
    #[error("invalid access control list")]
    InvalidAcl,
    /// The path or another argument is malformed.
    #[error("bad arguments")]
    BadArguments,
    /// Only inside a failed multi: an earlier write is to blame.
    #[error("another write of the same multi failed")]
    RuntimeInconsistency,
    /// The service failed inside, for instance its disk.
    #[error("coordination service failed")]
    SystemError,
    /// Any other code of ZooKeeper.
    #[error("coordination service answered code {0}")]
    Other(i32),
}

impl Error {
    /// ZooKeeper's number of the error.
    pub fn code(self) -> i32 {
        match self {
            Self::SystemError => -1,
            Self::RuntimeInconsistency => -2,
            Self::ConnectionLoss => -4,
            Self::BadArguments => -8,
            Self::NoNode => -101,
            Self::NoAuth => -102,
            Self::BadVersion => -103,
            Self::NoChildrenForEphemerals => -108,
            Self::NodeExists => -110,
            Self::NotEmpty => -111,
            Self::SessionExpired => -112,
            Self::InvalidAcl => -114,
            Self::AuthFailed => -115,
            Self::Other(code) => code,
        }
    }
}
