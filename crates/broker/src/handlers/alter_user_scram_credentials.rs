//! AlterUserScramCredentials (key 51, version 0), on the active controller only
//! (`KafkaApis.handleAlterUserScramCredentialsRequest`).

use std::collections::BTreeSet;

use kafka_protocol::messages::alter_user_scram_credentials_response::AlterUserScramCredentialsResult;
use kafka_protocol::messages::{
    AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse,
};
use ottla_model::ErrorCode;

use super::wire;
use crate::broker::Broker;
use crate::dynamic_config::{ApiError, ScramAlteration, ScramMechanism, ScramSecret};

/// Answers the request.
pub(crate) async fn handle(
    broker: &Broker,
    request: AlterUserScramCredentialsRequest,
) -> AlterUserScramCredentialsResponse {
    let deletions: Vec<_> = request
        .deletions
        .into_iter()
        .map(|deletion| ScramAlteration {
            user: deletion.name.to_string(),
            mechanism: ScramMechanism::from_id(deletion.mechanism),
            secret: None,
        })
        .collect();
    let upsertions: Vec<_> = request
        .upsertions
        .into_iter()
        .map(|upsertion| ScramAlteration {
            user: upsertion.name.to_string(),
            mechanism: ScramMechanism::from_id(upsertion.mechanism),
            secret: Some(ScramSecret {
                iterations: upsertion.iterations,
                salt: upsertion.salt,
                salted_password: upsertion.salted_password,
            }),
        })
        .collect();
    let altered = if broker.controller.is_active() {
        broker
            .dynamic_config
            .alter_scram(&deletions, &upsertions)
            .await
    } else {
        Err(ApiError {
            code: ErrorCode::NotController,
            message: None,
        })
    };
    let outcomes = altered.unwrap_or_else(|error| {
        let alterations = deletions.iter().chain(&upsertions);
        let users: BTreeSet<&String> = alterations.map(|alteration| &alteration.user).collect();
        let refused = |user: &String| (user.clone(), Err(error.clone()));
        users.into_iter().map(refused).collect()
    });
    let results = outcomes.into_iter().map(|(user, altered)| {
        let result = AlterUserScramCredentialsResult::default().with_user(wire::text(&user));
        match altered {
            // With the message that Kafka sends then: none of its own, which is not null.
            Ok(()) => result,
            Err(error) => result
                .with_error_code(error.code.code())
                .with_error_message(error.message.as_deref().map(wire::text)),
        }
    });
    AlterUserScramCredentialsResponse::default().with_results(results.collect())
}
