//! The connection to ZooKeeper.

use crate::key::Key;

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    Key::string("zookeeper.clientCnxnSocket")
        .doc("Java class of the connection to ZooKeeper; Netty's for TLS."),
    Key::string("zookeeper.connect").high()
        .doc("ZooKeeper servers as host:port pairs, with an optional path behind the last."),
    Key::int("zookeeper.connection.timeout.ms").high()
        .doc("Time to connect to ZooKeeper; the session timeout while unset."),
    Key::int("zookeeper.max.in.flight.requests").default("10").at_least(1.0).high()
        .doc("Unanswered requests to ZooKeeper at once."),
    Key::boolean("zookeeper.metadata.migration.enable").default("false").high().unserved()
        .doc("Whether metadata moves from ZooKeeper to a Raft-based controller."),
    Key::int("zookeeper.metadata.migration.min.batch.size").default("200").at_least(1.0)
        .internal().unserved()
        .doc("Least records per batch while metadata moves."),
    Key::int("zookeeper.session.timeout.ms").default("18000").high()
        .doc("Time without contact after which ZooKeeper ends a broker's session."),
    Key::boolean("zookeeper.set.acl").default("false").high()
        .doc("Whether znodes are protected so that only brokers can change them."),
    Key::list("zookeeper.ssl.cipher.suites").low()
        .doc("Cipher suites towards ZooKeeper."),
    Key::boolean("zookeeper.ssl.client.enable").default("false")
        .doc("Whether the connection to ZooKeeper uses TLS."),
    Key::boolean("zookeeper.ssl.crl.enable").default("false").low()
        .doc("Whether revocation lists are read for ZooKeeper's certificates."),
    Key::list("zookeeper.ssl.enabled.protocols").low()
        .doc("Versions of TLS to allow towards ZooKeeper."),
    Key::string("zookeeper.ssl.endpoint.identification.algorithm").default("HTTPS").low()
        .doc("How ZooKeeper's name is compared with its certificate."),
    Key::string("zookeeper.ssl.keystore.location")
        .doc("File with the key and certificate to show to ZooKeeper."),
    Key::password("zookeeper.ssl.keystore.password")
        .doc("Password of the file with the key and certificate to show to ZooKeeper."),
    Key::string("zookeeper.ssl.keystore.type")
        .doc("Format of the file with the key to show to ZooKeeper; its suffix tells while unset."),
    Key::boolean("zookeeper.ssl.ocsp.enable").default("false").low()
        .doc("Whether OCSP is asked about ZooKeeper's certificates."),
    Key::string("zookeeper.ssl.protocol").default("TLSv1.2").low()
        .doc("Version of TLS to prefer towards ZooKeeper."),
    Key::string("zookeeper.ssl.truststore.location")
        .doc("File with the certificates to trust from ZooKeeper."),
    Key::password("zookeeper.ssl.truststore.password")
        .doc("Password of the file with the certificates to trust from ZooKeeper."),
    Key::string("zookeeper.ssl.truststore.type")
        .doc("Format of the file with the certificates to trust from ZooKeeper; its suffix tells \
            while unset."),
];
