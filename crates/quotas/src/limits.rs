//! Which quota holds for a client (`ClientQuotaManager.DefaultQuotaCallback`).

use std::collections::BTreeMap;

/// The name of a user or of a client id, or the default for those that have no quota of their own.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Name {
    /// `<default>`.
    Default,
    /// One, by its plain name.
    Named(String),
}

/// Whose quota is set. At least one of the two is there.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Entity {
    /// The user, unless the quota is for a client id of any user.
    pub user: Option<Name>,
    /// The client id, unless the quota is for all of a user's.
    pub client_id: Option<Name>,
}

/// Who shares one measurement: a part that is empty does not tell clients apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Tags<'a> {
    /// The user, or empty.
    pub user: &'a str,
    /// The client id, or empty.
    pub client_id: &'a str,
}

/// The kinds of entities that have ever had a quota (`QuotaTypes`). Kafka never takes one back
/// while the broker runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Levels {
    client: bool,
    user: bool,
    user_client: bool,
}

/// Quotas of one kind, by entity.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Limits {
    levels: Levels,
    /// `/config/users/U/clients/C`
    user_client: BTreeMap<String, BTreeMap<String, f64>>,
    /// `/config/users/U/clients/<default>`
    user_default_client: BTreeMap<String, f64>,
    /// `/config/users/U`
    user: BTreeMap<String, f64>,
    /// `/config/users/<default>/clients/C`
    default_user_client: BTreeMap<String, f64>,
    /// `/config/users/<default>/clients/<default>`
    default_user_default_client: Option<f64>,
    /// `/config/users/<default>`
    default_user: Option<f64>,
    /// `/config/clients/C`
    client: BTreeMap<String, f64>,
    /// `/config/clients/<default>`
    default_client: Option<f64>,
}

impl Limits {
    /// Whether a quota has ever been set, or taken back: only then anything is measured.
    pub fn is_enabled(&self) -> bool {
        self.levels != Levels::default()
    }

    /// Sets an entity's quota, or takes it back.
    pub fn set(&mut self, entity: &Entity, limit: Option<f64>) {
        match (&entity.user, &entity.client_id) {
            (Some(user), Some(client)) => {
                self.levels.user_client = true;
                self.set_user_client(user, client, limit);
            }
            (Some(user), None) => {
                self.levels.user = true;
                match user {
                    Name::Default => self.default_user = limit,
                    Name::Named(user) => put(&mut self.user, user, limit),
                }
            }
            (None, Some(client)) => {
                self.levels.client = true;
                match client {
                    Name::Default => self.default_client = limit,
                    Name::Named(client) => put(&mut self.client, client, limit),
                }
            }
            (None, None) => {}
        }
    }

    fn set_user_client(&mut self, user: &Name, client: &Name, limit: Option<f64>) {
        match (user, client) {
            (Name::Default, Name::Default) => self.default_user_default_client = limit,
            (Name::Default, Name::Named(client)) => {
                put(&mut self.default_user_client, client, limit);
            }
            (Name::Named(user), Name::Default) => put(&mut self.user_default_client, user, limit),
            (Name::Named(user), Name::Named(client)) => {
                let clients = self.user_client.entry(user.clone()).or_default();
                put(clients, client, limit);
                if clients.is_empty() {
                    self.user_client.remove(user);
                }
            }
        }
    }

    /// With whom a client is measured. Where one kind of entity has quotas, that kind decides, be
    /// there a quota for this client or not; where several have, the first that has one for it:
    ///
    /// 1. the user's client id, 2. the user's default client id, 3. the user, 4. the default
    ///    user's client id, 5. the default user's default client id, 6. the default user, 7. the
    ///    client id, or the default one.
    pub fn tags<'a>(&self, user: &'a str, client_id: &'a str) -> Tags<'a> {
        let by_client = Tags {
            user: "",
            client_id,
        };
        let by_user = Tags {
            user,
            client_id: "",
        };
        let by_both = Tags { user, client_id };
        let Levels {
            client: clients,
            user: users,
            user_client: pairs,
        } = self.levels;
        match (users, pairs) {
            (false, false) => by_client,
            (true, false) if !clients => by_user,
            (false, true) if !clients => by_both,
            _ if self.own_pair(user, client_id).is_some()
                || self.user_default_client.contains_key(user) =>
            {
                by_both
            }
            _ if self.user.contains_key(user) => by_user,
            _ if self.default_user_client.contains_key(client_id)
                || self.default_user_default_client.is_some() =>
            {
                by_both
            }
            _ if self.default_user.is_some() => by_user,
            _ => by_client,
        }
    }

    /// The quota of those who share a measurement; none is no limit. A client with an empty id has
    /// no quota by its id.
    pub fn limit(&self, tags: Tags<'_>) -> Option<f64> {
        let Tags { user, client_id } = tags;
        match (user.is_empty(), client_id.is_empty()) {
            (false, false) => self
                .own_pair(user, client_id)
                .or_else(|| self.user_default_client.get(user).copied())
                .or_else(|| self.default_user_client.get(client_id).copied())
                .or(self.default_user_default_client),
            (false, true) => self.user.get(user).copied().or(self.default_user),
            (true, false) => self.client.get(client_id).copied().or(self.default_client),
            (true, true) => None,
        }
    }

    fn own_pair(&self, user: &str, client_id: &str) -> Option<f64> {
        self.user_client.get(user)?.get(client_id).copied()
    }
}

fn put(limits: &mut BTreeMap<String, f64>, name: &str, limit: Option<f64>) {
    match limit {
        Some(limit) => limits.insert(name.to_owned(), limit),
        None => limits.remove(name),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Option<Name> {
        match text {
            "" => None,
            "<default>" => Some(Name::Default),
            text => Some(Name::Named(text.to_owned())),
        }
    }

    fn entity(user: &str, client: &str) -> Entity {
        Entity {
            user: name(user),
            client_id: name(client),
        }
    }

    /// The quota that holds for a client, and with whom it is shared.
    fn resolve(limits: &Limits, user: &str, client: &str) -> (Option<f64>, (String, String)) {
        let tags = limits.tags(user, client);
        let shared = (tags.user.to_owned(), tags.client_id.to_owned());
        (limits.limit(tags), shared)
    }

    #[test]
    fn the_most_specific_quota_holds() {
        let levels = [
            (("u", "c"), 1.0, ("u", "c")),
            (("u", "<default>"), 2.0, ("u", "c")),
            (("u", ""), 3.0, ("u", "")),
            (("<default>", "c"), 4.0, ("u", "c")),
            (("<default>", "<default>"), 5.0, ("u", "c")),
            (("<default>", ""), 6.0, ("u", "")),
            (("", "c"), 7.0, ("", "c")),
            (("", "<default>"), 8.0, ("", "c")),
        ];
        let mut limits = Limits::default();
        for ((user, client), limit, _) in levels {
            limits.set(&entity(user, client), Some(limit));
        }
        for ((user, client), limit, (shared_user, shared_client)) in levels {
            assert_eq!(
                resolve(&limits, "u", "c"),
                (
                    Some(limit),
                    (shared_user.to_owned(), shared_client.to_owned())
                ),
                "{user} {client}"
            );
            limits.set(&entity(user, client), None);
        }
        let unlimited = (None, (String::new(), "c".to_owned()));
        assert_eq!(resolve(&limits, "u", "c"), unlimited);
        assert!(limits.is_enabled(), "as in Kafka, until the next start");
    }

    #[test]
    fn where_one_kind_has_quotas_it_decides_who_is_measured_together() {
        let cases = [
            (("", "x"), ("", "c"), None),
            (("", "<default>"), ("", "c"), Some(1.0)),
            (("x", ""), ("u", ""), None),
            (("<default>", ""), ("u", ""), Some(1.0)),
            (("x", "x"), ("u", "c"), None),
            (("<default>", "<default>"), ("u", "c"), Some(1.0)),
        ];
        for ((user, client), (shared_user, shared_client), limit) in cases {
            let mut limits = Limits::default();
            assert!(!limits.is_enabled());
            limits.set(&entity(user, client), Some(1.0));
            assert_eq!(
                resolve(&limits, "u", "c"),
                (limit, (shared_user.to_owned(), shared_client.to_owned())),
                "{user} {client}"
            );
        }
    }

    #[test]
    fn an_empty_client_id_has_no_quota_of_its_own() {
        for (user, client) in [("", "<default>"), ("<default>", "<default>")] {
            let mut limits = Limits::default();
            limits.set(&entity(user, client), Some(1.0));
            assert_eq!(resolve(&limits, "u", "").0, None, "{user} {client}");
        }
        let mut limits = Limits::default();
        limits.set(&entity("<default>", ""), Some(1.0));
        assert_eq!(resolve(&limits, "u", "").0, Some(1.0));
        // Where kinds are mixed, a pair's quota is found but asked for by the user alone.
        limits.set(&entity("u", "<default>"), Some(2.0));
        assert_eq!(resolve(&limits, "u", "").0, Some(1.0));
        assert_eq!(resolve(&limits, "u", "c").0, Some(2.0));
    }
}
