//! How a session proves who it is and whom it talks to: TLS and SASL, by Kafka's configuration.

mod configuration;
mod digest_md5;
mod jaas;
mod key_store;
mod system_properties;
mod tls;

pub use configuration::{SecurityError, ZookeeperSecurity};
pub(crate) use digest_md5::DigestClient;
pub use digest_md5::DigestCredentials;
pub use key_store::KeyStoreError;
pub use system_properties::SystemProperties;
pub use tls::Tls;
