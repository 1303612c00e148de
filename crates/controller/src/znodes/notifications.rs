//! `/log_dir_event_notification` and `/isr_change_notification`: news from brokers, deleted after
//! they have been read.

use std::collections::BTreeSet;

use bytes::Bytes;
use ottla_coordination::payloads::{DecodeError, IsrChange, LogDirEvent};
use ottla_coordination::{ANY_VERSION, Op, paths};
use ottla_model::{BrokerId, TopicPartition};

use super::{Fence, data_or_none};
use crate::exchange::Exchange;
use crate::failure::Failure;

impl Exchange {
    /// The brokers of these `log_dir_event` znodes.
    pub(crate) async fn log_dir_event_brokers(
        &self,
        names: &[String],
    ) -> Result<BTreeSet<BrokerId>, Failure> {
        let events = self.notifications(
            paths::LOG_DIR_EVENT_NOTIFICATION,
            names,
            LogDirEvent::decode,
        );
        Ok(events
            .await?
            .into_iter()
            .map(|event| event.broker_id)
            .collect())
    }

    /// The partitions of these `isr_change` znodes.
    pub(crate) async fn isr_change_partitions(
        &self,
        names: &[String],
    ) -> Result<BTreeSet<TopicPartition>, Failure> {
        let changes = self.notifications(paths::ISR_CHANGE_NOTIFICATION, names, IsrChange::decode);
        Ok(changes
            .await?
            .into_iter()
            .flat_map(|change| change.0)
            .collect())
    }

    async fn notifications<T>(
        &self,
        parent: &str,
        names: &[String],
        decode: impl Fn(&[u8]) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, Failure> {
        let reads = names
            .iter()
            .map(|name| self.get_data(paths::child(parent, name)))
            .collect();
        let mut notifications = Vec::new();
        for (name, outcome) in names.iter().zip(self.batch(reads).await) {
            let data: Bytes = match data_or_none(outcome)? {
                Some((Some(data), _)) => data,
                Some((None, _)) | None => continue,
            };
            match decode(&data) {
                Ok(notification) => notifications.push(notification),
                Err(error) => {
                    tracing::warn!(parent, name, %error, "notification is unreadable, ignored");
                }
            }
        }
        Ok(notifications)
    }

    /// Deletes children; as in Kafka only the fence matters.
    pub(crate) async fn delete_children(
        &self,
        fence: Fence,
        parent: &str,
        names: &[String],
    ) -> Result<(), Failure> {
        let deletes = names.iter().map(|name| Op::Delete {
            path: paths::child(parent, name),
            version: ANY_VERSION,
        });
        self.fenced(fence, deletes.collect()).await?;
        Ok(())
    }

    /// Deletes all children; listing them arms the child watch.
    pub(crate) async fn delete_all_children(
        &self,
        fence: Fence,
        parent: &str,
    ) -> Result<(), Failure> {
        let names = self.children(parent).await?;
        self.delete_children(fence, parent, &names).await
    }
}
