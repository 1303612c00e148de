//! KIP-890, part 1: before the first append of a transaction to a partition its leader asks the
//! transaction's coordinator whether the partition is in it (`AddPartitionsToTxnManager`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use kafka_protocol::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, TransactionalId,
};
use ottla_client::ClientError;
use ottla_model::ids::TRANSACTION_STATE_TOPIC;
use ottla_model::{BrokerId, ErrorCode, TopicName, TopicPartition};
use ottla_transaction_coordinator::ExpectedProducer;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::TransactionCoordinator;
use super::inter_broker::InterBroker;
use crate::handlers::wire;
use crate::metadata_cache::MetadataCache;

/// From this version on the request is one of brokers, and may only verify.
const FIRST_OF_BROKERS: i16 = 4;

/// Partitions that may not be appended to, and why; all others of the question may.
pub(crate) type Refused = BTreeMap<TopicPartition, ErrorCode>;

/// Asks coordinators on behalf of this broker's partitions.
pub(crate) struct TransactionVerifier {
    own_id: BrokerId,
    coordinator: Arc<TransactionCoordinator>,
    metadata_cache: Arc<MetadataCache>,
    inter_broker: Arc<InterBroker>,
    queues: Mutex<HashMap<BrokerId, Queue>>,
}

/// What waits for one broker, which is asked one question at a time.
#[derive(Default)]
struct Queue {
    is_asking: bool,
    questions: BTreeMap<Arc<str>, Question>,
}

struct Question {
    producer: ExpectedProducer,
    partitions: BTreeSet<TopicPartition>,
    answer: oneshot::Sender<Refused>,
}

impl TransactionVerifier {
    /// Nothing is asked yet.
    pub(crate) fn new(
        own_id: BrokerId,
        coordinator: Arc<TransactionCoordinator>,
        metadata_cache: Arc<MetadataCache>,
        inter_broker: Arc<InterBroker>,
    ) -> Arc<Self> {
        Arc::new(Self {
            own_id,
            coordinator,
            metadata_cache,
            inter_broker,
            queues: Mutex::default(),
        })
    }

    /// Asks whether partitions are in the producer's transaction. `knows_abortable`: the client
    /// understands TRANSACTION_ABORTABLE; others are told INVALID_TXN_STATE.
    pub(crate) async fn verify(
        self: &Arc<Self>,
        transactional_id: Arc<str>,
        producer: ExpectedProducer,
        partitions: BTreeSet<TopicPartition>,
        knows_abortable: bool,
    ) -> Refused {
        let refused = match self.coordinator_of(&transactional_id) {
            None => same_for_all(&partitions, ErrorCode::CoordinatorNotAvailable),
            Some(broker) if broker == self.own_id => self
                .coordinator
                .verify_partitions(&transactional_id, producer, &partitions)
                .into_iter()
                .filter(|(_, error)| !error.is_none())
                .collect(),
            Some(broker) => {
                self.ask(broker, transactional_id, producer, partitions)
                    .await
            }
        };
        let told = |error| match error {
            // Producers know this one.
            ErrorCode::ProducerFenced => ErrorCode::InvalidProducerEpoch,
            ErrorCode::TransactionAbortable if !knows_abortable => ErrorCode::InvalidTxnState,
            error => error,
        };
        refused
            .into_iter()
            .map(|(partition, error)| (partition, told(error)))
            .collect()
    }

    fn coordinator_of(&self, transactional_id: &str) -> Option<BrokerId> {
        let partition = TopicPartition::new(
            TRANSACTION_STATE_TOPIC,
            self.coordinator.partition_for(transactional_id),
        );
        let snapshot = self.metadata_cache.snapshot();
        let leader = snapshot.partition(&partition)?.state.leader;
        snapshot
            .brokers
            .get(&leader)?
            .endpoint(self.inter_broker.listener())?;
        Some(leader)
    }

    async fn ask(
        self: &Arc<Self>,
        broker: BrokerId,
        transactional_id: Arc<str>,
        producer: ExpectedProducer,
        partitions: BTreeSet<TopicPartition>,
    ) -> Refused {
        let asked = partitions.clone();
        let (answer, answered) = oneshot::channel();
        {
            let mut queues = self.queues.lock();
            let queue = queues.entry(broker).or_default();
            if let Some(waiting) = queue.questions.get(&transactional_id) {
                let (old, new) = (waiting.producer.producer_epoch, producer.producer_epoch);
                if old > new {
                    return same_for_all(&partitions, ErrorCode::InvalidProducerEpoch);
                }
                // The producer has sent its request again, or it is a newer one.
                let error = if old < new {
                    ErrorCode::InvalidProducerEpoch
                } else {
                    ErrorCode::NetworkException
                };
                if let Some(waiting) = queue.questions.remove(&transactional_id) {
                    waiting.settle(error);
                }
            }
            let question = Question {
                producer,
                partitions,
                answer,
            };
            queue.questions.insert(transactional_id, question);
            if !queue.is_asking {
                queue.is_asking = true;
                tokio::spawn(Arc::clone(self).ask_until_done(broker));
            }
        }
        // The asking task answers every question before it ends.
        answered
            .await
            .unwrap_or_else(|_| same_for_all(&asked, ErrorCode::NetworkException))
    }

    async fn ask_until_done(self: Arc<Self>, broker: BrokerId) {
        loop {
            let mut questions = {
                let mut queues = self.queues.lock();
                let Some(queue) = queues.get_mut(&broker) else {
                    return;
                };
                if queue.questions.is_empty() {
                    queue.is_asking = false;
                    return;
                }
                std::mem::take(&mut queue.questions)
            };
            match self.exchange(broker, &questions).await {
                Ok(response) => settle_all(&mut questions, &response),
                Err(ClientError::NoCommonVersion { .. }) => {
                    tracing::warn!(%broker, "the coordinator cannot verify: appending unverified");
                    for question in std::mem::take(&mut questions).into_values() {
                        // A client that has gone away needs no answer.
                        let _gone = question.answer.send(Refused::new());
                    }
                }
                Err(error) => {
                    tracing::warn!(%broker, %error, "transactions were not verified");
                }
            }
            for question in questions.into_values() {
                question.settle(ErrorCode::NetworkException);
            }
        }
    }

    async fn exchange(
        &self,
        broker: BrokerId,
        questions: &BTreeMap<Arc<str>, Question>,
    ) -> Result<AddPartitionsToTxnResponse, ClientError> {
        let (connection, versions) = self.inter_broker.connection_and_versions(broker).await?;
        let version = versions.highest::<AddPartitionsToTxnRequest>()?;
        if version < FIRST_OF_BROKERS {
            return Err(ClientError::NoCommonVersion {
                api: "AddPartitionsToTxn",
                min: FIRST_OF_BROKERS,
                max: version,
            });
        }
        connection.send(&encode(questions), version).await
    }
}

impl Question {
    fn settle(self, error: ErrorCode) {
        // A client that has gone away needs no answer.
        let _gone = self.answer.send(same_for_all(&self.partitions, error));
    }
}

fn same_for_all(partitions: &BTreeSet<TopicPartition>, error: ErrorCode) -> Refused {
    partitions
        .iter()
        .map(|partition| (partition.clone(), error))
        .collect()
}

fn encode(questions: &BTreeMap<Arc<str>, Question>) -> AddPartitionsToTxnRequest {
    let transactions = questions.iter().map(|(transactional_id, question)| {
        let mut topics: Vec<(&TopicName, Vec<i32>)> = Vec::new();
        for TopicPartition { topic, partition } in &question.partitions {
            match topics.last_mut() {
                Some((last, indexes)) if *last == topic => indexes.push(*partition),
                _ => topics.push((topic, vec![*partition])),
            }
        }
        let topics = topics.into_iter().map(|(topic, indexes)| {
            AddPartitionsToTxnTopic::default()
                .with_name(wire::name(topic))
                .with_partitions(indexes)
        });
        AddPartitionsToTxnTransaction::default()
            .with_transactional_id(TransactionalId(wire::text(transactional_id)))
            .with_producer_id(question.producer.producer_id.0.into())
            .with_producer_epoch(question.producer.producer_epoch.0)
            .with_verify_only(true)
            .with_topics(topics.collect())
    });
    AddPartitionsToTxnRequest::default().with_transactions(transactions.collect())
}

/// Settles the questions that the answer has something about; the rest stays.
fn settle_all(questions: &mut BTreeMap<Arc<str>, Question>, response: &AddPartitionsToTxnResponse) {
    let error = ErrorCode::from_code(response.error_code);
    if !error.is_none() {
        // Clients must not think that they lack a right.
        let error = match error {
            ErrorCode::ClusterAuthorizationFailed => ErrorCode::InvalidTxnState,
            error => error,
        };
        for question in std::mem::take(questions).into_values() {
            question.settle(error);
        }
        return;
    }
    for result in &response.results_by_transaction {
        let Some(question) = questions.remove(result.transactional_id.as_str()) else {
            continue;
        };
        let mut refused = Refused::new();
        for topic in &result.topic_results {
            let name = wire::topic_name(&topic.name);
            for partition in &topic.results_by_partition {
                let error = ErrorCode::from_code(partition.partition_error_code);
                if !error.is_none() {
                    let partition = partition.partition_index;
                    refused.insert(
                        TopicPartition {
                            topic: name.clone(),
                            partition,
                        },
                        error,
                    );
                }
            }
        }
        // A client that has gone away needs no answer.
        let _gone = question.answer.send(refused);
    }
}
