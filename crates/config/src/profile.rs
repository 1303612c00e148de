//! The configuration of a node that is started without a file.

use crate::field::Properties;

/// Properties of a single node for trying out and for development: as Kafka's shipped one-node
/// configuration has them, on loopback, with its data below the current directory.
pub fn single_node() -> Properties {
    [
        ("broker.id", "0"),
        ("listeners", "PLAINTEXT://127.0.0.1:9092"),
        ("log.dirs", "./data/logs"),
        ("offsets.topic.replication.factor", "1"),
        ("transaction.state.log.replication.factor", "1"),
        ("transaction.state.log.min.isr", "1"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect()
}
