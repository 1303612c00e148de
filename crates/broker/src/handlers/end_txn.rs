//! EndTxn (key 26, versions 0–4): commit or abort.

use std::sync::Arc;

use kafka_protocol::messages::{EndTxnRequest, EndTxnResponse};
use ottla_coordinator_runtime::TransactionOutcome;
use ottla_network::RequestContext;

use super::transaction_wire::{FIRST_WITH_FENCED, fenced_for, producer};
use crate::broker::Broker;

/// Answers as soon as the decision is replicated.
pub(crate) async fn handle(
    broker: &Broker,
    context: &RequestContext,
    request: EndTxnRequest,
) -> EndTxnResponse {
    let outcome = if request.committed {
        TransactionOutcome::Commit
    } else {
        TransactionOutcome::Abort
    };
    let error = broker
        .transaction_coordinator
        .end_transaction(
            Arc::from(request.transactional_id.as_str()),
            producer(request.producer_id, request.producer_epoch),
            outcome,
        )
        .await;
    let error = fenced_for(context.header.api_version, FIRST_WITH_FENCED, error);
    EndTxnResponse::default().with_error_code(error.code())
}
