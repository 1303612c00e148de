//! From a frame to a handler and back: the one table of the APIs that are served.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Encodable, HeaderVersion, Request};
use ottla_network::{Completed, ConnectionInfo, Outcome, RequestContext, Service};
use ottla_protocol::{
    ApiTable, DecodeError, RequestHeader, decode_request_as, encode_response, keys,
};

use crate::broker::Broker;
use crate::client_quotas::{Answer, Charge, Meter};
use crate::handlers;
use crate::metrics::CountErrors;

/// The broker behind its listeners.
#[derive(Debug, Clone)]
pub(crate) struct BrokerService(pub(crate) Arc<Broker>);

impl Service for BrokerService {
    async fn call(&self, context: RequestContext, body: Bytes) -> Outcome {
        let broker = &self.0;
        if broker.client_quotas.is_enabled() {
            return Box::pin(charged(broker, &context, body)).await;
        }
        match context.header.api_key {
            // The two hot ones have codecs of their own and stay out of the box.
            keys::PRODUCE => handlers::produce::handle(broker, &context, body, None).await,
            keys::FETCH => handlers::fetch::handle(broker, &context, body, None).await,
            _ => Box::pin(dispatch(broker, &context, body, None))
                .await
                .unwrap_or_else(Outcome::from),
        }
    }

    fn completed(&self, request: &Completed) {
        self.0.request_metrics.completed(request);
    }

    fn disconnected(&self, _connection: &ConnectionInfo) {}
}

/// Handles a request while quotas are in force.
async fn charged(broker: &Broker, context: &RequestContext, body: Bytes) -> Outcome {
    let meter = Meter::default();
    let charge = Charge {
        quotas: &broker.client_quotas,
        context,
        meter: &meter,
        clock: broker.clock,
    };
    let handler = async {
        let charge = Some(&charge);
        match context.header.api_key {
            keys::PRODUCE => handlers::produce::handle(broker, context, body, charge).await,
            keys::FETCH => handlers::fetch::handle(broker, context, body, charge).await,
            _ => dispatch(broker, context, body, charge)
                .await
                .unwrap_or_else(Outcome::from),
        }
    };
    meter.time(broker.clock, handler).await
}

/// Charges a request that has been handled, and sends its answer.
fn answer<A: Answer + Encodable + HeaderVersion + CountErrors>(
    broker: &Broker,
    header: &RequestHeader,
    mut answer: A,
    api_key: i16,
    charge: Option<&Charge<'_>>,
) -> Outcome {
    let throttle = charge.map(|charge| charge.settle(&mut answer));
    broker.request_metrics.errors(api_key, &answer);
    let outcome = encode_response(header, &answer).into();
    match (charge, throttle) {
        (Some(charge), Some(throttle)) if !A::EXEMPT => charge.after(outcome, throttle),
        _ => outcome,
    }
}

/// The APIs that are served, for the listeners and for ApiVersions.
pub(crate) fn api_table() -> ApiTable {
    let mut keys = vec![
        keys::PRODUCE,
        keys::FETCH,
        ApiVersionsRequest::KEY,
        EnvelopeRequest::KEY,
    ];
    keys.extend_from_slice(SERVED);
    ApiTable::new(&keys)
}

macro_rules! serve {
    ($broker:ident, $context:ident, $charge:ident; $($request:ty, $body:ident => $answer:expr;)*) => {
        const SERVED: &[i16] = &[$(<$request as Request>::KEY,)*];

        async fn dispatch(
            $broker: &Broker,
            $context: &RequestContext,
            body: Bytes,
            $charge: Option<&Charge<'_>>,
        ) -> Result<Outcome, DecodeError> {
            let version = $context.header.api_version;
            match $context.header.api_key {
                keys::API_VERSIONS => Ok(api_versions($broker, $context, body, $charge)?),
                // Forwarding is for migration to KRaft only: Kafka closes the connection.
                <EnvelopeRequest as Request>::KEY => {
                    tracing::info!(
                        connection = $context.connection_id,
                        "closing connection because it sent an Envelope request even though \
                         forwarding has not been enabled"
                    );
                    Ok(Outcome::Close)
                }
                $(<$request as Request>::KEY => {
                    #[allow(unused_variables, reason = "some answers do not depend on the body")]
                    let $body: $request = decode_request_as(version, body)?;
                    let api_key = <$request as Request>::KEY;
                    Ok(answer($broker, &$context.header, $answer, api_key, $charge))
                })*
                api_key => Err(DecodeError::UnsupportedVersion { api_key, version }),
            }
        }
    };
}

// One line per API: request type, name of the decoded request => its answer. A listed API is
// advertised; one that is not listed is neither advertised nor reached.
serve! { broker, context, charge;
    MetadataRequest, request =>
        handlers::metadata::handle(broker, context, request, charge).await;
    ListOffsetsRequest, request => handlers::list_offsets::handle(broker, context, request).await;
    OffsetForLeaderEpochRequest, request =>
        handlers::offset_for_leader_epoch::handle(broker, context, &request);
    DeleteRecordsRequest, request => handlers::delete_records::handle(broker, request).await;
    DescribeProducersRequest, request => handlers::describe_producers::handle(broker, &request);
    DescribeLogDirsRequest, request =>
        handlers::describe_log_dirs::handle(broker, context, request).await;
    AlterReplicaLogDirsRequest, request =>
        handlers::alter_replica_log_dirs::handle(broker, request).await;
    LeaderAndIsrRequest, request => handlers::leader_and_isr::handle(broker, context, request).await;
    StopReplicaRequest, request => handlers::stop_replica::handle(broker, request).await;
    UpdateMetadataRequest, request => handlers::update_metadata::handle(broker, context, &request);
    DescribeClusterRequest, request =>
        handlers::describe_cluster::handle(broker, context, &request);
    CreateTopicsRequest, request =>
        handlers::create_topics::handle(broker, context, request, charge).await;
    DeleteTopicsRequest, request =>
        handlers::delete_topics::handle(broker, context, request, charge).await;
    CreatePartitionsRequest, request =>
        handlers::create_partitions::handle(broker, context, request, charge).await;
    ElectLeadersRequest, request => handlers::elect_leaders::handle(broker, request).await;
    AlterPartitionReassignmentsRequest, request =>
        handlers::alter_partition_reassignments::handle(broker, request).await;
    ListPartitionReassignmentsRequest, request =>
        handlers::list_partition_reassignments::handle(broker, request).await;
    ControlledShutdownRequest, request =>
        handlers::controlled_shutdown::handle(broker, request).await;
    AlterPartitionRequest, request =>
        handlers::alter_partition::handle(broker, context, request).await;
    AllocateProducerIdsRequest, request =>
        handlers::allocate_producer_ids::handle(broker, request).await;
    FindCoordinatorRequest, request =>
        handlers::find_coordinator::handle(broker, context, request, charge).await;
    JoinGroupRequest, request => handlers::join_group::handle(broker, context, request).await;
    SyncGroupRequest, request => handlers::sync_group::handle(broker, context, request).await;
    HeartbeatRequest, request => handlers::heartbeat::handle(broker, request).await;
    LeaveGroupRequest, request => handlers::leave_group::handle(broker, context, request).await;
    OffsetCommitRequest, request =>
        handlers::offset_commit::handle(broker, context, request).await;
    OffsetFetchRequest, request => handlers::offset_fetch::handle(broker, context, request).await;
    OffsetDeleteRequest, request => handlers::offset_delete::handle(broker, request).await;
    DescribeGroupsRequest, request => handlers::describe_groups::handle(broker, context, request);
    ListGroupsRequest, request => handlers::list_groups::handle(broker, request);
    DeleteGroupsRequest, request => handlers::delete_groups::handle(broker, request).await;
    InitProducerIdRequest, request =>
        handlers::init_producer_id::handle(broker, context, request).await;
    AddPartitionsToTxnRequest, request =>
        handlers::add_partitions_to_txn::handle(broker, context, request).await;
    AddOffsetsToTxnRequest, request =>
        handlers::add_offsets_to_txn::handle(broker, context, request).await;
    EndTxnRequest, request => handlers::end_txn::handle(broker, context, request).await;
    WriteTxnMarkersRequest, request => handlers::write_txn_markers::handle(broker, request).await;
    TxnOffsetCommitRequest, request =>
        handlers::txn_offset_commit::handle(broker, context, request).await;
    DescribeTransactionsRequest, request => handlers::describe_transactions::handle(broker, request);
    ListTransactionsRequest, request => handlers::list_transactions::handle(broker, &request);
    DescribeConfigsRequest, request => handlers::describe_configs::handle(broker, request).await;
    AlterConfigsRequest, request => handlers::alter_configs::handle(broker, request).await;
    IncrementalAlterConfigsRequest, request =>
        handlers::incremental_alter_configs::handle(broker, request).await;
    DescribeClientQuotasRequest, request =>
        handlers::describe_client_quotas::handle(broker, request).await;
    AlterClientQuotasRequest, request =>
        handlers::alter_client_quotas::handle(broker, request).await;
    DescribeUserScramCredentialsRequest, request =>
        handlers::describe_user_scram_credentials::handle(broker, request).await;
    AlterUserScramCredentialsRequest, request =>
        handlers::alter_user_scram_credentials::handle(broker, request).await;
    SaslHandshakeRequest, request => handlers::fixed::sasl_handshake();
    SaslAuthenticateRequest, request => handlers::fixed::sasl_authenticate();
    DescribeAclsRequest, request => handlers::fixed::describe_acls(&request)?;
    CreateAclsRequest, request => handlers::fixed::create_acls(&request)?;
    DeleteAclsRequest, request => handlers::fixed::delete_acls(&request)?;
    CreateDelegationTokenRequest, request =>
        handlers::fixed::create_delegation_token(context, &request);
    RenewDelegationTokenRequest, request => handlers::fixed::renew_delegation_token();
    ExpireDelegationTokenRequest, request => handlers::fixed::expire_delegation_token();
    DescribeDelegationTokenRequest, request => handlers::fixed::describe_delegation_token();
    ConsumerGroupHeartbeatRequest, request => handlers::fixed::consumer_group_heartbeat();
    ConsumerGroupDescribeRequest, request => handlers::fixed::consumer_group_describe(&request);
    UpdateFeaturesRequest, request => handlers::fixed::update_features(broker, &request);
}

fn api_versions(
    broker: &Broker,
    context: &RequestContext,
    body: Bytes,
    charge: Option<&Charge<'_>>,
) -> Result<Outcome, DecodeError> {
    let mut header = context.header.clone();
    if header.api_version > handlers::api_versions::MAX_VERSION || header.api_version < 0 {
        header.api_version = 0;
        let response = handlers::api_versions::unsupported_version();
        return Ok(answer(
            broker,
            &header,
            response,
            keys::API_VERSIONS,
            charge,
        ));
    }
    let request: ApiVersionsRequest = decode_request_as(header.api_version, body)?;
    let features = broker.finalized_features.latest();
    let response = handlers::api_versions::handle(&broker.apis, &features, context, &request);
    Ok(answer(
        broker,
        &header,
        response,
        keys::API_VERSIONS,
        charge,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the README lists: name, key and versions of each API, one after the other.
    fn list() -> String {
        let apis = api_table();
        let lines: Vec<String> = apis
            .advertised()
            .map(|api| {
                let versions = if api.min_version == api.max_version {
                    api.max_version.to_string()
                } else {
                    format!("{}–{}", api.min_version, api.max_version)
                };
                format!("{} {versions}", api.name)
            })
            .collect();
        lines.join(", ")
    }

    #[test]
    fn the_readme_lists_the_apis_that_are_served() {
        let readme = include_str!("../../../README.md");
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let expected = words(&list());
        assert!(
            words(readme).contains(&expected),
            "the README must say:\n{expected}"
        );
    }
}
