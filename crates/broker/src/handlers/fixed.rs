//! APIs that an unsecured broker in ZooKeeper mode always answers in one way: those of
//! authentication, ACLs and delegation tokens, and those whose machinery only KRaft has.

use kafka_protocol::messages::consumer_group_describe_response::DescribedGroup;
use kafka_protocol::messages::create_acls_response::AclCreationResult;
use kafka_protocol::messages::delete_acls_response::DeleteAclsFilterResult;
use kafka_protocol::messages::update_features_response::UpdatableFeatureResult;
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, ConsumerGroupHeartbeatResponse,
    CreateAclsRequest, CreateAclsResponse, CreateDelegationTokenRequest,
    CreateDelegationTokenResponse, DeleteAclsRequest, DeleteAclsResponse, DescribeAclsResponse,
    DescribeDelegationTokenResponse, ExpireDelegationTokenResponse, RenewDelegationTokenResponse,
    SaslAuthenticateResponse, SaslHandshakeResponse, UpdateFeaturesRequest, UpdateFeaturesResponse,
};
use kafka_protocol::protocol::StrBytes;
use ottla_model::ErrorCode;
use ottla_network::RequestContext;

use super::{authorized_operations, wire};
use crate::broker::Broker;

/// `DelegationTokenManager.ErrorTimestamp`.
const ERROR_TIMESTAMP: i64 = -1;

/// SaslHandshake (17) outside an authentication: there is no mechanism to shake hands on.
pub(crate) fn sasl_handshake() -> SaslHandshakeResponse {
    SaslHandshakeResponse::default().with_error_code(ErrorCode::IllegalSaslState.code())
}

/// SaslAuthenticate (36) outside an authentication.
pub(crate) fn sasl_authenticate() -> SaslAuthenticateResponse {
    SaslAuthenticateResponse::default()
        .with_error_code(ErrorCode::IllegalSaslState.code())
        .with_error_message(Some(StrBytes::from_static_str(
            "SaslAuthenticate request received after successful authentication",
        )))
}

/// DescribeAcls (29) without an authorizer.
pub(crate) fn describe_acls() -> DescribeAclsResponse {
    DescribeAclsResponse::default()
        .with_error_code(ErrorCode::SecurityDisabled.code())
        .with_error_message(Some(StrBytes::from_static_str(
            "No Authorizer is configured on the broker",
        )))
}

/// CreateAcls (30) without an authorizer: every item fails.
pub(crate) fn create_acls(request: &CreateAclsRequest) -> CreateAclsResponse {
    let result = AclCreationResult::default()
        .with_error_code(ErrorCode::SecurityDisabled.code())
        .with_error_message(Some(StrBytes::from_static_str(
            "No Authorizer is configured.",
        )));
    CreateAclsResponse::default().with_results(vec![result; request.creations.len()])
}

/// DeleteAcls (31) without an authorizer: every filter fails.
pub(crate) fn delete_acls(request: &DeleteAclsRequest) -> DeleteAclsResponse {
    let result = DeleteAclsFilterResult::default()
        .with_error_code(ErrorCode::SecurityDisabled.code())
        .with_error_message(Some(StrBytes::from_static_str(
            "No Authorizer is configured.",
        )));
    DeleteAclsResponse::default().with_filter_results(vec![result; request.filters.len()])
}

/// CreateDelegationToken (38) on a connection that is not authenticated.
pub(crate) fn create_delegation_token(
    context: &RequestContext,
    request: &CreateDelegationTokenRequest,
) -> CreateDelegationTokenResponse {
    let requester = ("User", "ANONYMOUS");
    let asked_owner = request
        .owner_principal_name
        .as_ref()
        .filter(|name| !name.is_empty());
    let (owner_type, owner_name) = match asked_owner {
        Some(name) => (
            request.owner_principal_type.clone().unwrap_or_default(),
            name.clone(),
        ),
        None => (wire::text(requester.0), wire::text(requester.1)),
    };
    let response = CreateDelegationTokenResponse::default()
        .with_error_code(ErrorCode::DelegationTokenRequestNotAllowed.code())
        .with_principal_type(owner_type)
        .with_principal_name(owner_name)
        .with_issue_timestamp_ms(ERROR_TIMESTAMP)
        .with_expiry_timestamp_ms(ERROR_TIMESTAMP)
        .with_max_timestamp_ms(ERROR_TIMESTAMP);
    if context.header.api_version < 3 {
        return response;
    }
    response
        .with_token_requester_principal_type(wire::text(requester.0))
        .with_token_requester_principal_name(wire::text(requester.1))
}

/// RenewDelegationToken (39) on a connection that is not authenticated.
pub(crate) fn renew_delegation_token() -> RenewDelegationTokenResponse {
    RenewDelegationTokenResponse::default()
        .with_error_code(ErrorCode::DelegationTokenRequestNotAllowed.code())
        .with_expiry_timestamp_ms(ERROR_TIMESTAMP)
}

/// ExpireDelegationToken (40) on a connection that is not authenticated.
pub(crate) fn expire_delegation_token() -> ExpireDelegationTokenResponse {
    ExpireDelegationTokenResponse::default()
        .with_error_code(ErrorCode::DelegationTokenRequestNotAllowed.code())
        .with_expiry_timestamp_ms(ERROR_TIMESTAMP)
}

/// DescribeDelegationToken (41) on a connection that is not authenticated.
pub(crate) fn describe_delegation_token() -> DescribeDelegationTokenResponse {
    DescribeDelegationTokenResponse::default()
        .with_error_code(ErrorCode::DelegationTokenRequestNotAllowed.code())
}

/// ConsumerGroupHeartbeat (68): the new group protocol needs KRaft.
pub(crate) fn consumer_group_heartbeat() -> ConsumerGroupHeartbeatResponse {
    ConsumerGroupHeartbeatResponse::default().with_error_code(ErrorCode::UnsupportedVersion.code())
}

/// ConsumerGroupDescribe (69): the new group protocol needs KRaft; clients fall back per group.
pub(crate) fn consumer_group_describe(
    request: &ConsumerGroupDescribeRequest,
) -> ConsumerGroupDescribeResponse {
    let groups = request.group_ids.iter().map(|group| {
        DescribedGroup::default()
            .with_group_id(group.clone())
            .with_error_code(ErrorCode::UnsupportedVersion.code())
            .with_authorized_operations(authorized_operations::NOT_REQUESTED)
    });
    ConsumerGroupDescribeResponse::default().with_groups(groups.collect())
}

/// UpdateFeatures (57): brokers in ZooKeeper mode support no features, so every named update
/// fails; only the controller says so.
pub(crate) fn update_features(
    broker: &Broker,
    request: &UpdateFeaturesRequest,
) -> UpdateFeaturesResponse {
    if !broker.is_active_controller() {
        return UpdateFeaturesResponse::default()
            .with_error_code(ErrorCode::NotController.code())
            .with_error_message(wire::message(ErrorCode::NotController));
    }
    let results = request.feature_updates.iter().map(|update| {
        UpdatableFeatureResult::default()
            .with_feature(update.feature.clone())
            .with_error_code(ErrorCode::InvalidRequest.code())
            .with_error_message(Some(StrBytes::from_static_str(
                "Could not apply finalized feature update because the provided feature is not \
                 supported.",
            )))
    });
    UpdateFeaturesResponse::default().with_results(results.collect())
}
