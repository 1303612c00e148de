//! The controller's driver: performs what the pure controller decides, and what handlers ask of
//! it. It decides nothing itself.
//!
//! One task owns the [`ottla_controller::Controller`]; a task per broker owns that broker's
//! channel, on which one request is in flight at a time and is sent again until it is answered.
//! The controller talks to its own broker the same way, without a connection.
//!
//! Read in this order: [`handle`], `driver`, [`channel`], `control_wire`, `settings`, then
//! [`topic_admin`], what handlers do to topics (`ZkAdminManager`).

pub mod channel;
mod control_wire;
mod driver;
pub mod handle;
mod own_broker;
mod settings;
#[cfg(test)]
mod tests;
pub mod topic_admin;

use ottla_model::{ErrorCode, TopicName};

use crate::broker::Broker;
use crate::client_quotas::{Charge, MutationQuota};

pub use channel::ControlReceiver;
pub use handle::{ControllerHandle, Start};
pub use topic_admin::TopicAdmin;

impl Broker {
    /// What handlers change topics with.
    pub(crate) fn topic_admin(&self) -> TopicAdmin<'_> {
        TopicAdmin {
            configs: &self.configs,
            metadata_cache: &self.metadata_cache,
            coordination: &self.coordination,
            dynamic_values: self.dynamic_config.in_force(),
            quota: None,
        }
    }

    /// Makes missing topics for a Metadata or FindCoordinator request, and tells what Metadata
    /// answers for each.
    pub(crate) async fn create_missing_topics(
        &self,
        topics: impl IntoIterator<Item = TopicName>,
        charge: Option<&Charge<'_>>,
    ) -> Vec<(TopicName, ErrorCode)> {
        let in_creation = &self.controller.topics_in_creation;
        let quota = MutationQuota::permissive(charge);
        self.topic_admin()
            .under(&quota)
            .auto_create_topics(in_creation, topics)
            .await
    }
}
