//! DescribeTransactions (key 65, version 0).

use kafka_protocol::messages::describe_transactions_response::{TopicData, TransactionState};
use kafka_protocol::messages::{DescribeTransactionsRequest, DescribeTransactionsResponse};

use super::transaction_wire::by_topic;
use super::wire;
use crate::broker::Broker;

/// Describes transactional ids in the order in which they were named.
pub(crate) fn handle(
    broker: &Broker,
    request: DescribeTransactionsRequest,
) -> DescribeTransactionsResponse {
    let states = request
        .transactional_ids
        .into_iter()
        .map(|transactional_id| {
            let described = broker.transaction_coordinator.describe(&transactional_id);
            let state = TransactionState::default().with_transactional_id(transactional_id);
            match described {
                Err(error) => state.with_error_code(error.code()),
                Ok(described) => state
                    .with_transaction_state(wire::text(described.state.name()))
                    .with_transaction_timeout_ms(described.timeout_ms)
                    .with_transaction_start_time_ms(described.start_timestamp.0)
                    .with_producer_id(described.producer_id.0.into())
                    .with_producer_epoch(described.producer_epoch.0)
                    .with_topics(
                        by_topic(&described.partitions)
                            .map(|(topic, partitions)| {
                                TopicData::default()
                                    .with_topic(wire::name(&topic))
                                    .with_partitions(partitions)
                            })
                            .collect(),
                    ),
            }
        });
    DescribeTransactionsResponse::default().with_transaction_states(states.collect())
}
