//! Whose config: the part of a path below `/config`.

use ottla_model::TopicName;

use super::sanitizer::{desanitize, sanitize};

/// The literal name of the default entity; no encoded name can look like it.
pub const DEFAULT: &str = "<default>";

/// An entity, or the default for all of its type.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum EntityName {
    /// All that have no config of their own.
    Default,
    /// One, by its plain name (not encoded).
    Named(String),
}

/// Something that has a config of its own.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ConfigEntity {
    /// A topic.
    Topic(TopicName),
    /// A broker, or all.
    Broker(EntityName),
    /// A client id, or all.
    Client(EntityName),
    /// A user (quotas and SCRAM credentials), or all.
    User(EntityName),
    /// The client ids of a user.
    UserClient {
        /// The user, or all.
        user: EntityName,
        /// The client id, or all.
        client: EntityName,
    },
    /// An ip address, or all.
    Ip(EntityName),
}

impl ConfigEntity {
    /// The path below `/config`, as change notifications carry it (`entity_path`).
    pub fn entity_path(&self) -> String {
        match self {
            Self::Topic(topic) => format!("topics/{topic}"),
            Self::Broker(name) => format!("brokers/{}", plain(name)),
            Self::Client(name) => format!("clients/{}", encoded(name)),
            Self::User(name) => format!("users/{}", encoded(name)),
            Self::UserClient { user, client } => {
                format!("users/{}/clients/{}", encoded(user), encoded(client))
            }
            Self::Ip(name) => format!("ips/{}", plain(name)),
        }
    }

    /// The entity of a path below `/config`; `None` if it is none that Kafka knows.
    pub fn parse(entity_path: &str) -> Option<Self> {
        let (kind, rest) = entity_path.split_once('/')?;
        if kind == "users"
            && let Some((user, client)) = rest.split_once("/clients/")
        {
            let (user, client) = (decode(user)?, decode(client)?);
            return Some(Self::UserClient { user, client });
        }
        if rest.is_empty() || rest.contains('/') {
            return None;
        }
        match kind {
            "topics" => Some(Self::Topic(TopicName::from(rest))),
            "brokers" => Some(Self::Broker(from_plain(rest))),
            "clients" => decode(rest).map(Self::Client),
            "users" => decode(rest).map(Self::User),
            "ips" => Some(Self::Ip(from_plain(rest))),
            _ => None,
        }
    }
}

fn plain(name: &EntityName) -> &str {
    match name {
        EntityName::Default => DEFAULT,
        EntityName::Named(name) => name,
    }
}

fn encoded(name: &EntityName) -> String {
    match name {
        EntityName::Default => DEFAULT.to_owned(),
        EntityName::Named(name) => sanitize(name),
    }
}

fn from_plain(text: &str) -> EntityName {
    if text == DEFAULT {
        EntityName::Default
    } else {
        EntityName::Named(text.to_owned())
    }
}

fn decode(text: &str) -> Option<EntityName> {
    if text == DEFAULT {
        return Some(EntityName::Default);
    }
    if text.is_empty() || text.contains('/') {
        return None;
    }
    desanitize(text).map(EntityName::Named)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> EntityName {
        EntityName::Named(name.to_owned())
    }

    #[test]
    fn every_path_seen_in_a_real_cluster_round_trips() {
        use ConfigEntity as E;
        for (path, entity) in [
            ("topics/cfg", E::Topic("cfg".into())),
            ("brokers/0", E::Broker(named("0"))),
            ("brokers/<default>", E::Broker(EntityName::Default)),
            ("users/bob%20smith%2A", E::User(named("bob smith*"))),
            ("users/<default>", E::User(EntityName::Default)),
            (
                "users/bob/clients/app",
                E::UserClient {
                    user: named("bob"),
                    client: named("app"),
                },
            ),
            (
                "users/<default>/clients/<default>",
                E::UserClient {
                    user: EntityName::Default,
                    client: EntityName::Default,
                },
            ),
            ("clients/app%2F1", E::Client(named("app/1"))),
            ("clients/<default>", E::Client(EntityName::Default)),
            ("ips/127.0.0.1", E::Ip(named("127.0.0.1"))),
            ("ips/<default>", E::Ip(EntityName::Default)),
        ] {
            assert_eq!(E::parse(path), Some(entity.clone()), "{path}");
            assert_eq!(entity.entity_path(), path);
        }
    }

    #[test]
    fn unknown_paths_are_refused() {
        for path in [
            "",
            "topics",
            "topics/",
            "topics/a/b",
            "groups/g",
            "users/a/clients/",
            "users/%",
        ] {
            assert_eq!(ConfigEntity::parse(path), None, "{path}");
        }
    }
}
