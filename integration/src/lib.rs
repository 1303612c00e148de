//! What the promises are checked with: brokers as child processes, stock tools and clients, and
//! waiting with a deadline. Nothing here knows how a broker works inside.
//!
//! The tools are put in place by `scripts/test`, which says what is missing.

pub mod broker;
pub mod cluster;
pub mod command;
pub mod direct;
pub mod free_port;
pub mod load;
pub mod network;
pub mod operator;
pub mod process;
pub mod random;
pub mod real_text;
pub mod replicas;
pub mod sequences;
pub mod small_disk;
pub mod tool_server;
pub mod tools;
pub mod transcript;
pub mod wait;
pub mod znodes;
pub mod zookeeper;

pub use broker::{Broker, Program};
pub use cluster::Cluster;
pub use direct::Direct;
pub use load::Load;
pub use network::Network;
pub use operator::Operator;
pub use process::Process;
pub use random::Random;
pub use tool_server::{Output, ToolServer};
pub use transcript::Transcript;
pub use znodes::Znodes;
pub use zookeeper::Zookeeper;
