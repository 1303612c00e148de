//! The APIs of a 3.9 broker in ZooKeeper mode: names, versions, and which of them are served.

use crate::api_list::APIS;

/// One API, as Kafka's message schema describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Api {
    /// The number on the wire.
    pub key: i16,
    /// Kafka's name of the API, for instance `ListOffsets`; the request is `ListOffsetsRequest`.
    pub name: &'static str,
    /// The lowest version that 3.9 advertises.
    pub min_version: i16,
    /// The highest version that 3.9 advertises.
    pub max_version: i16,
    /// The first version with compact lengths and tagged fields (KIP-482), if any has them.
    pub first_flexible_version: Option<i16>,
}

/// The numbers of the APIs that code speaks about.
#[allow(missing_docs, reason = "the names are Kafka's")]
pub mod keys {
    pub const PRODUCE: i16 = 0;
    pub const FETCH: i16 = 1;
    pub const METADATA: i16 = 3;
    pub const CONTROLLED_SHUTDOWN: i16 = 7;
    pub const JOIN_GROUP: i16 = 11;
    pub const SYNC_GROUP: i16 = 14;
    pub const SASL_HANDSHAKE: i16 = 17;
    pub const API_VERSIONS: i16 = 18;
    pub const CREATE_TOPICS: i16 = 19;
    pub const SASL_AUTHENTICATE: i16 = 36;
}

impl Api {
    /// Every API of a ZooKeeper-mode broker, ascending by key.
    pub fn all() -> &'static [Api] {
        APIS
    }

    /// The API of a key.
    pub fn find(key: i16) -> Option<&'static Api> {
        Some(&APIS[Self::place_of(key)?])
    }

    /// Where the API of a key stands in [`Api::all`].
    #[inline]
    pub fn place_of(key: i16) -> Option<usize> {
        // The hot ones, which are the oldest, stand at the place of their key.
        let own = usize::try_from(key).ok()?;
        if APIS.get(own).is_some_and(|api| api.key == key) {
            return Some(own);
        }
        APIS.binary_search_by_key(&key, |api| api.key).ok()
    }

    /// The name in capitals, as Kafka's `ApiKeys` prints it: `LIST_OFFSETS`.
    pub fn enum_name(&self) -> String {
        let mut text = String::with_capacity(self.name.len() + 6);
        for letter in self.name.chars() {
            if letter.is_ascii_uppercase() && !text.is_empty() {
                text.push('_');
            }
            text.push(letter.to_ascii_uppercase());
        }
        text
    }

    /// Whether a version lies in the advertised range.
    pub fn has_version(&self, version: i16) -> bool {
        (self.min_version..=self.max_version).contains(&version)
    }

    /// Whether a version uses compact lengths and tagged fields.
    pub fn is_flexible(&self, version: i16) -> bool {
        self.first_flexible_version
            .is_some_and(|first| version >= first)
    }

    /// The version of the header before a request: 2 for flexible versions, else 1; 0 (no client
    /// id) only for ControlledShutdown 0, which old brokers send.
    pub fn request_header_version(&self, version: i16) -> i16 {
        if self.is_flexible(version) {
            2
        } else if self.key == keys::CONTROLLED_SHUTDOWN && version == 0 {
            0
        } else {
            1
        }
    }

    /// The version of the header before a response: 1 for flexible versions, else 0; always 0 for
    /// ApiVersions, whose answer a client must read before it knows what the broker speaks.
    pub fn response_header_version(&self, version: i16) -> i16 {
        i16::from(self.is_flexible(version) && self.key != keys::API_VERSIONS)
    }
}

/// Which APIs this broker serves. Only these are advertised; a request for another closes its
/// connection, as a key outside Kafka's own scope does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiTable {
    served: Vec<bool>,
}

impl ApiTable {
    /// A table that serves the APIs of these keys; keys that 3.9 does not know are ignored.
    pub fn new(served: &[i16]) -> Self {
        Self {
            served: APIS.iter().map(|api| served.contains(&api.key)).collect(),
        }
    }

    /// A table that serves every API of a ZooKeeper-mode broker.
    pub fn everything() -> Self {
        Self {
            served: vec![true; APIS.len()],
        }
    }

    /// The served API of a key.
    pub fn served(&self, key: i16) -> Option<&'static Api> {
        let place = Api::place_of(key)?;
        self.served[place].then_some(&APIS[place])
    }

    /// The APIs to advertise, ascending by key.
    pub fn advertised(&self) -> impl Iterator<Item = &'static Api> {
        let flags = self.served.iter();
        flags
            .zip(APIS)
            .filter_map(|(served, api)| served.then_some(api))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_versions_follow_flexibility_with_kafkas_two_exceptions() {
        let api = |key| Api::find(key).unwrap();
        assert_eq!(api(keys::PRODUCE).request_header_version(8), 1);
        assert_eq!(api(keys::PRODUCE).request_header_version(9), 2);
        assert_eq!(api(keys::PRODUCE).response_header_version(8), 0);
        assert_eq!(api(keys::PRODUCE).response_header_version(9), 1);
        assert_eq!(api(keys::API_VERSIONS).request_header_version(3), 2);
        assert_eq!(api(keys::API_VERSIONS).response_header_version(4), 0);
        assert_eq!(api(keys::CONTROLLED_SHUTDOWN).request_header_version(0), 0);
        assert_eq!(api(keys::CONTROLLED_SHUTDOWN).request_header_version(1), 1);
        assert_eq!(api(keys::SASL_HANDSHAKE).request_header_version(1), 1);
    }

    #[test]
    fn the_list_is_what_a_zookeeper_broker_of_3_9_advertises() {
        assert_eq!(APIS.len(), 62);
        assert!(APIS.is_sorted_by_key(|api| api.key));
        for absent in [52, 53, 54, 55, 59, 62, 63, 64, 70, 71, 72, 74, 75, 80, 87] {
            assert_eq!(Api::find(absent), None);
        }
        let range = |key| Api::find(key).map(|api| (api.min_version, api.max_version));
        assert_eq!(range(keys::PRODUCE), Some((0, 11)));
        assert_eq!(range(keys::FETCH), Some((0, 17)));
        assert_eq!(range(2), Some((0, 9)));
        assert_eq!(range(keys::METADATA), Some((0, 12)));
        assert_eq!(range(keys::API_VERSIONS), Some((0, 4)));
    }

    #[test]
    fn every_key_is_found_at_its_place() {
        for (place, api) in APIS.iter().enumerate() {
            assert_eq!(Api::place_of(api.key), Some(place));
        }
        for unknown in [-1, 52, 999, i16::MIN, i16::MAX] {
            assert_eq!(Api::place_of(unknown), None);
        }
    }

    #[test]
    fn enum_names_are_kafkas() {
        let name = |key| Api::find(key).unwrap().enum_name();
        assert_eq!(name(2), "LIST_OFFSETS");
        assert_eq!(name(4), "LEADER_AND_ISR");
        assert_eq!(name(23), "OFFSET_FOR_LEADER_EPOCH");
    }

    #[test]
    fn only_served_apis_are_found_and_advertised() {
        let table = ApiTable::new(&[keys::FETCH, keys::API_VERSIONS, 999]);
        let advertised: Vec<_> = table.advertised().map(|api| api.key).collect();
        assert_eq!(advertised, [1, 18]);
        assert!(table.served(keys::FETCH).is_some());
        assert!(table.served(keys::PRODUCE).is_none());
        assert!(table.served(-1).is_none());
    }
}
