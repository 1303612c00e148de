//! One procedure per event, as Kafka's controller has them. Source: `KafkaController.scala`.

mod alter_partition;
mod brokers;
mod control_answers;
mod controlled_shutdown;
mod controllership;
mod deletion;
mod elections;
mod failover;
mod features;
mod notifications;
mod producer_ids;
mod reassignment;
mod reassignment_steps;
mod topics;

use ottla_model::LiveBroker;

use crate::core::Core;
use crate::event::ApiRequest;
use crate::failure::Failure;
use crate::work::Work;

impl Core {
    /// Runs an event to its end. A lost controllership makes it look who is controller now; any
    /// other failure is logged and the event is lost.
    pub(crate) async fn process(&mut self, work: Work) {
        let label = work.state();
        let Err(failure) = self.dispatch(work).await else {
            return;
        };
        if failure.is_moved() {
            tracing::info!(event = ?label, "controller moved to another broker");
            if let Err(failure) = self.maybe_resign().await {
                tracing::error!(%failure, "cannot find out who is controller");
            }
        } else {
            tracing::error!(event = ?label, %failure, "error while processing an event");
        }
    }

    async fn dispatch(&mut self, work: Work) -> Result<(), Failure> {
        // What touches nothing but the controllership runs on every broker.
        match work {
            Work::Startup => self.process_startup().await,
            Work::ControllerChange => self.process_controller_change().await,
            Work::Reelect => self.process_reelect().await,
            Work::RegisterBrokerAndReelect => self.process_register_broker_and_reelect().await,
            Work::Expire => {
                self.process_expire();
                Ok(())
            }
            Work::Shutdown => {
                self.process_shutdown();
                Ok(())
            }
            Work::BrokerInfoChanged(broker) => {
                // Who sends it may not know yet of a session that has begun since.
                let epoch = self.config.broker.epoch;
                self.config.broker = LiveBroker { epoch, ..broker };
                Ok(())
            }
            Work::UncleanLeaderElectionDefault(enabled) => {
                // A later controllership of this broker uses it too.
                self.config.unclean_leader_election_enable = enabled;
                if enabled && self.is_active() {
                    self.trigger_online_partitions().await?;
                }
                Ok(())
            }
            // Callers are answered on every broker too.
            Work::Request { token, request } => match request {
                ApiRequest::ControlledShutdown {
                    broker,
                    broker_epoch,
                } => {
                    self.process_controlled_shutdown(token, broker, broker_epoch)
                        .await
                }
                ApiRequest::AlterPartition {
                    broker,
                    broker_epoch,
                    knows_ineligible_replica,
                    partitions,
                } => {
                    let requester = alter_partition::Requester {
                        broker,
                        broker_epoch,
                        knows_ineligible_replica,
                    };
                    self.process_alter_partition(token, requester, partitions)
                        .await
                }
                ApiRequest::AllocateProducerIds {
                    broker,
                    broker_epoch,
                } => {
                    self.process_allocate_producer_ids(token, broker, broker_epoch)
                        .await
                }
                ApiRequest::ElectLeaders {
                    partitions,
                    election,
                } => {
                    self.process_elect_leaders(token, partitions, election)
                        .await
                }
                ApiRequest::AlterPartitionReassignments(targets) => {
                    self.process_api_reassignment(token, targets).await
                }
                ApiRequest::ListPartitionReassignments(partitions) => {
                    self.process_list_reassignments(token, partitions);
                    Ok(())
                }
                ApiRequest::UpdateFeatures(updates) => {
                    self.process_update_features(token, updates).await
                }
            },
            other if self.is_active() => self.dispatch_active(other).await,
            _ => Ok(()),
        }
    }

    async fn dispatch_active(&mut self, work: Work) -> Result<(), Failure> {
        match work {
            Work::BrokerChange => self.process_broker_change().await,
            Work::BrokerModifications(id) => self.process_broker_modification(id).await,
            Work::TopicChange => self.process_topic_change().await,
            Work::PartitionModifications(topic) => {
                self.process_partition_modifications(&topic).await
            }
            Work::TopicDeletion => self.process_topic_deletion().await,
            Work::ZkPartitionReassignment => self.process_zk_reassignment().await.map(drop),
            Work::PartitionReassignmentIsrChange(partition) => {
                self.process_reassignment_isr_change(&partition).await
            }
            Work::IsrChangeNotification => self.process_isr_change_notification().await,
            Work::LogDirEventNotification => self.process_log_dir_event_notification().await,
            Work::ZkPreferredReplicaElection => self.process_zk_preferred_election().await,
            Work::AutoPreferredReplicaLeaderElection => self.process_auto_rebalance().await,
            Work::TopicUncleanLeaderElectionEnable(topic) => {
                self.trigger_online_partitions_of(&topic).await
            }
            Work::ControlAnswered {
                broker,
                request,
                response,
            } => {
                self.process_control_answer(broker, &request, response)
                    .await
            }
            Work::Startup
            | Work::ControllerChange
            | Work::Reelect
            | Work::RegisterBrokerAndReelect
            | Work::Expire
            | Work::Shutdown
            | Work::BrokerInfoChanged(_)
            | Work::UncleanLeaderElectionDefault(_)
            | Work::Request { .. } => unreachable!("dispatched on every broker"),
        }
    }
}
