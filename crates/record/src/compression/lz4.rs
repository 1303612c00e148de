//! LZ4 frames as Kafka writes and reads them (Lz4BlockOutputStream, Lz4BlockInputStream):
//! independent blocks, written with 64 KiB, without checksums and without the content size.

use std::io;

use super::xxhash::xxh32;
use crate::batch::Magic;

const FRAME_MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
/// Version 1, independent blocks.
const FLAGS: u8 = 0x60;
/// Blocks of 64 KiB.
const BLOCK_DESCRIPTOR: u8 = 0x40;
const BLOCK_SIZE: usize = 64 * 1024;
const UNCOMPRESSED_BLOCK: u32 = 0x8000_0000;

const BLOCK_CHECKSUM_FLAG: u8 = 0x10;
const CONTENT_SIZE_FLAG: u8 = 0x08;
const CONTENT_CHECKSUM_FLAG: u8 = 0x04;

/// LZ4 cannot expand a block by more than this factor, so a small block needs a small buffer.
const EXPANSION_MAX: usize = 255;

pub(super) fn compress(magic: Magic, data: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let frame_start = out.len();
    out.extend_from_slice(&FRAME_MAGIC);
    out.extend_from_slice(&[FLAGS, BLOCK_DESCRIPTOR]);
    // The first clients took the hash over the frame's magic number too, and kept doing so for
    // magic 0 (KAFKA-3160).
    let hashed_from = match magic {
        Magic::V0 => frame_start,
        Magic::V1 | Magic::V2 => frame_start + FRAME_MAGIC.len(),
    };
    out.push((xxh32(&out[hashed_from..]) >> 8) as u8);
    let mut buffer = vec![0; lz4_flex::block::get_maximum_output_size(BLOCK_SIZE.min(data.len()))];
    for block in data.chunks(BLOCK_SIZE) {
        let length =
            lz4_flex::block::compress_into(block, &mut buffer).map_err(io::Error::other)?;
        if length < block.len() {
            out.extend_from_slice(&(length as u32).to_le_bytes());
            out.extend_from_slice(&buffer[..length]);
        } else {
            out.extend_from_slice(&(block.len() as u32 | UNCOMPRESSED_BLOCK).to_le_bytes());
            out.extend_from_slice(block);
        }
    }
    out.extend_from_slice(&[0; 4]);
    Ok(())
}

/// Reads one frame; what follows its end mark is ignored, as in Kafka.
pub(super) struct Reader<'a> {
    input: &'a [u8],
    flags: u8,
    block_size_max: usize,
    block: Vec<u8>,
    position: usize,
    finished: bool,
}

impl<'a> Reader<'a> {
    /// Reads the frame's header. Its checksum is not looked at for magic 0.
    pub(super) fn new(magic: Magic, input: &'a [u8]) -> io::Result<Self> {
        let mut reader = Self {
            input,
            flags: 0,
            block_size_max: 0,
            block: Vec::new(),
            position: 0,
            finished: false,
        };
        reader.read_header(magic)?;
        Ok(reader)
    }

    /// Where all of a block has room in `out`, it goes there at once.
    pub(super) fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.position == self.block.len() && !self.finished {
            let Some(block) = self.next_block()? else {
                break;
            };
            let room = block.decompressed_size_max(self.block_size_max);
            if let Some(out) = out.get_mut(..room) {
                match block.decompress_into(out)? {
                    0 => continue,
                    length => return Ok(length),
                }
            }
            self.block.resize(room, 0);
            let length = block.decompress_into(&mut self.block)?;
            self.block.truncate(length);
            self.position = 0;
        }
        let available = &self.block[self.position..];
        let length = available.len().min(out.len());
        out[..length].copy_from_slice(&available[..length]);
        self.position += length;
        Ok(length)
    }

    fn read_header(&mut self, magic: Magic) -> io::Result<()> {
        if self.take(FRAME_MAGIC.len())? != FRAME_MAGIC {
            return Err(error(
                "Stream unsupported (invalid magic bytes or not compressed)",
            ));
        }
        let descriptor = self.input;
        let &[flags, block_descriptor] = self.take(2)? else {
            return Err(premature_end());
        };
        if flags >> 6 != 1 || flags & 0x03 != 0 {
            return Err(error("Unsupported LZ4 frame version or reserved bits"));
        }
        if flags & 0x20 == 0 {
            return Err(error("Dependent block stream is unsupported"));
        }
        self.flags = flags;
        self.block_size_max = match block_descriptor {
            0x40 => 64 << 10,
            0x50 => 256 << 10,
            0x60 => 1 << 20,
            0x70 => 4 << 20,
            _ => return Err(error("Invalid LZ4 block size")),
        };
        if flags & CONTENT_SIZE_FLAG != 0 {
            self.take(8)?;
        }
        let hashed = &descriptor[..descriptor.len() - self.input.len()];
        let stored = self.take(1)?;
        if magic != Magic::V0 && stored != [(xxh32(hashed) >> 8) as u8] {
            return Err(error("Stream frame descriptor corrupted"));
        }
        Ok(())
    }

    /// The next block, or `None` at the end mark.
    fn next_block(&mut self) -> io::Result<Option<Block<'a>>> {
        let field = self.take_u32()?;
        if field == 0 {
            if self.flags & CONTENT_CHECKSUM_FLAG != 0 {
                // Kafka skips it unchecked: the batch has a checksum of its own.
                self.take(4)?;
            }
            self.finished = true;
            return Ok(None);
        }
        let length = (field & !UNCOMPRESSED_BLOCK) as usize;
        if length > self.block_size_max {
            return Err(error(&format!(
                "Block size {length} exceeded max: {}",
                self.block_size_max
            )));
        }
        let data = self.take(length)?;
        if self.flags & BLOCK_CHECKSUM_FLAG != 0 && self.take_u32()? != xxh32(data) {
            return Err(error("Block checksum mismatch"));
        }
        Ok(Some(Block {
            data,
            is_compressed: field & UNCOMPRESSED_BLOCK == 0,
        }))
    }

    fn take(&mut self, length: usize) -> io::Result<&'a [u8]> {
        let (taken, rest) = self
            .input
            .split_at_checked(length)
            .ok_or_else(premature_end)?;
        self.input = rest;
        Ok(taken)
    }

    fn take_u32(&mut self) -> io::Result<u32> {
        let bytes = self.take(4)?;
        Ok(bytes
            .iter()
            .rev()
            .fold(0, |value, &byte| value << 8 | u32::from(byte)))
    }
}

/// One block as it stands in its frame, at most as large as the frame's blocks may be.
struct Block<'a> {
    data: &'a [u8],
    is_compressed: bool,
}

impl Block<'_> {
    /// What it can become.
    fn decompressed_size_max(&self, block_size_max: usize) -> usize {
        if self.is_compressed {
            block_size_max.min(self.data.len() * EXPANSION_MAX)
        } else {
            self.data.len()
        }
    }

    /// Fills the beginning of `out`, which must have room.
    fn decompress_into(&self, out: &mut [u8]) -> io::Result<usize> {
        if self.is_compressed {
            return lz4_flex::block::decompress_into(self.data, out).map_err(io::Error::other);
        }
        let length = self.data.len();
        out[..length].copy_from_slice(self.data);
        Ok(length)
    }
}

fn premature_end() -> io::Error {
    error("Stream ended prematurely")
}

fn error(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}
