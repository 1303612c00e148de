//! Failed log directories, and ISR changes by leaders older than 2.7.

use ottla_coordination::paths;

use crate::core::Core;
use crate::failure::Failure;
use crate::states::ReplicaState;

impl Core {
    /// Asks the brokers by LeaderAndIsr which of their replicas are left; the rest follows from the
    /// answers.
    pub(super) async fn process_log_dir_event_notification(&mut self) -> Result<(), Failure> {
        let parent = paths::LOG_DIR_EVENT_NOTIFICATION;
        let names = self.exchange.children(parent).await?;
        let outcome = self.ask_brokers_with_failed_dirs(&names).await;
        let deleted = self
            .exchange
            .delete_children(self.fence(), parent, &names)
            .await;
        outcome.and(deleted)
    }

    async fn ask_brokers_with_failed_dirs(&mut self, names: &[String]) -> Result<(), Failure> {
        let brokers = self.exchange.log_dir_event_brokers(names).await?;
        tracing::info!(?brokers, "log directories have failed");
        let replicas = self.context.replicas_on_brokers(&brokers);
        self.move_replicas(replicas, ReplicaState::Online).await
    }

    pub(super) async fn process_isr_change_notification(&mut self) -> Result<(), Failure> {
        let parent = paths::ISR_CHANGE_NOTIFICATION;
        let names = self.exchange.children(parent).await?;
        let outcome = self.take_in_isr_changes(&names).await;
        let deleted = self
            .exchange
            .delete_children(self.fence(), parent, &names)
            .await;
        outcome.and(deleted)
    }

    async fn take_in_isr_changes(&mut self, names: &[String]) -> Result<(), Failure> {
        let partitions = self.exchange.isr_change_partitions(names).await?;
        if partitions.is_empty() {
            return Ok(());
        }
        let partitions: Vec<_> = partitions.into_iter().collect();
        self.refresh_leaderships(&partitions).await?;
        self.send_update_metadata_to_all(&partitions);
        for partition in &partitions {
            if self.context.being_reassigned.contains(partition) {
                self.maybe_complete_reassignment(partition).await?;
            }
        }
        Ok(())
    }
}
