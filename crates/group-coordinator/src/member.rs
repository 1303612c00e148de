//! One member of a group.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_coordinator_runtime::RequestId;

use crate::messages::{JoinedMember, MemberDescription, Protocol};

/// A member, in memory from its join until it leaves or fails (`MemberMetadata`).
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) id: Arc<str>,
    pub(crate) group_instance_id: Option<Arc<str>>,
    pub(crate) client_id: Arc<str>,
    pub(crate) client_host: Arc<str>,
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) session_timeout_ms: i32,
    /// The protocols that it offers, the best first.
    pub(crate) protocols: Vec<Protocol>,
    /// Its part of the current generation's assignment.
    pub(crate) assignment: Bytes,
    /// Its JoinGroup that waits for the end of the join phase.
    pub(crate) awaiting_join: Option<RequestId>,
    /// Its SyncGroup that waits for the leader's assignment.
    pub(crate) awaiting_sync: Option<RequestId>,
    /// It has not completed a join yet: it does not know its id, or cannot heartbeat, and its
    /// parked join has a time limit of its own.
    pub(crate) is_new: bool,
}

impl Member {
    pub(crate) fn is_static(&self) -> bool {
        self.group_instance_id.is_some()
    }

    pub(crate) fn session_timeout(&self) -> Duration {
        millis(self.session_timeout_ms)
    }

    /// Whether a session that ran out says that the member failed. While one of its requests is
    /// parked the member cannot speak, so silence says nothing, except of a new member.
    pub(crate) fn fails_when_silent(&self) -> bool {
        self.is_new || (self.awaiting_join.is_none() && self.awaiting_sync.is_none())
    }

    /// Its metadata for a protocol; empty if it does not offer it.
    pub(crate) fn metadata(&self, protocol: &str) -> Bytes {
        self.protocols
            .iter()
            .find(|offered| &*offered.name == protocol)
            .map_or_else(Bytes::new, |offered| offered.metadata.clone())
    }

    /// Whether it offers exactly this, in this order.
    pub(crate) fn matches(&self, protocols: &[Protocol]) -> bool {
        self.protocols == protocols
    }

    pub(crate) fn joined(&self, protocol: &str) -> JoinedMember {
        JoinedMember {
            member_id: self.id.clone(),
            group_instance_id: self.group_instance_id.clone(),
            metadata: self.metadata(protocol),
        }
    }

    /// Its description; with metadata and assignment if the group's protocol is settled.
    pub(crate) fn description(&self, settled_protocol: Option<&str>) -> MemberDescription {
        MemberDescription {
            member_id: self.id.clone(),
            group_instance_id: self.group_instance_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            metadata: settled_protocol.map_or_else(Bytes::new, |protocol| self.metadata(protocol)),
            assignment: settled_protocol.map_or_else(Bytes::new, |_| self.assignment.clone()),
        }
    }
}

/// A Java timeout as a duration; a negative one is over at once.
pub(crate) fn millis(timeout_ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0))
}
