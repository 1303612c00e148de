//! Listeners, connections and the threads that serve them.

use crate::key::Key;

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    Key::string("advertised.listeners").high().per_broker(),
    Key::long("connections.max.idle.ms").default("600000"),
    Key::string("control.plane.listener.name").high().unserved(),
    Key::string("inter.broker.listener.name"),
    Key::string("listener.security.protocol.map")
        .default("SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT")
        .low().per_broker(),
    Key::string("listeners").default("PLAINTEXT://:9092").high().per_broker(),
    Key::int("max.connection.creation.rate").default("2147483647").at_least(0.0).cluster_wide()
        .unserved(),
    Key::int("max.connections").default("2147483647").at_least(0.0).cluster_wide(),
    Key::int("max.connections.per.ip").default("2147483647").at_least(0.0).cluster_wide(),
    Key::string("max.connections.per.ip.overrides").default("").cluster_wide(),
    Key::int("max.request.partition.size.limit").default("2000").at_least(1.0).unserved(),
    Key::int("num.io.threads").default("8").at_least(1.0).high().cluster_wide().unserved(),
    Key::int("num.network.threads").default("3").at_least(1.0).high().cluster_wide(),
    Key::long("queued.max.request.bytes").default("-1").unserved(),
    Key::int("queued.max.requests").default("500").at_least(1.0).high().unserved(),
    Key::int("request.timeout.ms").default("30000").high(),
    Key::string("security.inter.broker.protocol").default("PLAINTEXT")
        .one_of(&["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]),
    Key::long("socket.connection.setup.timeout.max.ms").default("30000").unserved(),
    Key::long("socket.connection.setup.timeout.ms").default("10000").unserved(),
    Key::int("socket.listen.backlog.size").default("50").at_least(1.0),
    Key::int("socket.receive.buffer.bytes").default("102400").high(),
    Key::int("socket.request.max.bytes").default("104857600").at_least(1.0).high(),
    Key::int("socket.send.buffer.bytes").default("102400").high(),
];
