//! Who may do what: authorization, policies, delegation tokens, passwords.

use crate::key::Key;
use crate::validator::Validator;

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    Key::class("alter.config.policy.class.name").low()
        .refused("Java policies cannot run here: configurations would change unchecked"),
    Key::string("authorizer.class.name").default("").validator(Validator::NonNull).low()
        .refused("authorizers are not built yet: requests would pass unchecked"),
    Key::int("connection.failed.authentication.delay.ms").default("100").at_least(0.0).low(),
    Key::long("connections.max.reauth.ms").default("0").unserved(),
    Key::class("create.topic.policy.class.name").low()
        .refused("Java policies cannot run here: topics would be created unchecked"),
    Key::long("delegation.token.expiry.check.interval.ms").default("3600000").at_least(1.0).low()
        .unserved(),
    Key::long("delegation.token.expiry.time.ms").default("86400000").at_least(1.0).unserved(),
    Key::password("delegation.token.master.key").unserved(),
    Key::long("delegation.token.max.lifetime.ms").default("604800000").at_least(1.0).unserved(),
    Key::password("delegation.token.secret.key").unserved(),
    Key::string("password.encoder.cipher.algorithm").default("AES/CBC/PKCS5Padding").low()
        .unserved(),
    Key::int("password.encoder.iterations").default("4096").at_least(1024.0).low().unserved(),
    Key::int("password.encoder.key.length").default("128").at_least(8.0).low().unserved(),
    Key::string("password.encoder.keyfactory.algorithm").low().unserved(),
    Key::password("password.encoder.old.secret").unserved(),
    Key::password("password.encoder.secret").unserved(),
    Key::class("principal.builder.class")
        .default("org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder")
        .per_broker()
        .refused("Java classes cannot run here: principals would differ from those that access rules name"),
    Key::string("security.providers").low().unserved(),
];
