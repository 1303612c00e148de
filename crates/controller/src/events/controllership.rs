//! Who is controller: election, resignation, expiry, shutdown.

use ottla_coordination::paths;
use ottla_model::BrokerId;

use crate::context::Context;
use crate::core::Core;
use crate::event::Action;
use crate::failure::Failure;
use crate::work::DataHandler;

impl Core {
    pub(super) async fn process_startup(&mut self) -> Result<(), Failure> {
        self.watch_controller().await?;
        self.elect().await
    }

    /// `/controller` was created or written. If it is gone again by now, nobody is told of that any
    /// more, as the watch had fired: Kafka then has no controller until the next change.
    pub(super) async fn process_controller_change(&mut self) -> Result<(), Failure> {
        self.maybe_resign().await?;
        if self.active_controller_id == BrokerId::NONE {
            self.elect().await?;
        }
        Ok(())
    }

    pub(super) async fn process_reelect(&mut self) -> Result<(), Failure> {
        self.maybe_resign().await?;
        self.elect().await
    }

    pub(super) async fn process_register_broker_and_reelect(&mut self) -> Result<(), Failure> {
        let previous = self.registration_session;
        let epoch = self
            .exchange
            .register_broker(&self.config, previous)
            .await?;
        self.registration_session = Some(self.exchange.session_id());
        self.config.broker.epoch = epoch;
        self.set_broker_epoch(epoch);
        self.exchange.act(Action::BrokerRegistered(epoch));
        self.process_reelect().await
    }

    pub(super) fn process_expire(&mut self) {
        self.resign();
        self.set_active_controller(BrokerId::NONE);
    }

    pub(super) fn process_shutdown(&mut self) {
        self.resign();
        self.set_active_controller(BrokerId::NONE);
        self.exchange.retain_data_handlers(|_| false);
        self.stopped = true;
    }

    /// Looks who is controller, and gives the controllership up if it is no longer ours.
    pub(super) async fn maybe_resign(&mut self) -> Result<(), Failure> {
        let was_active = self.is_active();
        self.watch_controller().await?;
        let controller = self.exchange.controller_id().await?;
        if was_active && controller != self.config.broker_id() {
            self.resign();
        }
        self.set_active_controller(controller);
        Ok(())
    }

    /// Becomes controller if nobody is. A failure on the way there gives `/controller` up again, so
    /// that another broker tries.
    async fn elect(&mut self) -> Result<(), Failure> {
        let controller = self.exchange.controller_id().await?;
        self.set_active_controller(controller);
        if controller != BrokerId::NONE {
            tracing::debug!(%controller, "a controller is elected already");
            return Ok(());
        }
        let Err(failure) = self.become_controller().await else {
            return Ok(());
        };
        if failure.is_moved() {
            self.maybe_resign().await?;
            tracing::debug!(controller = %self.active_controller_id, "another broker was elected");
            return Ok(());
        }
        tracing::error!(%failure, "error while electing or becoming controller");
        self.give_controllership_up().await
    }

    async fn become_controller(&mut self) -> Result<(), Failure> {
        let (epoch, fence) = self.exchange.register_controller(&self.config).await?;
        self.context.epoch = epoch.0;
        self.context.epoch_version = fence.0;
        self.set_active_controller(self.config.broker_id());
        tracing::info!(%epoch, epoch_version = fence.0, "elected as the controller");
        self.exchange.act(Action::Elected(epoch));
        self.fail_over().await
    }

    /// `triggerControllerMove`: resigns and makes room for another controller.
    async fn give_controllership_up(&mut self) -> Result<(), Failure> {
        let controller = self.exchange.controller_id().await?;
        let was_active = self.is_active();
        let fence = self.fence();
        if controller != self.config.broker_id() {
            tracing::warn!("controller has moved already");
            if was_active {
                self.resign();
            }
            self.set_active_controller(controller);
            return Ok(());
        }
        self.resign();
        self.set_active_controller(BrokerId::NONE);
        match self.exchange.delete_controller(fence).await {
            Err(failure) if failure.is_moved() => {
                tracing::warn!("controller has moved already");
                Ok(())
            }
            outcome => outcome,
        }
    }

    async fn watch_controller(&mut self) -> Result<(), Failure> {
        let path = paths::CONTROLLER.to_owned();
        self.exchange
            .register_data_handler(path, DataHandler::Controller);
        self.exchange.is_there(paths::CONTROLLER).await.map(drop)
    }

    /// Forgets all that only a controller knows. Does not touch `/controller`.
    fn resign(&mut self) {
        self.exchange.clear_child_handlers();
        self.exchange
            .retain_data_handlers(|handler| *handler == DataHandler::Controller);
        self.exchange.set_deadline(None);
        for broker in self.context.registered_ids() {
            self.exchange.act(Action::BrokerRemoved(broker));
        }
        if self.is_active() {
            self.exchange.act(Action::Resigned);
            tracing::info!("resigned");
        }
        self.context = Context::default();
        self.finalized_features.clear();
        self.publish_deletions();
    }
}
