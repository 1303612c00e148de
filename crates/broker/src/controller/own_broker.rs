//! What the controller tells its own broker goes straight to the replica manager.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use ottla_model::BrokerEpoch;
use ottla_model::control::{ControlRequest, ControlResponse};

use super::channel::ControlReceiver;
use crate::replica_manager::ReplicaManager;

impl ControlReceiver for Arc<ReplicaManager> {
    fn registered(&self, epoch: BrokerEpoch) {
        self.set_broker_epoch(epoch);
    }

    fn receive(
        &self,
        request: Arc<ControlRequest>,
    ) -> Pin<Box<dyn Future<Output = ControlResponse> + Send + '_>> {
        Box::pin(async move {
            match &*request {
                ControlRequest::LeaderAndIsr(request) => ControlResponse::LeaderAndIsr(
                    self.become_leader_or_follower(request.clone()).await,
                ),
                ControlRequest::UpdateMetadata(request) => {
                    ControlResponse::UpdateMetadata(self.update_metadata(request))
                }
                ControlRequest::StopReplica(request) => {
                    ControlResponse::StopReplica(self.stop_replicas(request.clone()).await)
                }
            }
        })
    }
}
