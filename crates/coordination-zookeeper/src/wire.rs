//! The records of ZooKeeper's protocol, as far as a broker needs them.

use bytes::{BufMut as _, Bytes, BytesMut};
use ottla_coordination::{
    AclPolicy, CreateMode, Error, Op, OpResult, Reply, Request, Stat, WatchKind,
};

use crate::chroot::Chroot;
use crate::jute::{Malformed, Reader, frame, put_bool, put_buffer, put_count, put_string};
use crate::watches::Chunk;

/// Numbers of answers that no request of the contract asked for.
pub(crate) const NOTIFICATION_XID: i32 = -1;
pub(crate) const PING_XID: i32 = -2;
pub(crate) const SET_WATCHES_XID: i32 = -8;

const CREATE: i32 = 1;
const DELETE: i32 = 2;
const EXISTS: i32 = 3;
const GET_DATA: i32 = 4;
const SET_DATA: i32 = 5;
const PING: i32 = 11;
const GET_CHILDREN_2: i32 = 12;
const CHECK: i32 = 13;
const MULTI: i32 = 14;
const MULTI_READ: i32 = 22;
const SET_WATCHES: i32 = 101;
const SASL: i32 = 102;
const CLOSE_SESSION: i32 = -11;

const OK: i32 = 0;
const PERMISSION_READ: i32 = 1;
const PERMISSION_ALL: i32 = 31;

/// What the first frame of a connection asks for.
pub(crate) struct ConnectRequest<'a> {
    /// The greatest zxid that the session has seen: a server that is behind it refuses.
    pub(crate) last_zxid: i64,
    pub(crate) timeout_ms: i32,
    /// 0 for a new session.
    pub(crate) session_id: i64,
    pub(crate) password: &'a [u8],
}

impl ConnectRequest<'_> {
    pub(crate) fn encode(&self, out: &mut BytesMut) {
        frame(out, |out| {
            out.put_i32(0); // The version of the protocol.
            out.put_i64(self.last_zxid);
            out.put_i32(self.timeout_ms);
            out.put_i64(self.session_id);
            put_buffer(out, Some(self.password));
            put_bool(out, false); // No server that can only be read.
        });
    }
}

/// What a server grants.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct ConnectResponse {
    /// Not positive: the session has ended.
    pub(crate) timeout_ms: i32,
    pub(crate) session_id: i64,
    pub(crate) password: Bytes,
}

impl ConnectResponse {
    pub(crate) fn decode(frame: Bytes) -> Result<Self, Malformed> {
        let mut reader = Reader::new(frame);
        reader.int()?;
        Ok(Self {
            timeout_ms: reader.int()?,
            session_id: reader.long()?,
            password: reader.buffer()?.unwrap_or_default(),
        })
    }
}

/// The header of everything that a server says after that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ReplyHeader {
    pub(crate) xid: i32,
    /// Of the last change that the server had seen; not positive if it does not tell.
    pub(crate) zxid: i64,
    /// 0, or the error's code; then nothing follows.
    pub(crate) error: i32,
}

impl ReplyHeader {
    pub(crate) fn decode(reader: &mut Reader) -> Result<Self, Malformed> {
        Ok(Self {
            xid: reader.int()?,
            zxid: reader.long()?,
            error: reader.int()?,
        })
    }
}

/// A request's frame.
pub(crate) fn put_request(out: &mut BytesMut, xid: i32, request: &Request, chroot: &Chroot) {
    frame(out, |out| {
        out.put_i32(xid);
        match request {
            Request::Create {
                path,
                data,
                mode,
                acl,
            } => {
                out.put_i32(CREATE);
                put_create(out, &chroot.full(path), data.as_ref(), *mode, *acl);
            }
            Request::Delete { path, version } => {
                out.put_i32(DELETE);
                // The root stays, with a chroot too: the server refuses it, as with Java's client.
                let full = match path.as_str() {
                    "/" => path.into(),
                    path => chroot.full(path),
                };
                put_versioned(out, &full, *version);
            }
            Request::SetData {
                path,
                data,
                version,
            } => {
                out.put_i32(SET_DATA);
                put_set_data(out, &chroot.full(path), data.as_ref(), *version);
            }
            Request::Exists { path, watch } => put_read(out, EXISTS, &chroot.full(path), *watch),
            Request::GetData { path, watch } => {
                put_read(out, GET_DATA, &chroot.full(path), *watch);
            }
            Request::GetChildren { path, watch } => {
                put_read(out, GET_CHILDREN_2, &chroot.full(path), *watch);
            }
            Request::Multi(ops) => {
                out.put_i32(MULTI);
                for op in ops {
                    put_op(out, op, chroot);
                }
                put_multi_header(out, -1, true);
            }
        }
    });
}

/// One frame that reads the data of many znodes, without watches.
pub(crate) fn put_reads<'a>(
    out: &mut BytesMut,
    xid: i32,
    paths: impl Iterator<Item = &'a str>,
    chroot: &Chroot,
) {
    frame(out, |out| {
        out.put_i32(xid);
        out.put_i32(MULTI_READ);
        for path in paths {
            put_multi_header(out, GET_DATA, false);
            put_string(out, &chroot.full(path));
            put_bool(out, false);
        }
        put_multi_header(out, -1, true);
    });
}

fn put_read(out: &mut BytesMut, kind: i32, path: &str, watch: bool) {
    out.put_i32(kind);
    put_string(out, path);
    put_bool(out, watch);
}

fn put_create(
    out: &mut BytesMut,
    path: &str,
    data: Option<&Bytes>,
    mode: CreateMode,
    acl: AclPolicy,
) {
    put_string(out, path);
    put_buffer(out, data.map(AsRef::as_ref));
    put_acl(out, acl);
    out.put_i32(match mode {
        CreateMode::Persistent => 0,
        CreateMode::Ephemeral => 1,
        CreateMode::PersistentSequential => 2,
    });
}

/// The server writes who is authenticated in the place of `auth`.
fn put_acl(out: &mut BytesMut, acl: AclPolicy) {
    let (creator, world): (bool, Option<i32>) = match acl {
        AclPolicy::Open => (false, Some(PERMISSION_ALL)),
        AclPolicy::Secure => (true, Some(PERMISSION_READ)),
        AclPolicy::Sensitive => (true, None),
    };
    put_count(out, usize::from(creator) + usize::from(world.is_some()));
    if creator {
        out.put_i32(PERMISSION_ALL);
        put_string(out, "auth");
        put_string(out, "");
    }
    if let Some(permissions) = world {
        out.put_i32(permissions);
        put_string(out, "world");
        put_string(out, "anyone");
    }
}

fn put_versioned(out: &mut BytesMut, path: &str, version: i32) {
    put_string(out, path);
    out.put_i32(version);
}

fn put_set_data(out: &mut BytesMut, path: &str, data: Option<&Bytes>, version: i32) {
    put_string(out, path);
    put_buffer(out, data.map(AsRef::as_ref));
    out.put_i32(version);
}

fn put_op(out: &mut BytesMut, op: &Op, chroot: &Chroot) {
    match op {
        Op::Create {
            path,
            data,
            mode,
            acl,
        } => {
            put_multi_header(out, CREATE, false);
            put_create(out, &chroot.full(path), data.as_ref(), *mode, *acl);
        }
        Op::Delete { path, version } => {
            put_multi_header(out, DELETE, false);
            put_versioned(out, &chroot.full(path), *version);
        }
        Op::SetData {
            path,
            data,
            version,
        } => {
            put_multi_header(out, SET_DATA, false);
            put_set_data(out, &chroot.full(path), data.as_ref(), *version);
        }
        Op::Check { path, version } => {
            put_multi_header(out, CHECK, false);
            put_versioned(out, &chroot.full(path), *version);
        }
    }
}

fn put_multi_header(out: &mut BytesMut, kind: i32, is_end: bool) {
    out.put_i32(kind);
    put_bool(out, is_end);
    out.put_i32(-1);
}

/// Says that the client is there.
pub(crate) fn put_ping(out: &mut BytesMut) {
    put_bare(out, PING_XID, PING);
}

/// Ends the session.
pub(crate) fn put_close_session(out: &mut BytesMut, xid: i32) {
    put_bare(out, xid, CLOSE_SESSION);
}

fn put_bare(out: &mut BytesMut, xid: i32, kind: i32) {
    frame(out, |out| {
        out.put_i32(xid);
        out.put_i32(kind);
    });
}

/// Arms watches again; those whose znodes have changed after `relative_zxid` fire at once.
pub(crate) fn put_set_watches(
    out: &mut BytesMut,
    relative_zxid: i64,
    chunk: &Chunk<'_>,
    chroot: &Chroot,
) {
    frame(out, |out| {
        out.put_i32(SET_WATCHES_XID);
        out.put_i32(SET_WATCHES);
        out.put_i64(relative_zxid);
        for paths in [&chunk.data, &chunk.exist, &chunk.children] {
            put_count(out, paths.len());
            for path in paths {
                put_string(out, &chroot.full(path));
            }
        }
    });
}

/// One step of the authentication.
pub(crate) fn put_sasl(out: &mut BytesMut, xid: i32, token: &[u8]) {
    frame(out, |out| {
        out.put_i32(xid);
        out.put_i32(SASL);
        put_buffer(out, Some(token));
    });
}

/// What follows the header of a notification; `None` for what is no one-shot watch's.
pub(crate) fn read_notification(
    reader: &mut Reader,
) -> Result<Option<(WatchKind, String)>, Malformed> {
    let kind = match reader.int()? {
        1 => WatchKind::Created,
        2 => WatchKind::Deleted,
        3 => WatchKind::DataChanged,
        4 => WatchKind::ChildrenChanged,
        _ => return Ok(None),
    };
    reader.int()?;
    Ok(Some((kind, reader.string()?)))
}

/// What follows the header of the answer to a request that succeeded.
pub(crate) fn read_reply(
    request: &Request,
    reader: &mut Reader,
    chroot: &Chroot,
) -> Result<Reply, Malformed> {
    Ok(match request {
        Request::Create { .. } => Reply::Created {
            path: read_path(reader, chroot)?,
        },
        Request::Delete { .. } => Reply::Deleted,
        Request::SetData { .. } => Reply::Set(read_stat(reader)?),
        Request::Exists { .. } => Reply::Exists(read_stat(reader)?),
        Request::GetData { .. } => read_data(reader)?,
        Request::GetChildren { .. } => {
            let count = reader.count()?;
            let mut names = Vec::with_capacity(count);
            for _ in 0..count {
                names.push(reader.string()?);
            }
            names.sort_unstable();
            Reply::Children {
                names,
                stat: read_stat(reader)?,
            }
        }
        Request::Multi(ops) => Reply::Multi(read_multi(ops.len(), reader, chroot)?),
    })
}

/// What answers a frame of [`put_reads`]: each read has an outcome of its own.
pub(crate) fn read_joined(
    count: usize,
    reader: &mut Reader,
) -> Result<Vec<Result<Reply, Error>>, Malformed> {
    read_results(count, reader, |kind, reader| match kind {
        GET_DATA => Ok(Ok(read_data(reader)?)),
        -1 => Ok(Err(error_of(reader.int()?))),
        _ => Err(Malformed("a result of an unknown kind")),
    })
}

/// The results of a frame that carries several requests, each after a header that tells its kind.
fn read_results<T>(
    count: usize,
    reader: &mut Reader,
    mut read: impl FnMut(i32, &mut Reader) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let mut results = Vec::with_capacity(count);
    loop {
        let kind = reader.int()?;
        let is_end = reader.bool()?;
        reader.int()?;
        if is_end {
            break;
        }
        if results.len() == count {
            return Err(Malformed("more results than requests"));
        }
        results.push(read(kind, reader)?);
    }
    if results.len() < count {
        return Err(Malformed("fewer results than requests"));
    }
    Ok(results)
}

fn read_data(reader: &mut Reader) -> Result<Reply, Malformed> {
    // A copy: what came with it in one piece is not to be kept for it.
    let data = reader.buffer()?.filter(|data| !data.is_empty());
    let data = data.map(|data| Bytes::copy_from_slice(&data));
    Ok(Reply::Data {
        data,
        stat: read_stat(reader)?,
    })
}

fn read_path(reader: &mut Reader, chroot: &Chroot) -> Result<String, Malformed> {
    let full = reader.string()?;
    match chroot.strip(&full) {
        Some(path) => Ok(path.to_owned()),
        None => Err(Malformed("a path outside the chroot")),
    }
}

fn read_multi(
    count: usize,
    reader: &mut Reader,
    chroot: &Chroot,
) -> Result<Vec<OpResult>, Malformed> {
    read_results(count, reader, |kind, reader| {
        Ok(match kind {
            CREATE => OpResult::Created {
                path: read_path(reader, chroot)?,
            },
            DELETE => OpResult::Deleted,
            SET_DATA => OpResult::Set(read_stat(reader)?),
            CHECK => OpResult::Checked,
            -1 => match reader.int()? {
                OK => OpResult::RolledBack,
                code => OpResult::Failed(error_of(code)),
            },
            _ => return Err(Malformed("a result of an unknown kind")),
        })
    })
}

fn read_stat(reader: &mut Reader) -> Result<Stat, Malformed> {
    Ok(Stat {
        czxid: reader.long()?,
        mzxid: reader.long()?,
        ctime: reader.long()?,
        mtime: reader.long()?,
        version: reader.int()?,
        cversion: reader.int()?,
        // The version of the access control list, which is not part of the contract.
        ephemeral_owner: {
            reader.int()?;
            reader.long()?
        },
        data_length: reader.int()?,
        num_children: reader.int()?,
        pzxid: reader.long()?,
    })
}

/// The contract's word for ZooKeeper's code.
pub(crate) fn error_of(code: i32) -> Error {
    let known = [
        Error::SystemError,
        Error::RuntimeInconsistency,
        Error::ConnectionLoss,
        Error::BadArguments,
        Error::NoNode,
        Error::NoAuth,
        Error::BadVersion,
        Error::NoChildrenForEphemerals,
        Error::NodeExists,
        Error::NotEmpty,
        Error::SessionExpired,
        Error::InvalidAcl,
        Error::AuthFailed,
    ];
    let found = known.into_iter().find(|error| error.code() == code);
    found.unwrap_or(Error::Other(code))
}
