//! Versions of the requests to leaders: fixed by `inter.broker.protocol.version`, never negotiated.

use ottla_config::MetadataVersion;

/// What a fetcher sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct LeaderVersions {
    pub(super) fetch: i16,
    pub(super) list_offsets: i16,
    pub(super) offset_for_leader_epoch: i16,
    /// Leaders answer a fetch with a diverging epoch.
    pub(super) truncation_on_fetch: bool,
    /// Leaders can be asked where an epoch ends.
    pub(super) epoch_queries: bool,
}

impl LeaderVersions {
    pub(super) fn of(version: MetadataVersion) -> Self {
        let at_least =
            |name: &str| MetadataVersion::parse(name).is_some_and(|named| version >= named);
        let first = |table: &[(&str, i16)]| {
            let allowed = table.iter().find(|(name, _)| at_least(name));
            allowed.map_or(0, |(_, version)| *version)
        };
        Self {
            fetch: first(&[
                ("3.9-IV0", 17),
                ("3.7-IV4", 16),
                ("3.5-IV1", 15),
                ("3.5-IV0", 14),
                ("3.1-IV0", 13),
                ("2.7-IV1", 12),
                ("2.3-IV1", 11),
                ("2.1-IV2", 10),
                ("2.0-IV1", 8),
                ("1.1-IV0", 7),
                ("0.11.0-IV1", 5),
                ("0.11.0-IV0", 4),
                ("0.10.1-IV1", 3),
                ("0.10.0-IV0", 2),
                ("0.9.0", 1),
            ]),
            list_offsets: first(&[
                ("3.9-IV0", 9),
                ("3.5-IV0", 8),
                ("3.0-IV1", 7),
                ("2.8-IV0", 6),
                ("2.2-IV1", 5),
                ("2.1-IV1", 4),
                ("2.0-IV1", 3),
                ("0.11.0-IV0", 2),
                ("0.10.1-IV2", 1),
            ]),
            offset_for_leader_epoch: first(&[
                ("2.8-IV0", 4),
                ("2.3-IV1", 3),
                ("2.1-IV1", 2),
                ("2.0-IV0", 1),
            ]),
            truncation_on_fetch: at_least("2.7-IV1"),
            epoch_queries: at_least("0.11.0-IV2"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_follow_the_protocol_version() {
        let versions = |name: &str| {
            let of = LeaderVersions::of(MetadataVersion::parse(name).unwrap());
            (of.fetch, of.list_offsets, of.offset_for_leader_epoch)
        };
        assert_eq!(versions("3.9"), (17, 9, 4));
        assert_eq!(versions("3.6"), (15, 8, 4));
        assert_eq!(versions("2.6"), (11, 5, 3));
        assert_eq!(versions("0.10.2"), (3, 1, 0));
        let old = LeaderVersions::of(MetadataVersion::parse("2.6").unwrap());
        assert!(!old.truncation_on_fetch && old.epoch_queries);
    }
}
