//! The broker's session with ZooKeeper or the embedded tree, for asynchronous callers.
//!
//! [`CoordinationHandle`] routes answers to whoever asked and watch events to whoever subscribed,
//! across sessions: when one expires the handle opens the next. It decides nothing: whether to
//! register again or to elect is for those who hear of the new session.
//!
//! Read in this order: [`handle`], [`providers`], [`calls`], [`startup`], [`registration`],
//! [`entity_configs`].

pub mod calls;
pub mod entity_configs;
pub mod handle;
pub mod providers;
pub mod registration;
pub mod startup;
#[cfg(test)]
mod tests;

pub use calls::{FencedError, MultiError};
pub(crate) use handle::SessionCounts;
pub use handle::{CoordinationHandle, Notice, Opener};
pub use providers::Provider;
