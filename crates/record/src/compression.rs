//! The codecs of record batches.

use std::str::FromStr;

/// A codec, as the three low bits of a batch's attributes name it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum CompressionType {
    /// Not compressed.
    #[default]
    None,
    /// A gzip stream.
    Gzip,
    /// Snappy in xerial framing; raw snappy is read as well.
    Snappy,
    /// An LZ4 frame.
    Lz4,
    /// A zstd frame; only in magic-2 batches.
    Zstd,
}

/// Codec bits that name no codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Unknown compression type id: {0}")]
pub struct UnknownCompressionType(pub i16);

/// A name that is no codec's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Unknown compression name: {0}")]
pub struct UnknownCompressionName(pub String);

impl CompressionType {
    /// The codec with these attribute bits.
    ///
    /// # Errors
    /// No codec has them.
    pub fn from_id(id: i16) -> Result<Self, UnknownCompressionType> {
        match id {
            0 => Ok(Self::None),
            1 => Ok(Self::Gzip),
            2 => Ok(Self::Snappy),
            3 => Ok(Self::Lz4),
            4 => Ok(Self::Zstd),
            _ => Err(UnknownCompressionType(id)),
        }
    }

    /// The attribute bits.
    pub fn id(self) -> i16 {
        self as i16
    }

    /// The spelling in `compression.type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

impl FromStr for CompressionType {
    type Err = UnknownCompressionName;
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd]
            .into_iter()
            .find(|codec| codec.name() == name)
            .ok_or_else(|| UnknownCompressionName(name.to_owned()))
    }
}

/// Why compressed data could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecompressError {
    /// The data is not what its codec writes.
    #[error("{codec} data is damaged: {reason}")]
    Damaged {
        /// The codec's name.
        codec: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The data expands beyond the caller's limit, in bytes.
    #[error("compressed data expands beyond {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
}
