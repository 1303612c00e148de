//! The session with ZooKeeper or with the embedded tree, and what a broker does with it at its
//! start: paths, cluster id, broker id, registration.

mod handle;

pub use handle::{CoordinationHandle, Subscriber};
