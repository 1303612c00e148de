//! Names of files and directories, as Kafka writes and reads them.

use std::fmt;

use ottla_model::{Offset, TopicPartition};

/// Suffix of a file that waits for its removal.
pub const DELETED_SUFFIX: &str = ".deleted";
/// Suffix of a file that the cleaner is writing.
pub const CLEANED_SUFFIX: &str = ".cleaned";
/// Suffix of a complete file of the cleaner that is about to replace others.
pub const SWAP_SUFFIX: &str = ".swap";
/// The longest file name that common file systems take.
const NAME_BYTES_MAX: usize = 255;
/// Bytes of a dot, a UUID without dashes and the suffix `-delete` or `-future`.
const UNIQUE_SUFFIX_BYTES: usize = 1 + 32 + 7;

/// The kinds of files that are named by an offset.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum FileKind {
    /// Record batches.
    Log,
    /// Offset index.
    OffsetIndex,
    /// Time index.
    TimeIndex,
    /// Index of aborted transactions.
    TransactionIndex,
    /// Producer state.
    Snapshot,
}

impl FileKind {
    /// The suffix with its dot.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Log => ".log",
            Self::OffsetIndex => ".index",
            Self::TimeIndex => ".timeindex",
            Self::TransactionIndex => ".txnindex",
            Self::Snapshot => ".snapshot",
        }
    }

    /// The name of the file of this kind at an offset: 20 digits and the suffix.
    pub fn file_name(self, offset: Offset) -> String {
        format!("{offset:020}{}", self.suffix())
    }

    /// Reads such a name; names with a further suffix are none.
    pub fn parse(name: &str) -> Option<(Self, Offset)> {
        let (digits, suffix) = name.split_at_checked(name.find('.')?)?;
        let kinds = [
            Self::Log,
            Self::OffsetIndex,
            Self::TimeIndex,
            Self::TransactionIndex,
            Self::Snapshot,
        ];
        let kind = kinds.into_iter().find(|kind| kind.suffix() == suffix)?;
        Some((kind, parse_offset(digits)?))
    }
}

/// The number in front of the first dot of a name, if there is one.
pub fn offset_of_name(name: &str) -> Option<Offset> {
    parse_offset(&name[..name.find('.')?])
}

fn parse_offset(digits: &str) -> Option<Offset> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { digits.parse().ok() } else { None }
}

/// What a partition's directory is, by its suffix.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum DirectoryRole {
    /// The partition's log.
    Current,
    /// A log that AlterReplicaLogDirs moves here.
    Future,
    /// A log that waits for its removal.
    Delete,
    /// A replica that is in no assignment, set aside by a migration.
    Stray,
}

/// The text is not the name of a partition's directory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "found directory {0}, which is not in the form of topic-partition or \
     topic-partition.uniqueId-delete (if marked for deletion); log directories should only contain \
     Kafka's data"
)]
pub struct MalformedDirectoryName(pub String);

/// Reads the name of a partition's directory: the last dash separates topic and partition.
///
/// # Errors
/// The name has neither the plain nor a suffixed form; Kafka does not start then.
pub fn parse_directory_name(
    name: &str,
) -> Result<(TopicPartition, DirectoryRole), MalformedDirectoryName> {
    let malformed = || MalformedDirectoryName(name.to_owned());
    let roles = [
        ("-delete", DirectoryRole::Delete),
        ("-future", DirectoryRole::Future),
        ("-stray", DirectoryRole::Stray),
    ];
    let found = roles.into_iter().find(|(suffix, _)| name.ends_with(suffix));
    let (plain, role) = match found {
        Some((suffix, role)) => {
            let (plain, unique) = name.rsplit_once('.').ok_or_else(malformed)?;
            let is_blank = name.chars().any(char::is_whitespace);
            if is_blank || unique.len() <= suffix.len() {
                return Err(malformed());
            }
            (plain, role)
        }
        None => (name, DirectoryRole::Current),
    };
    let (topic, partition) = plain.rsplit_once('-').ok_or_else(malformed)?;
    let partition: i32 = partition.parse().map_err(|_| malformed())?;
    if topic.is_empty() || partition < 0 {
        return Err(malformed());
    }
    Ok((TopicPartition::new(topic, partition), role))
}

/// 32 hexadecimal digits that make a directory's name unique.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct UniqueId(pub u128);

impl UniqueId {
    /// A random one.
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4().as_u128())
    }
}

impl fmt::Display for UniqueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The name of a log that waits for its removal; the topic is cut so that the name stays legal.
pub fn delete_directory_name(partition: &TopicPartition, unique: UniqueId) -> String {
    let number = partition.partition.to_string();
    let room = NAME_BYTES_MAX - UNIQUE_SUFFIX_BYTES - 1 - number.len();
    let topic = partition.topic.as_str();
    let mut end = topic.len().min(room);
    while !topic.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}-{number}.{unique}-delete", &topic[..end])
}

/// The name of a log that is moving here. Not cut: see [`future_name_is_too_long`].
pub fn future_directory_name(partition: &TopicPartition, unique: UniqueId) -> String {
    format!("{partition}.{unique}-future")
}

/// Whether a moving log's directory name would be too long (INVALID_TOPIC_EXCEPTION).
pub fn future_name_is_too_long(partition: &TopicPartition) -> bool {
    partition.to_string().len() + UNIQUE_SUFFIX_BYTES > NAME_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_have_twenty_digits_and_are_read_back() {
        assert_eq!(FileKind::Log.file_name(170), "00000000000000000170.log");
        assert_eq!(
            FileKind::parse("00000000000000000170.timeindex"),
            Some((FileKind::TimeIndex, 170))
        );
        assert_eq!(FileKind::parse("00000000000000000170.log.swap"), None);
        assert_eq!(FileKind::parse("x.log"), None);
        assert_eq!(FileKind::parse("99999999999999999999.log"), None);
        assert_eq!(offset_of_name("00000000000000000170.log.swap"), Some(170));
    }

    #[test]
    fn directory_names_follow_kafka() {
        let parsed = |name: &str| {
            parse_directory_name(name)
                .ok()
                .map(|(partition, role)| (partition.to_string(), role))
        };
        let id = "0123456789abcdef0123456789abcdef";
        for (name, expected) in [
            ("a-b-3".to_owned(), Some(("a-b-3", DirectoryRole::Current))),
            (
                format!("a.b-3.{id}-delete"),
                Some(("a.b-3", DirectoryRole::Delete)),
            ),
            (
                format!("a-3.{id}-future"),
                Some(("a-3", DirectoryRole::Future)),
            ),
            (
                format!("a-3.{id}-stray"),
                Some(("a-3", DirectoryRole::Stray)),
            ),
            ("lost+found".to_owned(), None),
            ("a".to_owned(), None),
            ("-1".to_owned(), None),
            ("a-x".to_owned(), None),
            ("a-delete".to_owned(), None),
        ] {
            let expected = expected.map(|(name, role)| (name.to_owned(), role));
            assert_eq!(parsed(&name), expected, "{name}");
        }
    }

    #[test]
    fn a_long_topic_is_cut_to_a_legal_delete_name() {
        let partition = TopicPartition::new("t".repeat(249), 12);
        let name = delete_directory_name(&partition, UniqueId(7));
        assert_eq!(name.len(), 255);
        assert_eq!(
            parse_directory_name(&name).unwrap().1,
            DirectoryRole::Delete
        );
        assert!(future_name_is_too_long(&partition));
    }
}
