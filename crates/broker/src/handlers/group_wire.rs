//! Small conversions that the group APIs share.

use std::sync::Arc;

use kafka_protocol::protocol::StrBytes;

use crate::broker::Broker;
use crate::group_coordinator::settings::knows_static_members;

/// Text from a request.
pub(crate) fn shared(text: &StrBytes) -> Arc<str> {
    Arc::from(text.as_str())
}

/// Text from a request that may be null.
pub(crate) fn shared_option(text: Option<&StrBytes>) -> Option<Arc<str>> {
    text.map(shared)
}

/// Whether a request names a static member while some brokers may not know what that is: such a
/// broker, once it coordinates the group, would forget the instance and make the member dynamic.
pub(crate) fn is_static_member_too_new(
    broker: &Broker,
    group_instance_id: Option<&StrBytes>,
) -> bool {
    let version = broker.configs.broker().inter_broker_protocol_version();
    group_instance_id.is_some() && !knows_static_members(version)
}
