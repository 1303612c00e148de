//! Listeners, connections and the threads that serve them.

use crate::key::Key;

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    Key::string("advertised.listeners").high().per_broker()
        .doc("Where clients and other brokers are told to connect; the listeners themselves \
            while unset."),
    Key::long("connections.max.idle.ms").default("600000")
        .doc("Time without traffic after which a connection is closed."),
    Key::string("control.plane.listener.name").high().unserved()
        .doc("Listener reserved for the controller's requests."),
    Key::string("inter.broker.listener.name")
        .doc("Listener over which brokers talk to each other."),
    Key::string("listener.security.protocol.map")
        .default("SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT")
        .low().per_broker()
        .doc("How each listener is protected, as name:protocol pairs."),
    Key::string("listeners").default("PLAINTEXT://:9092").high().per_broker()
        .doc("Where this broker listens, as name://host:port; no host means every address."),
    Key::int("max.connection.creation.rate").default("2147483647").at_least(0.0).cluster_wide()
        .doc("Most new connections per second."),
    Key::int("max.connections").default("2147483647").at_least(0.0).cluster_wide()
        .doc("Most connections at once, over all listeners."),
    Key::int("max.connections.per.ip").default("2147483647").at_least(0.0).cluster_wide()
        .doc("Most connections at once from one address."),
    Key::string("max.connections.per.ip.overrides").default("").cluster_wide()
        .doc("Other limits for some addresses, as address:count pairs."),
    Key::int("max.request.partition.size.limit").default("2000").at_least(1.0).unserved()
        .doc("Most partitions in one DescribeTopicPartitions answer."),
    Key::int("num.io.threads").default("8").at_least(1.0).high().cluster_wide().unserved()
        .doc("Threads that work on requests."),
    Key::int("num.network.threads").default("3").at_least(1.0).high().cluster_wide()
        .doc("Threads that read requests and write answers, per listener."),
    Key::long("queued.max.request.bytes").default("-1").unserved()
        .doc("Bytes of waiting requests above which no more are read; -1 is no limit."),
    Key::int("queued.max.requests").default("500").at_least(1.0).high().unserved()
        .doc("Waiting requests above which network threads pause."),
    Key::int("request.timeout.ms").default("30000").high()
        .doc("Time to wait for the answer to a request of this broker's own."),
    Key::string("security.inter.broker.protocol").default("PLAINTEXT")
        .one_of(&["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"])
        .doc("How brokers protect their connections to each other, if no listener is named."),
    Key::long("socket.connection.setup.timeout.max.ms").default("30000").unserved()
        .doc("Longest time to establish a connection, after failures."),
    Key::long("socket.connection.setup.timeout.ms").default("10000").unserved()
        .doc("Time to establish a connection."),
    Key::int("socket.listen.backlog.size").default("50").at_least(1.0)
        .doc("Connections that wait to be accepted."),
    Key::int("socket.receive.buffer.bytes").default("102400").high()
        .doc("Receive buffer of a client's connection; -1 is the system's own."),
    Key::int("socket.request.max.bytes").default("104857600").at_least(1.0).high()
        .doc("Most bytes of one request."),
    Key::int("socket.send.buffer.bytes").default("102400").high()
        .doc("Send buffer of a client's connection; -1 is the system's own."),
];
