//! Why a step of an event failed, and what that means for the event.

use ottla_coordination::Error;

/// What Kafka's controller throws; see each variant for who catches it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// The check on `/controller_epoch` failed (`ControllerMovedException`): the event ends, and
    /// the controller looks who is controller now.
    #[error("controller moved to another broker")]
    ControllerMoved,
    /// The coordination service refused (`KeeperException`).
    #[error(transparent)]
    Coordination(#[from] Error),
    /// One partition or replica could not change its state (`StateChangeFailedException`).
    #[error("{0}")]
    StateChangeFailed(String),
    /// What we know contradicts itself (`IllegalStateException`).
    #[error("{0}")]
    IllegalState(String),
    /// A znode does not hold what Kafka writes there.
    #[error("malformed znode: {0}")]
    Malformed(String),
}

impl Failure {
    /// Whether the controllership is lost.
    pub(crate) fn is_moved(&self) -> bool {
        matches!(self, Self::ControllerMoved)
    }
}
