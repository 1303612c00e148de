//! Who leads a partition, for answers that spare clients a Metadata request (KIP-951).

use std::collections::BTreeMap;

use ottla_model::{BrokerId, TopicPartition};
use ottla_network::RequestContext;
use ottla_protocol::{LeaderIdAndEpoch, NodeEndpoint};

use super::wire;
use crate::broker::Broker;

/// The endpoints of the leaders that an answer names, each once.
#[derive(Debug, Default)]
pub(crate) struct Endpoints {
    nodes: BTreeMap<BrokerId, NodeEndpoint>,
}

impl Endpoints {
    /// The leader of a partition as its replica here knows it, or the metadata cache; remembers
    /// where it is reached on the request's listener.
    pub(crate) fn leader_of(
        &mut self,
        broker: &Broker,
        context: &RequestContext,
        topic: &str,
        partition: i32,
    ) -> LeaderIdAndEpoch {
        let snapshot = broker.metadata_cache.snapshot();
        let (leader, epoch) = match broker.replica_manager.find_online(topic, partition) {
            Ok(hosted) => {
                let view = hosted.view();
                let partition = view.partition();
                (
                    partition.leader().unwrap_or(BrokerId::NONE),
                    partition.leader_epoch().0,
                )
            }
            Err(_) => snapshot
                .partition(&TopicPartition::new(topic, partition))
                .map_or((BrokerId::NONE, -1), |p| {
                    (p.state.leader, p.state.leader_epoch.0)
                }),
        };
        if let Some(live) = snapshot.brokers.get(&leader)
            && let Some(endpoint) = live.endpoint(context.listener.as_str())
        {
            self.nodes.entry(leader).or_insert_with(|| NodeEndpoint {
                node_id: leader.0,
                host: wire::text(&endpoint.host),
                port: endpoint.port,
                rack: live.rack.as_deref().map(wire::text),
            });
        }
        LeaderIdAndEpoch {
            leader_id: leader.0,
            leader_epoch: epoch,
        }
    }

    /// The endpoints for the answer.
    pub(crate) fn into_list(self) -> Vec<NodeEndpoint> {
        self.nodes.into_values().collect()
    }
}
