//! One leader over one connection (`RemoteLeaderEndPoint`): Fetch, OffsetForLeaderEpoch and
//! ListOffsets in the versions that the inter-broker protocol fixes.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::messages;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{ListOffsetsRequest, OffsetForLeaderEpochRequest};
use ottla_client::{ClientError, Connection, ConnectionConfig};
use ottla_model::{BrokerId, ErrorCode, LeaderEpoch, Offset, TopicPartition};
use ottla_protocol::fetch::{FetchRequest, FetchResponse};
use ottla_replication::fetcher::EpochQuery;
use ottla_replication::partition::EpochEndOffset;

use super::versions::LeaderVersions;
use crate::handlers::wire;
use crate::metadata_cache::MetadataCache;

/// ListOffsets' words for a log's ends.
pub(super) const LATEST: i64 = -1;
pub(super) const EARLIEST: i64 = -2;
/// The last version of Fetch that names topics.
const LAST_FETCH_BY_NAME: i16 = 12;

/// See the module.
pub(super) struct Leader {
    pub(super) own_id: BrokerId,
    pub(super) id: BrokerId,
    pub(super) listener: String,
    pub(super) metadata_cache: Arc<MetadataCache>,
    pub(super) config: ConnectionConfig,
    pub(super) versions: LeaderVersions,
    pub(super) connection: Option<Connection>,
}

impl Leader {
    /// Sends Fetch; by name if some topic has no id.
    pub(super) async fn fetch(
        &mut self,
        request: &FetchRequest,
        by_topic_id: bool,
    ) -> Result<FetchResponse, ClientError> {
        let version = match by_topic_id {
            true => self.versions.fetch,
            false => self.versions.fetch.min(LAST_FETCH_BY_NAME),
        };
        let connection = self.connection().await?;
        let answer = connection.fetch(request, version).await;
        self.kept(answer)
    }

    /// Asks where epochs end.
    pub(super) async fn epoch_ends(
        &mut self,
        queries: &[EpochQuery],
    ) -> Result<BTreeMap<TopicPartition, Result<EpochEndOffset, ErrorCode>>, ClientError> {
        let mut topics: Vec<OffsetForLeaderTopic> = Vec::new();
        for query in queries {
            let name = wire::name(&query.partition.topic);
            let partition = OffsetForLeaderPartition::default()
                .with_partition(query.partition.partition)
                .with_current_leader_epoch(query.current_leader_epoch.0)
                .with_leader_epoch(query.leader_epoch.0);
            match topics.last_mut().filter(|last| last.topic == name) {
                Some(last) => last.partitions.push(partition),
                None => topics.push(
                    OffsetForLeaderTopic::default()
                        .with_topic(name)
                        .with_partitions(vec![partition]),
                ),
            }
        }
        let request = OffsetForLeaderEpochRequest::default()
            .with_replica_id(messages::BrokerId(self.own_id.0))
            .with_topics(topics);
        let version = self.versions.offset_for_leader_epoch;
        let connection = self.connection().await?;
        let answer = connection.send(&request, version).await;
        let response = self.kept(answer)?;
        let mut ends = BTreeMap::new();
        for topic in &response.topics {
            let name = wire::topic_name(&topic.topic);
            for partition in &topic.partitions {
                let tp = TopicPartition::new(name.clone(), partition.partition);
                let end = EpochEndOffset {
                    leader_epoch: LeaderEpoch(partition.leader_epoch),
                    end_offset: partition.end_offset,
                };
                let result = match ErrorCode::from_code(partition.error_code) {
                    ErrorCode::None => Ok(end),
                    error => Err(error),
                };
                ends.insert(tp, result);
            }
        }
        Ok(ends)
    }

    /// Asks for one end of the leader's log: [`LATEST`] or [`EARLIEST`].
    pub(super) async fn offset(
        &mut self,
        partition: &TopicPartition,
        current_leader_epoch: LeaderEpoch,
        which: i64,
    ) -> Result<Result<Offset, ErrorCode>, ClientError> {
        let version = self.versions.list_offsets;
        let mut asked = ListOffsetsPartition::default()
            .with_partition_index(partition.partition)
            .with_timestamp(which);
        if version >= 4 {
            asked = asked.with_current_leader_epoch(current_leader_epoch.0);
        }
        if version == 0 {
            asked = asked.with_max_num_offsets(1);
        }
        let topic = ListOffsetsTopic::default()
            .with_name(wire::name(&partition.topic))
            .with_partitions(vec![asked]);
        let request = ListOffsetsRequest::default()
            .with_replica_id(messages::BrokerId(self.own_id.0))
            .with_topics(vec![topic]);
        let connection = self.connection().await?;
        let answer = connection.send(&request, version).await;
        let response = self.kept(answer)?;
        let answer = response.topics.iter().flat_map(|topic| &topic.partitions);
        let Some(answer) = answer.into_iter().next() else {
            return Ok(Err(ErrorCode::UnknownServerError));
        };
        Ok(match ErrorCode::from_code(answer.error_code) {
            ErrorCode::None if version == 0 => answer
                .old_style_offsets
                .first()
                .copied()
                .ok_or(ErrorCode::UnknownServerError),
            ErrorCode::None => Ok(answer.offset),
            error => Err(error),
        })
    }

    /// After an error nothing more is expected of a connection.
    fn kept<T>(&mut self, answer: Result<T, ClientError>) -> Result<T, ClientError> {
        if answer.is_err() {
            self.connection = None;
        }
        answer
    }

    async fn connection(&mut self) -> Result<Connection, ClientError> {
        if let Some(connection) = self.connection.as_ref().filter(|open| !open.is_closed()) {
            return Ok(connection.clone());
        }
        let connection =
            connect(&self.metadata_cache, self.id, &self.listener, &self.config).await?;
        self.connection = Some(connection.clone());
        Ok(connection)
    }
}

/// Connects to a broker where the metadata cache says that it listens.
pub(super) async fn connect(
    metadata_cache: &MetadataCache,
    broker: BrokerId,
    listener: &str,
    config: &ConnectionConfig,
) -> Result<Connection, ClientError> {
    let unreachable = || ClientError::Connect {
        address: format!("broker {broker}"),
        error: std::io::ErrorKind::AddrNotAvailable.into(),
    };
    let snapshot = metadata_cache.snapshot();
    let endpoint = snapshot
        .brokers
        .get(&broker)
        .and_then(|broker| broker.endpoint(listener))
        .ok_or_else(unreachable)?;
    let port = u16::try_from(endpoint.port).map_err(|_| unreachable())?;
    Connection::connect(&endpoint.host, port, config).await
}
