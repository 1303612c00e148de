//! The connection to ZooKeeper.

use crate::key::Key;

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    Key::string("zookeeper.clientCnxnSocket").unserved(),
    Key::string("zookeeper.connect").high(),
    Key::int("zookeeper.connection.timeout.ms").high().unserved(),
    Key::int("zookeeper.max.in.flight.requests").default("10").at_least(1.0).high().unserved(),
    Key::boolean("zookeeper.metadata.migration.enable").default("false").high().unserved(),
    Key::int("zookeeper.metadata.migration.min.batch.size").default("200").at_least(1.0)
        .internal().unserved(),
    Key::int("zookeeper.session.timeout.ms").default("18000").high().unserved(),
    Key::boolean("zookeeper.set.acl").default("false").high()
        .refused("znodes cannot be protected yet: everybody could change them"),
    Key::list("zookeeper.ssl.cipher.suites").low().unserved(),
    Key::boolean("zookeeper.ssl.client.enable").default("false").unserved(),
    Key::boolean("zookeeper.ssl.crl.enable").default("false").low().unserved(),
    Key::list("zookeeper.ssl.enabled.protocols").low().unserved(),
    Key::string("zookeeper.ssl.endpoint.identification.algorithm").default("HTTPS").low()
        .unserved(),
    Key::string("zookeeper.ssl.keystore.location").unserved(),
    Key::password("zookeeper.ssl.keystore.password").unserved(),
    Key::string("zookeeper.ssl.keystore.type").unserved(),
    Key::boolean("zookeeper.ssl.ocsp.enable").default("false").low().unserved(),
    Key::string("zookeeper.ssl.protocol").default("TLSv1.2").low().unserved(),
    Key::string("zookeeper.ssl.truststore.location").unserved(),
    Key::password("zookeeper.ssl.truststore.password").unserved(),
    Key::string("zookeeper.ssl.truststore.type").unserved(),
];
