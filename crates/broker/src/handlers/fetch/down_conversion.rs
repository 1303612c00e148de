//! Records for clients that do not know the format of the log: converted while they are sent.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use ottla_model::Offset;
use ottla_protocol::{LazyBytes, Part};
use ottla_record::{BatchSource, LazyConvertError, LazyDownConversion, Magic};
use ottla_storage::FileSlice;

use crate::metrics::counts::{BrokerCounts, TopicCounts};

/// The first version whose clients know magic 1.
const FIRST_WITH_MAGIC_1: i16 = 2;
/// The first version whose clients know magic 2.
const FIRST_WITH_MAGIC_2: i16 = 4;

/// What clients of a version of Fetch understand, if that is less than the log may hold.
pub(super) fn target(version: i16) -> Option<Magic> {
    match version {
        ..FIRST_WITH_MAGIC_1 => Some(Magic::V0),
        FIRST_WITH_MAGIC_1..FIRST_WITH_MAGIC_2 => Some(Magic::V1),
        _ => None,
    }
}

/// Converts the first batch, and the others when they are sent.
pub(super) async fn convert(
    all: Arc<BrokerCounts>,
    topic: Option<Arc<TopicCounts>>,
    records: FileSlice,
    target: Magic,
    fetch_offset: Offset,
) -> Result<Part, LazyConvertError> {
    let first = tokio::task::spawn_blocking(move || {
        LazyDownConversion::new(Range(records), target, fetch_offset)
    });
    let lazy = first
        .await
        .map_err(|error| LazyConvertError::Read(io::Error::other(error)))??;
    Ok(Part::Lazy {
        length: lazy.size(),
        source: Box::new(Converting { lazy, all, topic }),
    })
}

#[derive(Debug)]
struct Converting {
    lazy: LazyDownConversion<Range>,
    all: Arc<BrokerCounts>,
    topic: Option<Arc<TopicCounts>>,
}

impl Drop for Converting {
    fn drop(&mut self) {
        let records = self.lazy.converted_records();
        self.all.converted(self.topic.as_deref(), records);
    }
}

impl LazyBytes for Converting {
    fn next_chunk(&mut self, remaining: usize) -> io::Result<Bytes> {
        let chunk = self.lazy.next_chunk(remaining);
        chunk.map_err(|error| match error {
            LazyConvertError::Read(error) => error,
            LazyConvertError::Convert(error) => io::Error::new(io::ErrorKind::InvalidData, error),
        })
    }
}

struct Range(FileSlice);

impl BatchSource for Range {
    fn size(&self) -> usize {
        self.0.length
    }

    fn read(&self, position: usize, length: usize) -> io::Result<Bytes> {
        let slice = FileSlice {
            file: self.0.file.clone(),
            position: self.0.position + position as u64,
            length,
        };
        let bytes = slice.read()?;
        if bytes.len() < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_gets_the_newest_format_it_knows() {
        let targets: Vec<_> = (0..=17).map(target).collect();
        assert_eq!(targets[..2], [Some(Magic::V0); 2]);
        assert_eq!(targets[2..4], [Some(Magic::V1); 2]);
        assert!(targets[4..].iter().all(Option::is_none));
    }
}
