//! From a frame to a handler and back: the one table of the APIs that are served.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::Request;
use ottla_network::{ConnectionInfo, Outcome, RequestContext, Service};
use ottla_protocol::{ApiTable, DecodeError, decode_request_as, encode_response, keys};

use crate::broker::Broker;
use crate::handlers;

/// The broker behind its listeners.
#[derive(Debug, Clone)]
pub(crate) struct BrokerService(pub(crate) Arc<Broker>);

impl Service for BrokerService {
    async fn call(&self, context: RequestContext, body: Bytes) -> Outcome {
        match context.header.api_key {
            // The two hot ones have codecs of their own and stay out of the box.
            // keys::PRODUCE => handlers::produce::handle(&self.0, &context, body).await,
            // keys::FETCH => handlers::fetch::handle(&self.0, &context, body).await,
            _ => Box::pin(dispatch(&self.0, context, body))
                .await
                .unwrap_or_else(Outcome::from),
        }
    }

    fn disconnected(&self, _connection: &ConnectionInfo) {}
}

/// The APIs that are served, for the listeners and for ApiVersions.
pub(crate) fn api_table() -> ApiTable {
    let mut keys = vec![
        /* keys::PRODUCE, keys::FETCH, */ ApiVersionsRequest::KEY,
        EnvelopeRequest::KEY,
    ];
    keys.extend_from_slice(SERVED);
    ApiTable::new(&keys)
}

macro_rules! serve {
    ($broker:ident, $context:ident; $($request:ty, $body:ident => $answer:expr;)*) => {
        const SERVED: &[i16] = &[$(<$request as Request>::KEY,)*];

        async fn dispatch(
            $broker: &Broker,
            $context: RequestContext,
            body: Bytes,
        ) -> Result<Outcome, DecodeError> {
            let $context = &$context;
            let version = $context.header.api_version;
            match $context.header.api_key {
                keys::API_VERSIONS => Ok(api_versions($context, body)?),
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
                    Ok(encode_response(&$context.header, &$answer).into())
                })*
                api_key => Err(DecodeError::UnsupportedVersion { api_key, version }),
            }
        }
    };
}

// One line per API: request type, name of the decoded request => its answer. A listed API is
// advertised; one that is not listed is neither advertised nor reached.
serve! { broker, context;
    MetadataRequest, request => handlers::metadata::handle(broker, context, request).await;
    DescribeClusterRequest, request =>
        handlers::describe_cluster::handle(broker, context, &request);
    InitProducerIdRequest, request => handlers::init_producer_id::handle(broker, &request).await;
    SaslHandshakeRequest, request => handlers::fixed::sasl_handshake();
    SaslAuthenticateRequest, request => handlers::fixed::sasl_authenticate();
    DescribeAclsRequest, request => handlers::fixed::describe_acls();
    CreateAclsRequest, request => handlers::fixed::create_acls(&request);
    DeleteAclsRequest, request => handlers::fixed::delete_acls(&request);
    CreateDelegationTokenRequest, request =>
        handlers::fixed::create_delegation_token(context, &request);
    RenewDelegationTokenRequest, request => handlers::fixed::renew_delegation_token();
    ExpireDelegationTokenRequest, request => handlers::fixed::expire_delegation_token();
    DescribeDelegationTokenRequest, request => handlers::fixed::describe_delegation_token();
    ConsumerGroupHeartbeatRequest, request => handlers::fixed::consumer_group_heartbeat();
    ConsumerGroupDescribeRequest, request => handlers::fixed::consumer_group_describe(&request);
    UpdateFeaturesRequest, request => handlers::fixed::update_features(broker, &request);
}

fn api_versions(context: &RequestContext, body: Bytes) -> Result<Outcome, DecodeError> {
    let mut header = context.header.clone();
    if header.api_version > handlers::api_versions::MAX_VERSION || header.api_version < 0 {
        header.api_version = 0;
        let response = handlers::api_versions::unsupported_version();
        return Ok(encode_response(&header, &response).into());
    }
    let request: ApiVersionsRequest = decode_request_as(header.api_version, body)?;
    let response = handlers::api_versions::handle(&api_table(), context, &request);
    Ok(encode_response(&header, &response).into())
}
