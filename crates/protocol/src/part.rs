//! The pieces that a response is sent as.

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;

/// One piece of a response. Pieces are sent in order; a range of a file goes from the page cache to
/// the socket without passing through the process where the transport allows it.
#[derive(Debug, Clone)]
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
}

impl Part {
    /// The piece's length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::FileRange { length, .. } => *length,
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
