//! ListTransactions (key 66, versions 0–1): the transactional ids that this broker coordinates.

use kafka_protocol::messages::list_transactions_response::TransactionState;
use kafka_protocol::messages::{
    ListTransactionsRequest, ListTransactionsResponse, TransactionalId,
};
use ottla_model::ProducerId;
use ottla_transaction_coordinator::ListFilter;

use super::wire;
use crate::broker::Broker;

/// Lists what passes the filters.
pub(crate) fn handle(
    broker: &Broker,
    request: &ListTransactionsRequest,
) -> ListTransactionsResponse {
    let producer_ids = request
        .producer_id_filters
        .iter()
        .map(|id| ProducerId(id.0));
    let filter = ListFilter {
        producer_ids: producer_ids.collect(),
        states: request
            .state_filters
            .iter()
            .map(ToString::to_string)
            .collect(),
        duration_ms: Some(request.duration_filter),
    };
    let listed = match broker.transaction_coordinator.list(&filter) {
        Ok(listed) => listed,
        Err(error) => return ListTransactionsResponse::default().with_error_code(error.code()),
    };
    let states = listed.into_iter().map(|line| {
        TransactionState::default()
            .with_transactional_id(TransactionalId(wire::text(&line.transactional_id)))
            .with_producer_id(line.producer_id.0.into())
            .with_transaction_state(wire::text(line.state.name()))
    });
    ListTransactionsResponse::default()
        .with_unknown_state_filters(filter.unknown_states().map(wire::text).collect())
        .with_transaction_states(states.collect())
}
