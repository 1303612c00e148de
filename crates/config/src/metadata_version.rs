//! Versions of Kafka's protocol between brokers and of its metadata (`MetadataVersion`), which
//! `inter.broker.protocol.version` and `log.message.format.version` name.

use std::fmt;

/// A version, ordered by age.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MetadataVersion(usize);

/// Every version that 3.9 knows, oldest first.
#[rustfmt::skip]
const VERSIONS: [&str; 57] = [
    "0.8.0", "0.8.1", "0.8.2", "0.9.0", "0.10.0-IV0", "0.10.0-IV1", "0.10.1-IV0", "0.10.1-IV1",
    "0.10.1-IV2", "0.10.2-IV0", "0.11.0-IV0", "0.11.0-IV1", "0.11.0-IV2", "1.0-IV0", "1.1-IV0",
    "2.0-IV0", "2.0-IV1", "2.1-IV0", "2.1-IV1", "2.1-IV2", "2.2-IV0", "2.2-IV1", "2.3-IV0",
    "2.3-IV1", "2.4-IV0", "2.4-IV1", "2.5-IV0", "2.6-IV0", "2.7-IV0", "2.7-IV1", "2.7-IV2",
    "2.8-IV0", "2.8-IV1", "3.0-IV0", "3.0-IV1", "3.1-IV0", "3.2-IV0", "3.3-IV0", "3.3-IV1",
    "3.3-IV2", "3.3-IV3", "3.4-IV0", "3.5-IV0", "3.5-IV1", "3.5-IV2", "3.6-IV0", "3.6-IV1",
    "3.6-IV2", "3.7-IV0", "3.7-IV1", "3.7-IV2", "3.7-IV3", "3.7-IV4", "3.8-IV0", "3.9-IV0",
    "4.0-IV0", "4.0-IV1",
];

impl MetadataVersion {
    /// The last one that 3.9 lets production clusters use.
    pub const LATEST_PRODUCTION: Self = Self::named("3.9-IV0");
    /// Record batches of magic 1 may be written.
    pub const IBP_0_10_0_IV0: Self = Self::named("0.10.0-IV0");
    /// Record batches of magic 2 may be written.
    pub const IBP_0_11_0_IV0: Self = Self::named("0.11.0-IV0");
    /// The controller changes in-sync replicas on request (AlterPartition, KIP-497).
    pub const IBP_2_7_IV2: Self = Self::named("2.7-IV2");
    /// Topics have ids (KIP-516).
    pub const IBP_2_8_IV0: Self = Self::named("2.8-IV0");
    /// The controller allocates producer ids (AllocateProducerIds, KIP-730).
    pub const IBP_3_0_IV0: Self = Self::named("3.0-IV0");
    /// Topics' message formats are ignored: magic 2 it is (KIP-724).
    pub const IBP_3_0_IV1: Self = Self::named("3.0-IV1");

    const fn named(name: &str) -> Self {
        let mut index = 0;
        while !same(VERSIONS[index], name) {
            index += 1;
        }
        Self(index)
    }

    /// Reads a version: `3.9-IV0`, `3.9` (its last internal version) or `3.9.1` (read as `3.9`).
    pub fn parse(text: &str) -> Option<Self> {
        let segments = if text.starts_with("0.") { 3 } else { 2 };
        let name = match text.match_indices('.').nth(segments - 1) {
            Some((end, _)) => &text[..end],
            None => text,
        };
        let exact = VERSIONS.iter().position(|version| *version == name);
        let release = || {
            VERSIONS[..=Self::LATEST_PRODUCTION.0]
                .iter()
                .rposition(|version| release_of(version) == name)
        };
        exact.or_else(release).map(Self)
    }

    /// Its full name, for instance `3.9-IV0`.
    pub fn name(self) -> &'static str {
        VERSIONS[self.0]
    }

    /// The release it belongs to, for instance `3.9`.
    pub fn release(self) -> &'static str {
        release_of(self.name())
    }

    /// The newest magic of record batches that it allows: 0, 1 or 2.
    pub fn highest_record_magic(self) -> i8 {
        if self < Self::IBP_0_10_0_IV0 {
            0
        } else if self < Self::IBP_0_11_0_IV0 {
            1
        } else {
            2
        }
    }
}

impl fmt::Display for MetadataVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn release_of(version: &str) -> &str {
    version
        .split_once('-')
        .map_or(version, |(release, _)| release)
}

const fn same(left: &str, right: &str) -> bool {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    if left.len() != right.len() {
        return false;
    }
    let mut index = 0;
    while index < left.len() {
        if left[index] != right[index] {
            return false;
        }
        index += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_kafka_reads_them() {
        let check = |text: &str, expect: Option<&str>| {
            assert_eq!(
                MetadataVersion::parse(text).map(MetadataVersion::name),
                expect,
                "{text}"
            );
        };
        check("3.9-IV0", Some("3.9-IV0"));
        check("3.9", Some("3.9-IV0"));
        check("3.9.1", Some("3.9-IV0"));
        check("3.7", Some("3.7-IV4"));
        check("0.10.2", Some("0.10.2-IV0"));
        check("0.10.2.1", Some("0.10.2-IV0"));
        check("0.9.0.1", Some("0.9.0"));
        check("4.0-IV0", Some("4.0-IV0"));
        check("4.0", None);
        check("0.10", None);
        check("", None);
    }
}
