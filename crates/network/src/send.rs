//! Frames onto a socket: memory by vectored sends, file ranges by sendfile, lazy pieces a chunk at
//! a time.

use std::fs::File;
use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use ottla_protocol::{LazyBytes, Part};
use rustix::io::ReadWriteFlags;
use rustix::net::{SendAncillaryBuffer, SendFlags};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// The most pieces of memory in one system call.
const SLICES_MAX: usize = 64;
/// The most of a file that is sent, or brought into the page cache, in one go.
const RANGE_MAX: usize = 1 << 20;

/// Sends one frame: the length prefix and the parts in order. A future that is dropped before its
/// end leaves half a frame behind: the connection must be closed then.
pub async fn send_parts(stream: &TcpStream, parts: Vec<Part>) -> io::Result<()> {
    let size: usize = parts.iter().map(Part::len).sum();
    let prefix = i32::try_from(size)
        .map_err(|_| io::Error::other(format!("frame of {size} bytes is too large")))?;
    let mut pending = vec![Bytes::copy_from_slice(&prefix.to_be_bytes())];
    for part in parts {
        match part {
            Part::Bytes(bytes) if bytes.is_empty() => {}
            Part::Bytes(bytes) => pending.push(bytes),
            Part::FileRange { length: 0, .. } => {}
            Part::FileRange {
                file,
                position,
                length,
            } => {
                // More is to follow: let the kernel fill packets instead of sending headers alone.
                send_bytes(stream, &mut pending, SendFlags::MORE).await?;
                send_range(stream, &file, position, length).await?;
            }
            Part::Lazy { length, source } => {
                send_bytes(stream, &mut pending, SendFlags::MORE).await?;
                send_lazy(stream, source, length).await?;
            }
        }
    }
    send_bytes(stream, &mut pending, SendFlags::empty()).await
}

async fn send_bytes(
    stream: &TcpStream,
    pending: &mut Vec<Bytes>,
    flags: SendFlags,
) -> io::Result<()> {
    let mut first = 0;
    while first < pending.len() {
        let sent = stream
            .async_io(Interest::WRITABLE, || {
                let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                let mut count = 0;
                for (slice, bytes) in slices.iter_mut().zip(&pending[first..]) {
                    *slice = IoSlice::new(bytes);
                    count += 1;
                }
                let sent = rustix::net::sendmsg(
                    stream,
                    &slices[..count],
                    &mut SendAncillaryBuffer::default(),
                    flags | SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
                );
                Ok(sent?)
            })
            .await?;
        let mut left = sent;
        while left > 0 {
            let bytes = &mut pending[first];
            let taken = left.min(bytes.len());
            bytes.advance(taken);
            left -= taken;
            if bytes.is_empty() {
                first += 1;
            }
        }
    }
    pending.clear();
    Ok(())
}

async fn send_range(
    stream: &TcpStream,
    file: &Arc<File>,
    position: u64,
    length: usize,
) -> io::Result<()> {
    let end = position + length as u64;
    let mut position = position;
    let mut warm_until = position;
    while position < end {
        let chunk = RANGE_MAX.min((end - position) as usize);
        if position >= warm_until {
            warm(file, position, chunk).await?;
            warm_until = position + chunk as u64;
        }
        let chunk = chunk.min((warm_until - position) as usize);
        let sent = stream
            .async_io(Interest::WRITABLE, || {
                let mut offset = position;
                Ok(rustix::fs::sendfile(
                    stream,
                    file.as_ref(),
                    Some(&mut offset),
                    chunk,
                )?)
            })
            .await?;
        if sent == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the file ends before the range that was promised",
            ));
        }
        position += sent as u64;
    }
    Ok(())
}

/// Makes the next bytes off this thread, for that may take time and read files, and only when the
/// ones before have left.
async fn send_lazy(
    stream: &TcpStream,
    mut source: Box<dyn LazyBytes>,
    length: usize,
) -> io::Result<()> {
    let mut remaining = length;
    while remaining > 0 {
        let making = tokio::task::spawn_blocking(move || {
            let chunk = source.next_chunk(remaining);
            chunk.map(|chunk| (chunk, source))
        });
        let chunk;
        (chunk, source) = making.await.map_err(io::Error::other)??;
        if chunk.is_empty() || chunk.len() > remaining {
            return Err(io::Error::other(
                "a piece is not of the length that was promised",
            ));
        }
        remaining -= chunk.len();
        send_bytes(stream, &mut vec![chunk], SendFlags::empty()).await?;
    }
    Ok(())
}

/// Brings a range into the page cache off this thread, unless it seems to be there: sendfile
/// blocks on a disk.
async fn warm(file: &Arc<File>, position: u64, length: usize) -> io::Result<()> {
    let last = position + length as u64 - 1;
    if is_cached(file, position) && (length <= 4096 || is_cached(file, last)) {
        return Ok(());
    }
    let file = Arc::clone(file);
    let read = tokio::task::spawn_blocking(move || {
        let mut scratch = vec![0; 64 << 10];
        let mut position = position;
        let end = position + length as u64;
        while position < end {
            let wanted = scratch.len().min((end - position) as usize);
            match rustix::io::pread(&*file, &mut scratch[..wanted], position) {
                Ok(0) => break,
                Ok(count) => position += count as u64,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(io::Error::from(error)),
            }
        }
        Ok(())
    });
    read.await.map_err(io::Error::other)?
}

/// Whether a byte can be read without waiting. Where that cannot be asked, it is taken for granted.
fn is_cached(file: &File, position: u64) -> bool {
    let mut byte = [0];
    let result = rustix::io::preadv2(
        file,
        &mut [io::IoSliceMut::new(&mut byte)],
        position,
        ReadWriteFlags::NOWAIT,
    );
    !matches!(result, Err(rustix::io::Errno::AGAIN))
}
