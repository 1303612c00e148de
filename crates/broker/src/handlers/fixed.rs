//! APIs that an unsecured broker in ZooKeeper mode always answers in one way: those of
//! authentication, ACLs and delegation tokens, and those whose machinery only KRaft has.

use kafka_protocol::messages::consumer_group_describe_response::DescribedGroup;
use kafka_protocol::messages::create_acls_response::AclCreationResult;
use kafka_protocol::messages::delete_acls_response::DeleteAclsFilterResult;
use kafka_protocol::messages::update_features_response::UpdatableFeatureResult;
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, ConsumerGroupHeartbeatResponse,
    CreateAclsRequest, CreateAclsResponse, CreateDelegationTokenRequest,
    CreateDelegationTokenResponse, DeleteAclsRequest, DeleteAclsResponse, DescribeAclsRequest,
    DescribeAclsResponse, DescribeDelegationTokenResponse, ExpireDelegationTokenResponse,
    RenewDelegationTokenResponse, SaslAuthenticateResponse, SaslHandshakeResponse,
    UpdateFeaturesRequest, UpdateFeaturesResponse,
};
use kafka_protocol::protocol::StrBytes;
use ottla_model::ErrorCode;
use ottla_network::RequestContext;
use ottla_protocol::DecodeError;

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
///
/// # Errors
/// The filter has an UNKNOWN element: Kafka's request cannot be made with one, which closes the
/// connection.
pub(crate) fn describe_acls(
    request: &DescribeAclsRequest,
) -> Result<DescribeAclsResponse, DecodeError> {
    all_known(
        "DescribeAclsRequest contains UNKNOWN elements",
        &[[
            request.resource_type_filter,
            request.pattern_type_filter,
            request.operation,
            request.permission_type,
        ]],
    )?;
    Ok(DescribeAclsResponse::default()
        .with_error_code(ErrorCode::SecurityDisabled.code())
        .with_error_message(Some(StrBytes::from_static_str(
            "No Authorizer is configured on the broker",
        ))))
}

/// CreateAcls (30) without an authorizer: every item fails.
///
/// # Errors
/// As [`describe_acls`].
pub(crate) fn create_acls(request: &CreateAclsRequest) -> Result<CreateAclsResponse, DecodeError> {
    let creations = request.creations.iter().map(|creation| {
        [
            creation.resource_type,
            creation.resource_pattern_type,
            creation.operation,
            creation.permission_type,
        ]
    });
    all_known(
        "CreatableAcls contain unknown elements",
        &creations.collect::<Vec<_>>(),
    )?;
    let result = AclCreationResult::default()
        .with_error_code(ErrorCode::SecurityDisabled.code())
        .with_error_message(Some(StrBytes::from_static_str(
            "No Authorizer is configured.",
        )));
    Ok(CreateAclsResponse::default().with_results(vec![result; request.creations.len()]))
}

/// DeleteAcls (31) without an authorizer: every filter fails.
///
/// # Errors
/// As [`describe_acls`].
pub(crate) fn delete_acls(request: &DeleteAclsRequest) -> Result<DeleteAclsResponse, DecodeError> {
    let filters = request.filters.iter().map(|filter| {
        [
            filter.resource_type_filter,
            filter.pattern_type_filter,
            filter.operation,
            filter.permission_type,
        ]
    });
    all_known(
        "Filters contain UNKNOWN elements",
        &filters.collect::<Vec<_>>(),
    )?;
    let result = DeleteAclsFilterResult::default()
        .with_error_code(ErrorCode::SecurityDisabled.code())
        .with_error_message(Some(StrBytes::from_static_str(
            "No Authorizer is configured.",
        )));
    Ok(DeleteAclsResponse::default().with_filter_results(vec![result; request.filters.len()]))
}

/// The number of UNKNOWN among resource types, pattern types, operations and permission types.
const UNKNOWN: i8 = 0;

fn all_known(error: &str, elements: &[[i8; 4]]) -> Result<(), DecodeError> {
    if elements.as_flattened().contains(&UNKNOWN) {
        return Err(DecodeError::Message(format!("{error}: {elements:?}")));
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::create_acls_request::AclCreation;
    use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;

    use super::*;

    const ANY: i8 = 1;

    #[test]
    fn acl_requests_with_unknown_elements_are_not_requests() {
        let known = DescribeAclsRequest::default()
            .with_resource_type_filter(ANY)
            .with_pattern_type_filter(ANY)
            .with_operation(ANY)
            .with_permission_type(ANY);
        let answer = describe_acls(&known).unwrap();
        assert_eq!(answer.error_code, ErrorCode::SecurityDisabled.code());
        for request in [
            known.clone().with_resource_type_filter(UNKNOWN),
            known.clone().with_pattern_type_filter(UNKNOWN),
            known.clone().with_operation(UNKNOWN),
            known.clone().with_permission_type(UNKNOWN),
        ] {
            assert!(describe_acls(&request).is_err(), "{request:?}");
        }
        // A number that no element has is not UNKNOWN's.
        assert!(describe_acls(&known.with_operation(99)).is_ok());

        let creation = AclCreation::default()
            .with_resource_type(2)
            .with_resource_pattern_type(3)
            .with_operation(3)
            .with_permission_type(3);
        let of = |creations| CreateAclsRequest::default().with_creations(creations);
        assert_eq!(
            create_acls(&of(vec![creation.clone(); 2]))
                .unwrap()
                .results
                .len(),
            2
        );
        let unknown = creation.clone().with_permission_type(UNKNOWN);
        assert!(create_acls(&of(vec![creation, unknown])).is_err());

        let filter = DeleteAclsFilter::default()
            .with_resource_type_filter(ANY)
            .with_pattern_type_filter(ANY)
            .with_operation(ANY)
            .with_permission_type(ANY);
        let of = |filters| DeleteAclsRequest::default().with_filters(filters);
        assert!(delete_acls(&of(vec![filter.clone()])).is_ok());
        let unknown = filter.clone().with_operation(UNKNOWN);
        assert!(delete_acls(&of(vec![filter, unknown])).is_err());
    }
}
