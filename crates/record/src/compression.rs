//! The codecs of record batches: gzip, snappy in xerial framing, LZ4 frames and zstd, each written
//! so that Java clients read it, each read in bounded memory.

use std::io::{self, Read as _, Write as _};
use std::str::FromStr;

use crate::batch::Magic;

mod lz4;
mod snappy;
mod xxhash;

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

/// A codec with its level: how to compress.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// `compression.gzip.level`: 1 to 9, −1 for the default.
    Gzip {
        /// The level.
        level: i32,
    },
    /// Snappy has no levels.
    Snappy,
    /// `compression.lz4.level`: 1 to 17. The level is accepted and does not change the output:
    /// there is one LZ4 compressor here, and every level has the same format.
    Lz4 {
        /// The level.
        level: i32,
    },
    /// `compression.zstd.level`: −131072 to 22.
    Zstd {
        /// The level.
        level: i32,
    },
}

impl Compression {
    /// The codec with Kafka's default level.
    pub fn with_default_level(codec: CompressionType) -> Self {
        match codec {
            CompressionType::None => Self::None,
            CompressionType::Gzip => Self::Gzip { level: -1 },
            CompressionType::Snappy => Self::Snappy,
            CompressionType::Lz4 => Self::Lz4 { level: 9 },
            CompressionType::Zstd => Self::Zstd { level: 3 },
        }
    }

    /// The codec.
    pub fn codec(self) -> CompressionType {
        match self {
            Self::None => CompressionType::None,
            Self::Gzip { .. } => CompressionType::Gzip,
            Self::Snappy => CompressionType::Snappy,
            Self::Lz4 { .. } => CompressionType::Lz4,
            Self::Zstd { .. } => CompressionType::Zstd,
        }
    }

    /// Appends `data`, compressed as batches of format `magic` have it, to `out`. Only LZ4 depends
    /// on the format: magic 0 carries the frame checksum of the first Kafka clients.
    ///
    /// # Errors
    /// The compressor could not be set up (memory, or a level out of range).
    pub fn compress(self, magic: Magic, data: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::None => out.extend_from_slice(data),
            Self::Gzip { level } => {
                let level = u32::try_from(level).map_or(flate2::Compression::default(), |level| {
                    flate2::Compression::new(level.min(9))
                });
                let mut encoder = flate2::write::GzEncoder::new(out, level);
                encoder.write_all(data)?;
                encoder.finish()?;
            }
            Self::Snappy => snappy::compress(data, out)?,
            Self::Lz4 { .. } => lz4::compress(magic, data, out)?,
            Self::Zstd { level } => {
                let mut encoder = zstd::stream::write::Encoder::new(out, level)?;
                encoder.include_contentsize(false)?;
                encoder.set_pledged_src_size(u64::try_from(data.len()).ok())?;
                encoder.write_all(data)?;
                encoder.finish()?;
            }
        }
        Ok(())
    }
}

/// Decompresses all of `data`, from a batch of format `magic`, into at most `limit` bytes. Memory
/// grows with what was really decompressed, never by what the data claims.
///
/// # Errors
/// The data is damaged, or expands beyond `limit`.
pub fn decompress(
    codec: CompressionType,
    magic: Magic,
    data: &[u8],
    limit: usize,
) -> Result<Vec<u8>, DecompressError> {
    let mut reader = Decompressor::new(codec, magic, data, limit)?;
    let mut out = Vec::new();
    let mut filled = 0;
    loop {
        if filled == out.len() {
            let step = out.len().clamp(CHUNK_SIZE, limit.max(CHUNK_SIZE));
            // One byte above the limit, so that the reader itself reports the excess.
            let length = out.len().saturating_add(step).min(limit.saturating_add(1));
            out.reserve_exact(length - out.len());
            out.resize(length, 0);
        }
        match reader.read(&mut out[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    out.truncate(filled);
    Ok(out)
}

/// Bytes that are decompressed at a time (Kafka's size).
pub(crate) const CHUNK_SIZE: usize = 16 * 1024;

/// The largest window a zstd frame may ask for, as a power of two (libzstd's and Kafka's limit).
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// Decompresses as a stream, in bounded memory.
pub(crate) struct Decompressor<'a> {
    codec: CompressionType,
    stream: Stream<'a>,
    limit: usize,
    produced: usize,
}

enum Stream<'a> {
    Plain(&'a [u8]),
    Gzip(Box<flate2::bufread::MultiGzDecoder<&'a [u8]>>),
    Snappy(snappy::Reader<'a>),
    Lz4(lz4::Reader<'a>),
    Zstd(Box<zstd::stream::read::Decoder<'static, &'a [u8]>>),
}

impl<'a> Decompressor<'a> {
    /// A stream that fails once more than `limit` bytes come out of it.
    pub(crate) fn new(
        codec: CompressionType,
        magic: Magic,
        data: &'a [u8],
        limit: usize,
    ) -> Result<Self, DecompressError> {
        let stream = match codec {
            CompressionType::None => Stream::Plain(data),
            CompressionType::Gzip => {
                Stream::Gzip(Box::new(flate2::bufread::MultiGzDecoder::new(data)))
            }
            CompressionType::Snappy => Stream::Snappy(snappy::Reader::new(data, limit)),
            CompressionType::Lz4 => {
                Stream::Lz4(lz4::Reader::new(magic, data).map_err(|e| damaged(codec, &e))?)
            }
            CompressionType::Zstd => Stream::Zstd(Box::new(
                zstd_decoder(data, limit).map_err(|e| damaged(codec, &e))?,
            )),
        };
        Ok(Self {
            codec,
            stream,
            limit,
            produced: 0,
        })
    }

    /// Fills a part of `out`; 0 at the end of the data.
    pub(crate) fn read(&mut self, out: &mut [u8]) -> Result<usize, DecompressError> {
        let read = match &mut self.stream {
            Stream::Plain(data) => data.read(out),
            Stream::Gzip(reader) => reader.read(out),
            Stream::Snappy(reader) => reader.read(out),
            Stream::Lz4(reader) => reader.read(out),
            Stream::Zstd(reader) => reader.read(out),
        };
        let read = read.map_err(|error| match error.kind() {
            io::ErrorKind::FileTooLarge => DecompressError::TooLarge { limit: self.limit },
            _ => damaged(self.codec, &error),
        })?;
        self.produced += read;
        if self.produced > self.limit {
            return Err(DecompressError::TooLarge { limit: self.limit });
        }
        Ok(read)
    }
}

fn zstd_decoder(
    data: &[u8],
    limit: usize,
) -> io::Result<zstd::stream::read::Decoder<'static, &[u8]>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(data)?;
    // A frame of fewer bytes than the limit may still declare the window of its level, so the
    // window is bounded by both, with room for the usual levels.
    let limit_log = usize::BITS - limit.leading_zeros();
    decoder.window_log_max(limit_log.clamp(23, ZSTD_WINDOW_LOG_MAX))?;
    Ok(decoder)
}

fn damaged(codec: CompressionType, error: &io::Error) -> DecompressError {
    DecompressError::Damaged {
        codec: codec.name(),
        reason: error.to_string(),
    }
}
