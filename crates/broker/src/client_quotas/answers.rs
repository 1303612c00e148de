//! Which answers tell how long a client is throttled, and which requests are never throttled for
//! the time they take.

use kafka_protocol::messages::*;

/// An answer, as quotas see it.
pub(crate) trait Answer {
    /// Whether its request is one of the brokers' own, for which nobody is throttled.
    const EXEMPT: bool = false;

    /// Where it says how long the client is throttled, in milliseconds. Versions without that field
    /// leave it out; the connection is muted all the same.
    fn throttle_time_ms(&mut self) -> Option<&mut i32>;
}

macro_rules! throttled {
    ($($answer:ty),* $(,)?) => {
        $(impl Answer for $answer {
            fn throttle_time_ms(&mut self) -> Option<&mut i32> {
                Some(&mut self.throttle_time_ms)
            }
        })*
    };
}

macro_rules! untold {
    ($exempt:literal: $($answer:ty),* $(,)?) => {
        $(impl Answer for $answer {
            const EXEMPT: bool = $exempt;

            fn throttle_time_ms(&mut self) -> Option<&mut i32> {
                None
            }
        })*
    };
}

throttled! {
    AddOffsetsToTxnResponse, AddPartitionsToTxnResponse, AllocateProducerIdsResponse,
    AlterClientQuotasResponse, AlterConfigsResponse, AlterPartitionReassignmentsResponse,
    AlterReplicaLogDirsResponse, AlterUserScramCredentialsResponse, ApiVersionsResponse,
    ConsumerGroupDescribeResponse, ConsumerGroupHeartbeatResponse, CreateAclsResponse,
    CreateDelegationTokenResponse, CreatePartitionsResponse, CreateTopicsResponse,
    DeleteAclsResponse, DeleteGroupsResponse, DeleteRecordsResponse, DeleteTopicsResponse,
    DescribeAclsResponse, DescribeClientQuotasResponse, DescribeClusterResponse,
    DescribeConfigsResponse, DescribeDelegationTokenResponse, DescribeGroupsResponse,
    DescribeLogDirsResponse, DescribeProducersResponse, DescribeTransactionsResponse,
    DescribeUserScramCredentialsResponse, ElectLeadersResponse, EndTxnResponse,
    ExpireDelegationTokenResponse, FindCoordinatorResponse, HeartbeatResponse,
    IncrementalAlterConfigsResponse, InitProducerIdResponse, JoinGroupResponse,
    LeaveGroupResponse, ListGroupsResponse, ListOffsetsResponse,
    ListPartitionReassignmentsResponse, ListTransactionsResponse, MetadataResponse,
    OffsetCommitResponse, OffsetDeleteResponse, OffsetFetchResponse,
    OffsetForLeaderEpochResponse, RenewDelegationTokenResponse, SyncGroupResponse,
    TxnOffsetCommitResponse, UpdateFeaturesResponse,
}

untold! { false: SaslAuthenticateResponse, SaslHandshakeResponse }

untold! { true:
    AlterPartitionResponse, ControlledShutdownResponse, LeaderAndIsrResponse,
    StopReplicaResponse, UpdateMetadataResponse, WriteTxnMarkersResponse,
}
