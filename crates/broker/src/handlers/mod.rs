//! One file per API: what its versions mean. A handler asks the broker's parts and writes the
//! answer; version quirks (null or empty, −1, the first version with a field) end here.

pub(crate) mod api_versions;
pub(crate) mod authorized_operations;
pub(crate) mod describe_cluster;
pub(crate) mod fixed;
pub(crate) mod init_producer_id;
pub(crate) mod metadata;
pub(crate) mod wire;
