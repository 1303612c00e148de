//! `partition.metadata`: the topic id of a log.

use std::io;
use std::path::Path;

use ottla_model::TopicId;

use crate::directory::{Directory, invalid_data, read_file, write_file_atomically};

/// Name of the file.
pub const PARTITION_METADATA: &str = "partition.metadata";

const FILE_BYTES_MAX: u64 = 4096;

/// Reads the topic id; `None` without a file.
///
/// # Errors
/// The file cannot be read, is malformed, or holds the zero id.
pub fn read_topic_id(directory: &dyn Directory, path: &Path) -> io::Result<Option<TopicId>> {
    let content = match read_file(directory, path, FILE_BYTES_MAX) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let content = String::from_utf8_lossy(&content);
    let malformed =
        |line: &str| invalid_data(format!("Malformed line in {}: [{line}]", path.display()));
    let mut lines = content.lines();
    let version = lines.next().unwrap_or_default();
    match field(version, "version").map(str::parse::<i32>) {
        Some(Ok(version)) if version >= 0 => {}
        _ => return Err(malformed(version)),
    }
    let id = lines.next().unwrap_or_default();
    match field(id, "topic_id").map(str::parse::<TopicId>) {
        Some(Ok(topic_id)) if !topic_id.is_zero() => Ok(Some(topic_id)),
        _ => Err(malformed(id)),
    }
}

/// Writes the topic id durably. The last line has no newline, as in Kafka.
pub fn write_topic_id(directory: &dyn Directory, path: &Path, topic_id: TopicId) -> io::Result<()> {
    let content = format!("version: 0\ntopic_id: {topic_id}");
    write_file_atomically(directory, path, content.as_bytes())
}

fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (key, value) = line.split_once(':')?;
    (key.trim() == name).then(|| value.trim())
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use super::*;
    use crate::directory::{MemoryDirectory, OpenMode};

    #[test]
    fn the_bytes_are_those_of_kafka_and_bad_content_is_an_error() {
        let directory = MemoryDirectory::new();
        let path = Path::new("/partition.metadata");
        assert_eq!(read_topic_id(&directory, path).unwrap(), None);
        let topic_id: TopicId = "vpGdYTVQTK-RrrM6dJ1YPg".parse().unwrap();
        write_topic_id(&directory, path, topic_id).unwrap();
        let content = read_file(&directory, path, 100).unwrap();
        assert_eq!(content, b"version: 0\ntopic_id: vpGdYTVQTK-RrrM6dJ1YPg");
        assert_eq!(content.len(), 43);
        assert_eq!(read_topic_id(&directory, path).unwrap(), Some(topic_id));
        for bad in [
            "",
            "version: 0",
            "version: -1\ntopic_id: vpGdYTVQTK-RrrM6dJ1YPg",
            "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAA",
            "version: 0\ntopic_id: short",
        ] {
            let file = directory.open(path, OpenMode::CreateEmpty).unwrap();
            file.write_all_at(&mut [IoSlice::new(bad.as_bytes())], 0)
                .unwrap();
            assert!(read_topic_id(&directory, path).is_err(), "{bad:?}");
        }
    }
}
