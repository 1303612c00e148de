//! Which errors an answer tells, one per thing that was asked for (`AbstractResponse.errorCounts`).

use kafka_protocol::messages::*;
use ottla_protocol::fetch::FetchResponse;
use ottla_protocol::produce::ProduceResponse;

/// An answer whose errors can be counted.
pub(crate) trait CountErrors {
    /// Calls `count` with every error code that Kafka counts for this answer, successes included.
    fn each_error(&self, count: &mut dyn FnMut(i16));
}

impl CountErrors for ProduceResponse {
    fn each_error(&self, count: &mut dyn FnMut(i16)) {
        for topic in &self.topics {
            for partition in &topic.partitions {
                count(partition.error_code.code());
            }
        }
    }
}

impl CountErrors for FetchResponse {
    fn each_error(&self, count: &mut dyn FnMut(i16)) {
        count(self.error_code.code());
        for topic in &self.topics {
            for partition in &topic.partitions {
                count(partition.error_code.code());
            }
        }
    }
}

/// Answers whose own error is counted, and lists of which each entry's is.
macro_rules! count_errors {
    ($($response:ty: $($whole:ident)? $([$($list:ident).+])*;)*) => {
        $(impl CountErrors for $response {
            fn each_error(&self, count: &mut dyn FnMut(i16)) {
                $(count(self.$whole);)?
                $(count_errors!(entries self count $($list).+);)*
            }
        })*
    };
    (entries $holder:ident $count:ident $list:ident) => {
        for entry in &$holder.$list {
            $count(entry.error_code);
        }
    };
    (entries $holder:ident $count:ident $list:ident . $($rest:ident).+) => {
        for entry in &$holder.$list {
            count_errors!(entries entry $count $($rest).+);
        }
    };
}

count_errors! {
    ListOffsetsResponse: [topics.partitions];
    OffsetForLeaderEpochResponse: [topics.partitions];
    MetadataResponse: [topics] [topics.partitions];
    DeleteRecordsResponse: [topics.partitions];
    DescribeProducersResponse: [topics.partitions];
    DescribeLogDirsResponse: error_code [results];
    UpdateMetadataResponse: error_code;
    DescribeClusterResponse: error_code;
    CreateTopicsResponse: [topics];
    DeleteTopicsResponse: [responses];
    CreatePartitionsResponse: [results];
    ElectLeadersResponse: error_code [replica_election_results.partition_result];
    AlterPartitionReassignmentsResponse: error_code [responses.partitions];
    ListPartitionReassignmentsResponse: error_code;
    ControlledShutdownResponse: error_code;
    AlterPartitionResponse: error_code [topics.partitions];
    AllocateProducerIdsResponse: error_code;
    JoinGroupResponse: error_code;
    SyncGroupResponse: error_code;
    HeartbeatResponse: error_code;
    LeaveGroupResponse: error_code [members];
    OffsetCommitResponse: [topics.partitions];
    OffsetDeleteResponse: error_code [topics.partitions];
    DescribeGroupsResponse: [groups];
    ListGroupsResponse: error_code;
    DeleteGroupsResponse: [results];
    InitProducerIdResponse: error_code;
    AddOffsetsToTxnResponse: error_code;
    EndTxnResponse: error_code;
    WriteTxnMarkersResponse: [markers.topics.partitions];
    TxnOffsetCommitResponse: [topics.partitions];
    DescribeTransactionsResponse: [transaction_states];
    ListTransactionsResponse: error_code;
    DescribeConfigsResponse: [results];
    AlterConfigsResponse: [responses];
    IncrementalAlterConfigsResponse: [responses];
    DescribeClientQuotasResponse: error_code;
    AlterClientQuotasResponse: [entries];
    SaslHandshakeResponse: error_code;
    SaslAuthenticateResponse: error_code;
    DescribeAclsResponse: error_code;
    CreateAclsResponse: [results];
    DeleteAclsResponse: [filter_results];
    CreateDelegationTokenResponse: error_code;
    RenewDelegationTokenResponse: error_code;
    ExpireDelegationTokenResponse: error_code;
    DescribeDelegationTokenResponse: error_code;
    ConsumerGroupHeartbeatResponse: error_code;
    ConsumerGroupDescribeResponse: [groups];
    UpdateFeaturesResponse: error_code [results];
    DescribeUserScramCredentialsResponse: [results];
    AlterUserScramCredentialsResponse: [results];
    AlterReplicaLogDirsResponse: [results.partitions];
    ApiVersionsResponse: error_code;
}

/// With an error of the whole, every partition counts as failed with it.
impl CountErrors for LeaderAndIsrResponse {
    fn each_error(&self, count: &mut dyn FnMut(i16)) {
        count(self.error_code);
        let by_topic = self.topics.iter().flat_map(|topic| &topic.partition_errors);
        for partition in self.partition_errors.iter().chain(by_topic) {
            count(match self.error_code {
                0 => partition.error_code,
                error => error,
            });
        }
    }
}

/// The same.
impl CountErrors for StopReplicaResponse {
    fn each_error(&self, count: &mut dyn FnMut(i16)) {
        count(self.error_code);
        for partition in &self.partition_errors {
            count(match self.error_code {
                0 => partition.error_code,
                error => error,
            });
        }
    }
}

/// From version 4 on there is a list.
impl CountErrors for FindCoordinatorResponse {
    fn each_error(&self, count: &mut dyn FnMut(i16)) {
        if self.coordinators.is_empty() {
            count(self.error_code);
        }
        for coordinator in &self.coordinators {
            count(coordinator.error_code);
        }
    }
}

/// From version 8 on there are groups.
impl CountErrors for OffsetFetchResponse {
    fn each_error(&self, count: &mut dyn FnMut(i16)) {
        if self.groups.is_empty() {
            count(self.error_code);
        }
        let partitions = self.topics.iter().flat_map(|topic| &topic.partitions);
        partitions.for_each(|partition| count(partition.error_code));
        for group in &self.groups {
            count(group.error_code);
            let partitions = group.topics.iter().flat_map(|topic| &topic.partitions);
            partitions.for_each(|partition| count(partition.error_code));
        }
    }
}

/// From version 4 on there are transactions, and an error of the whole.
impl CountErrors for AddPartitionsToTxnResponse {
    fn each_error(&self, count: &mut dyn FnMut(i16)) {
        let old = &self.results_by_topic_v3_and_below;
        if old.is_empty() {
            count(self.error_code);
        }
        let new = &self.results_by_transaction;
        let topics = new
            .iter()
            .flat_map(|transaction| &transaction.topic_results);
        for topic in old.iter().chain(topics) {
            for partition in &topic.results_by_partition {
                count(partition.partition_error_code);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::leave_group_response::MemberResponse;
    use kafka_protocol::messages::stop_replica_response::StopReplicaPartitionError;

    use super::*;

    fn codes(response: &impl CountErrors) -> Vec<i16> {
        let mut codes = Vec::new();
        response.each_error(&mut |code| codes.push(code));
        codes
    }

    #[test]
    fn the_whole_and_each_entry_are_counted() {
        let member = |code| MemberResponse::default().with_error_code(code);
        let left = LeaveGroupResponse::default().with_members(vec![member(0), member(25)]);
        assert_eq!(codes(&left), [0, 0, 25]);
        assert_eq!(
            codes(&HeartbeatResponse::default().with_error_code(16)),
            [16]
        );
    }

    #[test]
    fn an_error_of_the_whole_command_is_each_partitions() {
        let partition = |code| StopReplicaPartitionError::default().with_error_code(code);
        let stopped =
            StopReplicaResponse::default().with_partition_errors(vec![partition(0), partition(56)]);
        assert_eq!(codes(&stopped), [0, 0, 56]);
        assert_eq!(codes(&stopped.with_error_code(11)), [11, 11, 11]);
    }
}
