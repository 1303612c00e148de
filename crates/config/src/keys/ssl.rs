//! TLS on listeners.

use crate::key::Key;

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    Key::boolean("ssl.allow.dn.changes").default("false").low().unserved()
        .doc("Whether a new certificate may name another subject."),
    Key::boolean("ssl.allow.san.changes").default("false").low().unserved()
        .doc("Whether a new certificate may name other hosts."),
    Key::list("ssl.cipher.suites").default("").per_broker().unserved()
        .doc("Cipher suites to allow; all that are safe while empty."),
    Key::string("ssl.client.auth").default("none").one_of(&["required", "requested", "none"])
        .per_broker().unserved()
        .doc("Whether clients must, may or need not show a certificate."),
    Key::list("ssl.enabled.protocols").default("TLSv1.2,TLSv1.3").per_broker().unserved()
        .doc("Versions of TLS to allow."),
    Key::string("ssl.endpoint.identification.algorithm").default("https").low().per_broker()
        .unserved()
        .doc("How a server's name is compared with its certificate; empty is not at all."),
    Key::class("ssl.engine.factory.class").low().per_broker().unserved()
        .doc("Java class that makes TLS engines."),
    Key::password("ssl.key.password").per_broker().unserved()
        .doc("Password of the private key."),
    Key::string("ssl.keymanager.algorithm").default("SunX509").per_broker().unserved()
        .doc("Java's algorithm for choosing a key."),
    Key::password("ssl.keystore.certificate.chain").per_broker().unserved()
        .doc("Certificate and its chain in PEM."),
    Key::password("ssl.keystore.key").per_broker().unserved()
        .doc("Private key in PEM."),
    Key::string("ssl.keystore.location").per_broker().unserved()
        .doc("File with the private key and its certificate."),
    Key::password("ssl.keystore.password").per_broker().unserved()
        .doc("Password of the file with the private key and its certificate."),
    Key::string("ssl.keystore.type").default("JKS").per_broker().unserved()
        .doc("Format of the file with the private key: JKS, PKCS12 or PEM."),
    Key::string("ssl.principal.mapping.rules").default("DEFAULT").low().unserved()
        .doc("Rules that turn certificate subjects into short names."),
    Key::string("ssl.protocol").default("TLSv1.3").per_broker().unserved()
        .doc("Version of TLS to prefer."),
    Key::string("ssl.provider").per_broker().unserved()
        .doc("Java's provider of TLS."),
    Key::string("ssl.secure.random.implementation").low().per_broker().unserved()
        .doc("Java's source of random numbers for TLS."),
    Key::string("ssl.trustmanager.algorithm").default("PKIX").per_broker().unserved()
        .doc("Java's algorithm for judging certificates."),
    Key::password("ssl.truststore.certificates").per_broker().unserved()
        .doc("Trusted certificates in PEM."),
    Key::string("ssl.truststore.location").per_broker().unserved()
        .doc("File with the trusted certificates."),
    Key::password("ssl.truststore.password").per_broker().unserved()
        .doc("Password of the file with the trusted certificates."),
    Key::string("ssl.truststore.type").default("JKS").per_broker().unserved()
        .doc("Format of the file with the trusted certificates: JKS, PKCS12 or PEM."),
];
