//! The controller against the real tree: scenarios in the words of a cluster, traces as text.

mod cluster;
mod failover;
mod garbage;
mod leadership;
mod orders;
mod topics;
mod traces;
