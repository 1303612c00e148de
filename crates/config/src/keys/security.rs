//! Who may do what: authorization, policies, delegation tokens, passwords.

use crate::key::Key;
use crate::validator::Validator;

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    Key::class("alter.config.policy.class.name").low()
        .refused("Java policies cannot run here: configurations would change unchecked")
        .doc("Java class that approves or rejects changes of configurations."),
    Key::string("authorizer.class.name").default("").validator(Validator::NonNull).low()
        .refused("authorizers are not built yet: requests would pass unchecked")
        .doc("Java class that decides who may do what; nobody is checked while it is empty."),
    Key::int("connection.failed.authentication.delay.ms").default("100").at_least(0.0).low()
        .doc("Pause before a connection that failed to authenticate is closed."),
    Key::long("connections.max.reauth.ms").default("0").unserved()
        .doc("Time after which a SASL connection must authenticate again; 0 is never."),
    Key::class("create.topic.policy.class.name").low()
        .refused("Java policies cannot run here: topics would be created unchecked")
        .doc("Java class that approves or rejects new topics."),
    Key::long("delegation.token.expiry.check.interval.ms").default("3600000").at_least(1.0).low()
        .unserved()
        .doc("Time between two searches for expired delegation tokens."),
    Key::long("delegation.token.expiry.time.ms").default("86400000").at_least(1.0).unserved()
        .doc("Time after which a delegation token must be renewed."),
    Key::password("delegation.token.master.key").unserved()
        .doc("Former name of delegation.token.secret.key."),
    Key::long("delegation.token.max.lifetime.ms").default("604800000").at_least(1.0).unserved()
        .doc("Time after which a delegation token cannot be renewed any more."),
    Key::password("delegation.token.secret.key").unserved()
        .doc("Secret with which delegation tokens are made and checked; the same on all brokers."),
    Key::string("password.encoder.cipher.algorithm").default("AES/CBC/PKCS5Padding").low()
        .unserved()
        .doc("Cipher of passwords that are stored as dynamic values."),
    Key::int("password.encoder.iterations").default("4096").at_least(1024.0).low().unserved()
        .doc("Rounds of deriving the key for passwords that are stored as dynamic values."),
    Key::int("password.encoder.key.length").default("128").at_least(8.0).low().unserved()
        .doc("Length in bits of the key for passwords that are stored as dynamic values."),
    Key::string("password.encoder.keyfactory.algorithm").low().unserved()
        .doc("How the key for passwords that are stored as dynamic values is derived."),
    Key::password("password.encoder.old.secret").unserved()
        .doc("Former secret, to read stored passwords once more after a change."),
    Key::password("password.encoder.secret").unserved()
        .doc("Secret that protects passwords stored as dynamic values."),
    Key::class("principal.builder.class")
        .default("org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder")
        .per_broker()
        .refused("Java classes cannot run here: principals would differ from those that access rules name")
        .doc("Java class that tells who is on a connection."),
    Key::string("security.providers").low().unserved()
        .doc("Java classes that provide security algorithms."),
];
