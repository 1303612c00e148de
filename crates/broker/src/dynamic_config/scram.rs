//! SCRAM credentials of users as they are stored below `/config/users` (KIP-554); nobody
//! authenticates with them yet (`ZkAdminManager`, `ScramCredentialUtils`).

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use ottla_config::Properties;
use ottla_coordination::paths::{self, ConfigEntity, EntityName};
use ottla_model::ErrorCode;
use sha2::{Digest, Sha256, Sha512};
use tracing::{info, warn};

use super::{ApiError, DynamicConfig};

const ITERATIONS_MIN: i32 = 4096;
const ITERATIONS_MAX: i32 = 16_384;

const EMPTY_NAME: &str = "Username must not be empty";

/// How a client proves that it knows its password.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum ScramMechanism {
    /// SCRAM-SHA-256.
    Sha256,
    /// SCRAM-SHA-512.
    Sha512,
}

impl ScramMechanism {
    const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// The mechanism of a number on the wire.
    pub(crate) fn from_id(id: i8) -> Option<Self> {
        match id {
            1 => Some(Self::Sha256),
            2 => Some(Self::Sha512),
            _ => None,
        }
    }

    /// Its number on the wire.
    pub(crate) fn id(self) -> i8 {
        match self {
            Self::Sha256 => 1,
            Self::Sha512 => 2,
        }
    }

    /// Its name, which is the key of the credential in the user's config.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "SCRAM-SHA-256",
            Self::Sha512 => "SCRAM-SHA-512",
        }
    }

    /// The credential as it is stored; `None` for an empty password, which Java's keys cannot be.
    fn credential(self, salt: &[u8], salted_password: &[u8], iterations: i32) -> Option<String> {
        if salted_password.is_empty() {
            return None;
        }
        let (stored_key, server_key) = match self {
            Self::Sha256 => {
                let client_key = hmac::<Hmac<Sha256>>(salted_password, b"Client Key")?;
                let server_key = hmac::<Hmac<Sha256>>(salted_password, b"Server Key")?;
                (Sha256::digest(client_key).to_vec(), server_key)
            }
            Self::Sha512 => {
                let client_key = hmac::<Hmac<Sha512>>(salted_password, b"Client Key")?;
                let server_key = hmac::<Hmac<Sha512>>(salted_password, b"Server Key")?;
                (Sha512::digest(client_key).to_vec(), server_key)
            }
        };
        Some(format!(
            "salt={},stored_key={},server_key={},iterations={iterations}",
            BASE64.encode(salt),
            BASE64.encode(stored_key),
            BASE64.encode(server_key),
        ))
    }
}

fn hmac<M: Mac + KeyInit>(key: &[u8], message: &[u8]) -> Option<Vec<u8>> {
    let mut mac = <M as KeyInit>::new_from_slice(key).ok()?;
    mac.update(message);
    Some(mac.finalize().into_bytes().to_vec())
}

/// One credential that an administrator takes away or sets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ScramAlteration {
    /// The user, as its principal is called.
    pub(crate) user: String,
    /// The mechanism; `None` if nobody knows it.
    pub(crate) mechanism: Option<ScramMechanism>,
    /// What to set; `None` takes the credential away.
    pub(crate) secret: Option<ScramSecret>,
}

/// What a client derives from a new password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ScramSecret {
    /// How often the password was hashed.
    pub(crate) iterations: i32,
    /// The salt.
    pub(crate) salt: Bytes,
    /// The password, salted and hashed.
    pub(crate) salted_password: Bytes,
}

impl std::fmt::Debug for ScramSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScramSecret")
            .field("iterations", &self.iterations)
            .finish_non_exhaustive()
    }
}

impl ScramAlteration {
    /// Why it cannot be done whatever is stored.
    fn flaw(&self) -> Option<ApiError> {
        let iterations = self.secret.as_ref().map(|secret| secret.iterations);
        let unacceptable =
            |message| Some(ApiError::new(ErrorCode::UnacceptableCredential, message));
        if self.user.is_empty() {
            return unacceptable(EMPTY_NAME);
        }
        if self.mechanism.is_none() {
            let message = "Unknown SCRAM mechanism";
            return Some(ApiError::new(ErrorCode::UnsupportedSaslMechanism, message));
        }
        match iterations? {
            ..ITERATIONS_MIN => unacceptable("Too few iterations"),
            ITERATIONS_MIN..=ITERATIONS_MAX => None,
            _ => unacceptable("Too many iterations"),
        }
    }
}

/// Mechanisms and iterations of one user's credentials.
pub(crate) type ScramInfo = Vec<(ScramMechanism, i32)>;

/// Outcomes by user, in the order in which they were found.
type Outcomes<T> = Vec<(String, Result<T, ApiError>)>;

impl DynamicConfig {
    /// The credentials of all users that have some, or of the given ones.
    pub(crate) async fn describe_scram(
        &self,
        users: &[String],
    ) -> Result<Outcomes<ScramInfo>, ApiError> {
        if users.is_empty() {
            return self.describe_all_scram().await;
        }
        let mut outcomes: Outcomes<ScramInfo> = Vec::new();
        for user in users {
            if outcomes.iter().any(|(known, _)| known == user) {
                continue;
            }
            let is_repeated = users.iter().filter(|other| *other == user).count() > 1;
            let outcome = if user.is_empty() {
                Err(ApiError::new(ErrorCode::ResourceNotFound, EMPTY_NAME))
            } else if is_repeated {
                let message = format!(
                    "Cannot describe SCRAM credentials for the same user twice in a single \
                     request: {user}"
                );
                Err(ApiError::new(ErrorCode::DuplicateResource, message))
            } else {
                self.describe_user_scram(user).await
            };
            outcomes.push((user.clone(), outcome));
        }
        Ok(outcomes)
    }

    async fn describe_all_scram(&self) -> Result<Outcomes<ScramInfo>, ApiError> {
        let mut found = BTreeMap::new();
        for name in self.children(paths::CONFIG_USERS.to_owned()).await? {
            let Some(entity) = ConfigEntity::parse(&format!("users/{name}")) else {
                continue;
            };
            let user = match &entity {
                ConfigEntity::User(EntityName::Named(user)) => user.clone(),
                _ => name,
            };
            let config = self.read(&entity).await?;
            if let Some(outcome) = credentials(&user, &config) {
                found.insert(user, outcome);
            }
        }
        Ok(found.into_iter().collect())
    }

    async fn describe_user_scram(&self, user: &str) -> Result<ScramInfo, ApiError> {
        let config = self.read(&entity(user)).await.map_err(in_kafkas_words)?;
        credentials(user, &config).unwrap_or_else(|| {
            let message =
                format!("Attempt to describe a user credential that does not exist: {user}");
            Err(ApiError::new(ErrorCode::ResourceNotFound, message))
        })
    }

    /// Sets and takes away credentials, all of a user or none; the outcome for each user. Kafka
    /// looks at what is set before what is taken away, and the order of its answers shows it.
    ///
    /// # Errors
    /// What is stored cannot be read.
    pub(crate) async fn alter_scram(
        &self,
        deletions: &[ScramAlteration],
        upsertions: &[ScramAlteration],
    ) -> Result<Outcomes<()>, ApiError> {
        let (mut outcomes, users) = sort_out(deletions, upsertions);
        let mut configs: Vec<(String, Properties)> = Vec::new();
        for user in users {
            let config = self.read(&entity(&user)).await?;
            let lacks = |deletion: &&ScramAlteration| {
                let key = deletion.mechanism.map_or("", ScramMechanism::name);
                deletion.user == user && !config.contains_key(key)
            };
            if deletions.iter().any(|deletion| lacks(&deletion)) {
                let message = "Attempt to delete a user credential that does not exist";
                let error = ApiError::new(ErrorCode::ResourceNotFound, message);
                outcomes.push((user, Err(error)));
            } else {
                configs.push((user, config));
            }
        }
        // As in Kafka, a credential that cannot be made lets all users fail.
        let all = configs.iter_mut().try_for_each(|(user, config)| {
            let alterations = deletions.iter().chain(upsertions);
            let mut own = alterations.filter(|alteration| alteration.user == *user);
            own.try_for_each(|alteration| change(config, alteration))
        });
        let mut done = Vec::new();
        for (user, config) in configs {
            let result = match &all {
                Ok(()) => self.write_user(&user, config).await,
                Err(error) => Err(error.clone()),
            };
            match result {
                Ok(()) => done.push((user, Ok(()))),
                Err(error) => {
                    info!(user, ?error, "SCRAM credentials were not altered");
                    outcomes.push((user, Err(in_kafkas_words(error))));
                }
            }
        }
        outcomes.append(&mut done);
        Ok(outcomes)
    }

    async fn write_user(&self, user: &str, config: Properties) -> Result<(), ApiError> {
        let entity = entity(user);
        super::quotas::check_stored(&entity, &config)?;
        self.write_quotas(&entity, config).await
    }
}

fn entity(user: &str) -> ConfigEntity {
    ConfigEntity::User(EntityName::Named(user.to_owned()))
}

/// The code's own words, and nothing else.
fn in_kafkas_words(error: ApiError) -> ApiError {
    ApiError::new(error.code, error.code.message())
}

/// The users whose alterations cannot be done, and those that may be altered.
fn sort_out(
    deletions: &[ScramAlteration],
    upsertions: &[ScramAlteration],
) -> (Outcomes<()>, Vec<String>) {
    let mut outcomes: Outcomes<()> = Vec::new();
    for alteration in deletions.iter().chain(upsertions) {
        let Some(flaw) = alteration.flaw() else {
            continue;
        };
        match outcomes
            .iter_mut()
            .find(|(user, _)| *user == alteration.user)
        {
            Some((_, outcome)) => *outcome = Err(flaw),
            None => outcomes.push((alteration.user.clone(), Err(flaw))),
        }
    }
    let flawed: BTreeSet<String> = outcomes.iter().map(|(user, _)| user.clone()).collect();
    let mut users: Vec<String> = Vec::new();
    let (mut pairs, mut repeated) = (BTreeSet::new(), BTreeSet::new());
    for alteration in upsertions.iter().chain(deletions) {
        let user = &alteration.user;
        if flawed.contains(user) {
            continue;
        }
        if !users.contains(user) {
            users.push(user.clone());
        }
        let is_new = pairs.insert((user.clone(), alteration.mechanism));
        if !is_new && repeated.insert(user.clone()) {
            let message = "A user credential cannot be altered twice in the same request";
            let error = ApiError::new(ErrorCode::DuplicateResource, message);
            outcomes.push((user.clone(), Err(error)));
        }
    }
    users.retain(|user| !repeated.contains(user));
    (outcomes, users)
}

fn change(config: &mut Properties, alteration: &ScramAlteration) -> Result<(), ApiError> {
    let Some(mechanism) = alteration.mechanism else {
        return Err(ApiError::unknown());
    };
    match &alteration.secret {
        None => {
            config.remove(mechanism.name());
        }
        Some(secret) => {
            let credential =
                mechanism.credential(&secret.salt, &secret.salted_password, secret.iterations);
            let credential = credential.ok_or_else(ApiError::unknown)?;
            config.insert(mechanism.name().to_owned(), credential);
        }
    }
    Ok(())
}

/// The credentials in a user's config; `None` without any.
fn credentials(user: &str, config: &Properties) -> Option<Result<ScramInfo, ApiError>> {
    let mut infos = ScramInfo::new();
    for mechanism in ScramMechanism::ALL {
        let Some(credential) = config.get(mechanism.name()) else {
            continue;
        };
        match iterations(credential) {
            Some(iterations) => infos.push((mechanism, iterations)),
            None => {
                warn!(
                    user,
                    mechanism = mechanism.name(),
                    "a stored credential is not valid"
                );
                return Some(Err(in_kafkas_words(ApiError::unknown())));
            }
        }
    }
    (!infos.is_empty()).then_some(Ok(infos))
}

/// The iterations in a stored credential; `None` if it is none.
fn iterations(credential: &str) -> Option<i32> {
    let mut fields = BTreeMap::new();
    // Java's split drops empty strings at the end.
    for field in credential.trim_end_matches(',').split(',') {
        let (key, value) = field.split_once('=').filter(|(key, _)| !key.is_empty())?;
        fields.insert(key, value);
    }
    if fields.len() != 4 {
        return None;
    }
    for key in ["salt", "stored_key", "server_key"] {
        let value = fields.get(key)?;
        BASE64.decode(value).ok()?;
    }
    fields.get("iterations")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alteration(user: &str, mechanism: i8, iterations: Option<i32>) -> ScramAlteration {
        ScramAlteration {
            user: user.to_owned(),
            mechanism: ScramMechanism::from_id(mechanism),
            secret: iterations.map(|iterations| ScramSecret {
                iterations,
                salt: Bytes::from_static(b"salt"),
                salted_password: Bytes::from_static(b"salted"),
            }),
        }
    }

    /// The example of RFC 7677: user `user`, password `pencil`.
    #[test]
    fn credentials_are_those_of_the_rfc() {
        let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let salted = BASE64
            .decode("xKSVEDI6tPlSysH6mUQZOeeOp01r6B3fcJbodRPcYV0=")
            .unwrap();
        let credential = ScramMechanism::Sha256.credential(&salt, &salted, 4096);
        assert_eq!(
            credential.as_deref(),
            Some(
                "salt=W22ZaJ0SNY7soEsUEjb6gQ==,\
                 stored_key=WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,\
                 server_key=wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=,iterations=4096"
            )
        );
        assert_eq!(credential.as_deref().and_then(iterations), Some(4096));
        let long = ScramMechanism::Sha512
            .credential(&salt, &salted, 8192)
            .unwrap();
        assert_eq!(iterations(&long), Some(8192));
        assert_eq!(ScramMechanism::Sha512.credential(&salt, b"", 8192), None);
    }

    #[test]
    fn only_whole_credentials_are_read() {
        for broken in [
            "",
            "salt=,stored_key=,server_key=",
            "salt=,stored_key=,server_key=,iterations=",
            "salt=,stored_key=,server_key=,iterations=1,more=1",
            "salt=!,stored_key=,server_key=,iterations=1",
            "=,stored_key=,server_key=,iterations=1",
        ] {
            assert_eq!(iterations(broken), None, "{broken}");
        }
        assert_eq!(
            iterations("iterations=7,salt=,stored_key=,server_key=,"),
            Some(7)
        );
    }

    #[test]
    fn what_cannot_be_done_is_told_by_user() {
        let deletions = [
            alteration("", 1, None),
            alteration("unknown", 3, None),
            alteration("twice", 1, None),
            alteration("gone", 2, None),
        ];
        let upsertions = [
            alteration("few", 1, Some(4095)),
            alteration("many", 2, Some(16_385)),
            alteration("unknown", 1, Some(1)),
            alteration("least", 1, Some(4096)),
            alteration("most", 2, Some(16_384)),
            alteration("twice", 1, Some(4096)),
            alteration("twice", 2, Some(4096)),
        ];
        let (outcomes, users) = sort_out(&deletions, &upsertions);
        let told: Vec<_> = outcomes
            .iter()
            .map(|(user, outcome)| {
                let error = outcome.as_ref().unwrap_err();
                let message = error.message.as_deref().unwrap();
                (user.as_str(), error.code.code(), message)
            })
            .collect();
        assert_eq!(
            told,
            [
                ("", 93, "Username must not be empty"),
                ("unknown", 93, "Too few iterations"),
                ("few", 93, "Too few iterations"),
                ("many", 93, "Too many iterations"),
                (
                    "twice",
                    92,
                    "A user credential cannot be altered twice in the same request"
                ),
            ]
        );
        assert_eq!(users, ["least", "most", "gone"]);
        let (outcomes, _) = sort_out(&deletions[1..2], &[]);
        let error = outcomes[0].1.clone().unwrap_err();
        assert_eq!(error.code, ErrorCode::UnsupportedSaslMechanism);
    }
}
