//! Snappy in the framing of xerial's snappy-java, which Kafka's clients write; raw snappy blocks,
//! which some other clients write, are read as well.

use std::io;

/// `82 "SNAPPY" 00`.
const STREAM_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
/// The magic, then version 1 and lowest compatible version 1.
const HEADER: [u8; 16] = [
    0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1,
];
const BLOCK_SIZE: usize = 32 * 1024;
/// A snappy block cannot expand by more than this factor (a 3-byte copy makes 64 bytes), so what
/// a block claims to hold is checked before memory is taken for it.
const EXPANSION_MAX: usize = 32;

pub(super) fn compress(data: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    out.extend_from_slice(&HEADER);
    let mut encoder = snap::raw::Encoder::new();
    let mut buffer = vec![0; snap::raw::max_compress_len(BLOCK_SIZE.min(data.len()))];
    for block in data.chunks(BLOCK_SIZE) {
        let length = encoder.compress(block, &mut buffer)?;
        out.extend_from_slice(&(length as u32).to_be_bytes());
        out.extend_from_slice(&buffer[..length]);
    }
    Ok(())
}

/// Reads xerial frames, or one raw block when the data does not start like one.
pub(super) struct Reader<'a> {
    input: &'a [u8],
    framed: bool,
    limit: usize,
    block: Vec<u8>,
    position: usize,
}

impl<'a> Reader<'a> {
    /// A reader whose single blocks may hold at most `limit` bytes.
    pub(super) fn new(input: &'a [u8], limit: usize) -> Self {
        let framed = input.len() >= HEADER.len() && input.starts_with(&STREAM_MAGIC);
        Self {
            input: if framed {
                &input[HEADER.len()..]
            } else {
                input
            },
            framed,
            limit,
            block: Vec::new(),
            position: 0,
        }
    }

    pub(super) fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.position == self.block.len() && !self.input.is_empty() {
            self.read_block()?;
        }
        let available = &self.block[self.position..];
        let length = available.len().min(out.len());
        out[..length].copy_from_slice(&available[..length]);
        self.position += length;
        Ok(length)
    }

    fn read_block(&mut self) -> io::Result<()> {
        let data = if self.framed {
            match self.next_frame()? {
                Some(data) => data,
                None => return Ok(()),
            }
        } else {
            std::mem::take(&mut self.input)
        };
        let length = snap::raw::decompress_len(data)?;
        if length > data.len().saturating_mul(EXPANSION_MAX) {
            return Err(error("block claims more than snappy can hold"));
        }
        if length > self.limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.block.resize(length, 0);
        self.position = 0;
        snap::raw::Decoder::new().decompress(data, &mut self.block)?;
        Ok(())
    }

    /// The next block; `None` after the header of a stream that was appended to the first one.
    fn next_frame(&mut self) -> io::Result<Option<&'a [u8]>> {
        if self.input.starts_with(&STREAM_MAGIC) {
            self.input = self
                .input
                .get(HEADER.len()..)
                .ok_or_else(|| error("stream header is cut"))?;
            return Ok(None);
        }
        let (length, rest) = self
            .input
            .split_first_chunk::<4>()
            .ok_or_else(|| error("block length is cut"))?;
        let (data, rest) = rest
            .split_at_checked(u32::from_be_bytes(*length) as usize)
            .ok_or_else(|| error("block is cut"))?;
        self.input = rest;
        Ok(Some(data))
    }
}

fn error(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}
