//! Small conversions between the model's words and the wire's.

use kafka_protocol::messages;
use kafka_protocol::protocol::StrBytes;
use ottla_model::{BrokerId, ErrorCode, TopicId, TopicName};
use uuid::Uuid;

/// Text for a response.
pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// A broker id for a response.
pub(crate) fn broker_id(id: BrokerId) -> messages::BrokerId {
    messages::BrokerId(id.0)
}

/// A topic's name for a response.
pub(crate) fn name(name: &TopicName) -> messages::TopicName {
    messages::TopicName(text(name.as_str()))
}

/// A topic's name from a request.
pub(crate) fn topic_name(name: &messages::TopicName) -> TopicName {
    TopicName::from(name.0.as_str())
}

/// A topic's id for a response.
pub(crate) fn uuid(id: TopicId) -> Uuid {
    Uuid::from_bytes(id.0)
}

/// A topic's id from a request.
pub(crate) fn topic_id(id: Uuid) -> TopicId {
    TopicId(*id.as_bytes())
}

/// Kafka's message of an error, or null for success.
pub(crate) fn message(error: ErrorCode) -> Option<StrBytes> {
    (!error.is_none()).then(|| StrBytes::from_static_str(error.message()))
}
