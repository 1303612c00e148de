//! The pieces that a response is sent as.

use std::fmt;
use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

/// One piece of a response. Pieces are sent in order; a range of a file goes from the page cache to
/// the socket without passing through the process where the transport allows it.
#[derive(Debug)]
pub enum Part {
    /// Bytes in memory.
    Bytes(Bytes),
    /// `length` bytes of a file from `position`. The range must exist when it is sent: if the file
    /// is shorter the connection is closed, for the promised length can no longer be kept.
    FileRange {
        /// The file, kept open until the range is sent.
        file: Arc<File>,
        /// Where the range begins, in bytes.
        position: u64,
        /// How long it is, in bytes.
        length: usize,
    },
    /// Bytes that come into being while they are sent.
    Lazy {
        /// How many bytes there will be.
        length: usize,
        /// Who makes them.
        source: Box<dyn LazyBytes>,
    },
}

/// Makes the bytes of a piece as they are needed, so that never all of them are in memory.
pub trait LazyBytes: fmt::Debug + Send + Sync {
    /// The next bytes, at most the `remaining` ones and not none unless that is 0. May block.
    ///
    /// # Errors
    /// The promised length cannot be kept: the connection is closed.
    fn next_chunk(&mut self, remaining: usize) -> io::Result<Bytes>;
}

impl Part {
    /// The piece's length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::FileRange { length, .. } | Self::Lazy { length, .. } => *length,
        }
    }

    /// Whether the piece has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<Bytes> for Part {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}
