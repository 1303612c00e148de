//! Requests and responses off a socket: an int32 length, then as many bytes.

use std::io;

use bytes::{Buf, BufMut as _, Bytes, BytesMut};
use futures_util::FutureExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The most that is reserved for a request before its bytes arrive.
const RESERVE_MAX: usize = 1 << 20;
/// Room for one read when nothing is known yet: most requests fit with their length prefix.
const READ_SIZE: usize = 8 << 10;
/// A buffer larger than this is given back when its connection goes quiet.
const KEEP_MAX: usize = 64 << 10;
/// How much is read ahead while a request is in work.
const READ_AHEAD_MAX: usize = 64 << 10;

/// The length prefix cannot be true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReceive {
    /// It is negative.
    #[error("Invalid receive (size = {0})")]
    Negative(i32),
    /// It is larger than the limit.
    #[error("Invalid receive (size = {size} larger than {max})")]
    TooLarge {
        /// The announced size.
        size: usize,
        /// The limit.
        max: usize,
    },
}

/// Bytes that have come and are not yet taken as requests.
#[derive(Debug, Default)]
pub struct FrameBuffer {
    buffer: BytesMut,
    /// How much of the first request has not come; 0 while its size is not known.
    missing: usize,
}

impl FrameBuffer {
    /// Takes the next request if all of it is there, without its length prefix.
    pub fn next_frame(&mut self, max: usize) -> Result<Option<Bytes>, InvalidReceive> {
        self.missing = 0;
        let Some(size) = self.next_size(max)? else {
            return Ok(None);
        };
        if self.buffer.len() < 4 + size {
            // Grow by what has come so far, so that a lie costs its teller as much as us.
            self.missing = 4 + size - self.buffer.len();
            self.buffer
                .reserve(self.missing.min(RESERVE_MAX.max(self.buffer.len())));
            return Ok(None);
        }
        self.buffer.advance(4);
        Ok(Some(self.buffer.split_to(size).freeze()))
    }

    /// Reads once; answers the number of bytes, 0 at the end of the stream. Dropping the future
    /// loses nothing.
    pub async fn read_from(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<usize> {
        if self.buffer.capacity() - self.buffer.len() < READ_SIZE / 2 && self.is_between_frames() {
            self.buffer.reserve(READ_SIZE);
        }
        if self.missing > READ_SIZE {
            // The beginning of the next request would have to be moved when this one is taken.
            let mut rest = (&mut self.buffer).limit(self.missing);
            let count = stream.read_buf(&mut rest).await?;
            self.missing -= count;
            return Ok(count);
        }
        stream.read_buf(&mut self.buffer).await
    }

    /// Whether another read would stay within what may be read ahead.
    pub fn has_room_ahead(&self) -> bool {
        self.buffer.len() < READ_AHEAD_MAX
    }

    /// Gives back a large buffer that holds nothing.
    pub fn release_if_empty(&mut self) {
        if self.buffer.is_empty() && self.buffer.capacity() > KEEP_MAX {
            self.buffer = BytesMut::new();
        }
    }

    /// Whether what is there is at most the beginning of a small request.
    fn is_between_frames(&self) -> bool {
        self.buffer.len() == self.buffer.capacity() || self.buffer.len() < READ_SIZE
    }

    fn next_size(&self, max: usize) -> Result<Option<usize>, InvalidReceive> {
        let Some(prefix) = self.buffer.first_chunk::<4>() else {
            return Ok(None);
        };
        let size = i32::from_be_bytes(*prefix);
        let size = usize::try_from(size).map_err(|_| InvalidReceive::Negative(size))?;
        if size > max {
            return Err(InvalidReceive::TooLarge { size, max });
        }
        Ok(Some(size))
    }
}

/// What the fuzz target does with its bytes: a stream cut into frames gives back its own bytes, in
/// order, and nothing that was not in it.
#[doc(hidden)]
pub fn fuzz(data: &[u8]) {
    const MAX: usize = 1 << 16;
    let mut frames = FrameBuffer::default();
    let mut stream = data;
    let mut taken = 0;
    loop {
        match frames.next_frame(MAX) {
            Ok(Some(frame)) => {
                taken += 4;
                assert_eq!(frame, data[taken..taken + frame.len()]);
                taken += frame.len();
            }
            Ok(None) => match frames.read_from(&mut stream).now_or_never() {
                Some(Ok(0)) | None => return,
                Some(read) => assert!(read.is_ok(), "a slice cannot fail"),
            },
            Err(_) => return,
        }
        assert!(frames.buffer.capacity() <= 2 * (data.len() + RESERVE_MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_any_bytes_are_cut_into_their_own_bytes() {
        let mut state = 1_u32;
        for round in 0..200 {
            let mut data = Vec::new();
            while data.len() < round * 100 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let size = state >> 20;
                data.extend(size.to_be_bytes());
                data.extend((0..size).map(|index| index as u8));
            }
            data.truncate(round * 100);
            fuzz(&data);
        }
    }

    fn buffer(bytes: &[u8]) -> FrameBuffer {
        FrameBuffer {
            buffer: BytesMut::from(bytes),
            missing: 0,
        }
    }

    #[test]
    fn frames_come_out_one_by_one_and_in_order() {
        let mut frames = buffer(b"\0\0\0\x02ab\0\0\0\x00\0\0\0\x01c\0\0");
        assert_eq!(frames.next_frame(10).unwrap().unwrap(), "ab");
        assert_eq!(frames.next_frame(10).unwrap().unwrap(), "");
        assert_eq!(frames.next_frame(10).unwrap().unwrap(), "c");
        assert_eq!(frames.next_frame(10), Ok(None));
    }

    #[test]
    fn a_size_that_cannot_be_true_is_refused_with_kafkas_words() {
        let error = buffer(&[0xff; 4]).next_frame(10).unwrap_err();
        assert_eq!(error.to_string(), "Invalid receive (size = -1)");
        let error = buffer(b"GET ").next_frame(104857600).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Invalid receive (size = 1195725856 larger than 104857600)"
        );
    }

    #[test]
    fn an_announced_frame_reserves_at_most_a_mebibyte() {
        let mut frames = buffer(&[6, 0, 0, 0, 1]);
        assert_eq!(frames.next_frame(104857600), Ok(None));
        assert!(frames.buffer.capacity() < 2 * RESERVE_MAX);
        assert!(frames.buffer.capacity() >= RESERVE_MAX);
    }

    #[tokio::test]
    async fn a_large_frame_is_read_whole_whatever_its_chunks() {
        let mut sent = vec![0x00, 0x30, 0x00, 0x00];
        sent.extend((0..0x0030_0000_u32).map(|index| index as u8));
        let mut stream = &sent[..];
        let mut frames = FrameBuffer::default();
        let frame = loop {
            if let Some(frame) = frames.next_frame(104857600).unwrap() {
                break frame;
            }
            assert_ne!(frames.read_from(&mut stream).await.unwrap(), 0);
        };
        assert_eq!(frame, sent[4..]);
        drop(frame);
        assert_eq!(frames.read_from(&mut stream).await.unwrap(), 0);
        frames.release_if_empty();
        assert!(frames.buffer.capacity() <= KEEP_MAX);
    }
}
