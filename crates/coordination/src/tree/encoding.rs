//! The tree as bytes: a snapshot. Watches are not part of it; they end with their sessions'
//! connections.

use std::collections::BTreeSet;

use bytes::{Buf, BufMut, BytesMut};

use super::transaction::{DamagedTransaction, get_data, get_text, put_bytes, put_data};
use super::{Node, Tree};
use crate::paths;

/// The bytes are not those of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed snapshot: {0}")]
pub struct DamagedSnapshot(pub &'static str);

impl Tree {
    /// Appends the tree's bytes: last zxid, the open sessions, then the znodes by path, each with
    /// a 32-bit length in front.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_i64(self.last_zxid);
        out.put_u64(self.sessions.len() as u64);
        for &session in self.sessions.keys() {
            out.put_i64(session);
        }
        for (path, node) in &self.nodes {
            put_bytes(out, path.as_bytes());
            for number in [node.czxid, node.mzxid, node.pzxid, node.ctime, node.mtime] {
                out.put_i64(number);
            }
            out.put_i32(node.version);
            out.put_i32(node.children_created);
            out.put_i64(node.ephemeral_owner);
            put_data(out, node.data.as_ref());
        }
    }

    /// Reads what [`Tree::encode`] wrote; the bytes must end with it.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, DamagedSnapshot> {
        let bytes = &mut bytes;
        let mut tree = Self::new();
        tree.last_zxid = get_i64(bytes)?;
        for _ in 0..get_i64(bytes)? {
            tree.sessions.insert(get_i64(bytes)?, BTreeSet::new());
        }
        let mut has_root = false;
        while bytes.has_remaining() {
            let path = get_text(bytes)?;
            let node = Node {
                czxid: get_i64(bytes)?,
                mzxid: get_i64(bytes)?,
                pzxid: get_i64(bytes)?,
                ctime: get_i64(bytes)?,
                mtime: get_i64(bytes)?,
                version: get_i32(bytes)?,
                children_created: get_i32(bytes)?,
                ephemeral_owner: get_i64(bytes)?,
                data: get_data(bytes)?,
                children: 0,
            };
            has_root |= path == "/";
            tree.insert(path, node)?;
        }
        if has_root {
            Ok(tree)
        } else {
            Err(DamagedSnapshot("the root is missing"))
        }
    }

    /// Adds a znode of a snapshot; parents come first, as their paths sort first.
    fn insert(&mut self, path: String, node: Node) -> Result<(), DamagedSnapshot> {
        if let Some(parent) = paths::parent(&path) {
            let parent = self.nodes.get_mut(parent);
            let parent = parent.ok_or(DamagedSnapshot("a parent is missing"))?;
            parent.children += 1;
            if self.nodes.contains_key(path.as_str()) {
                return Err(DamagedSnapshot("a znode comes twice"));
            }
        } else if path != "/" {
            return Err(DamagedSnapshot("a path is not absolute"));
        } else if self.nodes.len() > 1 {
            return Err(DamagedSnapshot("the root does not come first"));
        }
        if node.ephemeral_owner != 0 {
            let session = self.sessions.get_mut(&node.ephemeral_owner);
            let session = session.ok_or(DamagedSnapshot("an owner is missing"))?;
            session.insert(path.clone());
        }
        self.nodes.insert(path.into_boxed_str(), node);
        Ok(())
    }
}

impl From<DamagedTransaction> for DamagedSnapshot {
    fn from(error: DamagedTransaction) -> Self {
        Self(error.0)
    }
}

fn get_i64(bytes: &mut &[u8]) -> Result<i64, DamagedSnapshot> {
    bytes
        .try_get_i64()
        .map_err(|_| DamagedSnapshot("shorter than its fields"))
}

fn get_i32(bytes: &mut &[u8]) -> Result<i32, DamagedSnapshot> {
    bytes
        .try_get_i32()
        .map_err(|_| DamagedSnapshot("shorter than its fields"))
}
