//! DescribeUserScramCredentials (key 50, version 0): who has credentials, and of which kind
//! (`ZkAdminManager.describeUserScramCredentials`).

use kafka_protocol::messages::describe_user_scram_credentials_response::{
    CredentialInfo, DescribeUserScramCredentialsResult,
};
use kafka_protocol::messages::{
    DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse,
};

use super::wire;
use crate::broker::Broker;
use crate::dynamic_config::{ScramInfo, ScramMechanism};

/// Answers the request.
pub(crate) async fn handle(
    broker: &Broker,
    request: DescribeUserScramCredentialsRequest,
) -> DescribeUserScramCredentialsResponse {
    let users: Vec<String> = request
        .users
        .iter()
        .flatten()
        .map(|user| user.name.to_string())
        .collect();
    let response = DescribeUserScramCredentialsResponse::default();
    let outcomes = match broker.dynamic_config.describe_scram(&users).await {
        Ok(outcomes) => outcomes,
        Err(error) => {
            let message = error
                .message
                .unwrap_or_else(|| error.code.message().to_owned());
            return response
                .with_error_code(error.code.code())
                .with_error_message(Some(wire::text(&message)));
        }
    };
    let results = outcomes.into_iter().map(|(user, outcome)| {
        let result = DescribeUserScramCredentialsResult::default().with_user(wire::text(&user));
        match outcome {
            Ok(infos) => result.with_credential_infos(credential_infos(infos)),
            Err(error) => result
                .with_error_code(error.code.code())
                .with_error_message(error.message.as_deref().map(wire::text)),
        }
    });
    response.with_results(results.collect())
}

fn credential_infos(infos: ScramInfo) -> Vec<CredentialInfo> {
    let info = |(mechanism, iterations): (ScramMechanism, i32)| {
        CredentialInfo::default()
            .with_mechanism(mechanism.id())
            .with_iterations(iterations)
    };
    infos.into_iter().map(info).collect()
}
