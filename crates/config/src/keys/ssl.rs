//! TLS on listeners.

use crate::key::Key;

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    Key::boolean("ssl.allow.dn.changes").default("false").low().unserved(),
    Key::boolean("ssl.allow.san.changes").default("false").low().unserved(),
    Key::list("ssl.cipher.suites").default("").per_broker().unserved(),
    Key::string("ssl.client.auth").default("none").one_of(&["required", "requested", "none"])
        .per_broker().unserved(),
    Key::list("ssl.enabled.protocols").default("TLSv1.2,TLSv1.3").per_broker().unserved(),
    Key::string("ssl.endpoint.identification.algorithm").default("https").low().per_broker()
        .unserved(),
    Key::class("ssl.engine.factory.class").low().per_broker().unserved(),
    Key::password("ssl.key.password").per_broker().unserved(),
    Key::string("ssl.keymanager.algorithm").default("SunX509").per_broker().unserved(),
    Key::password("ssl.keystore.certificate.chain").per_broker().unserved(),
    Key::password("ssl.keystore.key").per_broker().unserved(),
    Key::string("ssl.keystore.location").per_broker().unserved(),
    Key::password("ssl.keystore.password").per_broker().unserved(),
    Key::string("ssl.keystore.type").default("JKS").per_broker().unserved(),
    Key::string("ssl.principal.mapping.rules").default("DEFAULT").low().unserved(),
    Key::string("ssl.protocol").default("TLSv1.3").per_broker().unserved(),
    Key::string("ssl.provider").per_broker().unserved(),
    Key::string("ssl.secure.random.implementation").low().per_broker().unserved(),
    Key::string("ssl.trustmanager.algorithm").default("PKIX").per_broker().unserved(),
    Key::password("ssl.truststore.certificates").per_broker().unserved(),
    Key::string("ssl.truststore.location").per_broker().unserved(),
    Key::password("ssl.truststore.password").per_broker().unserved(),
    Key::string("ssl.truststore.type").default("JKS").per_broker().unserved(),
];
