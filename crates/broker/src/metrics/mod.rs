//! What the broker counts, and the page that shows it: Prometheus text under the names that the
//! rules for Kafka of the JMX exporter (`kafka-2_0_0.yml`) give to Kafka's beans, so that dashboards
//! made for those keep working.
//!
//! Counting is on the hot path: relaxed atomics, no locks, and no allocation but with an API's first
//! request. The page is made when it is asked for. A number that the broker does not know is not on
//! it.
//!
//! Read in this order: [`counts`], [`requests`], `errors`, `histogram`.

mod controller;
pub(crate) mod counts;
mod errors;
pub(crate) mod histogram;
pub(crate) mod requests;

pub(crate) use controller::ControllerTimes;
pub(crate) use counts::{BrokerCounts, TopicCounts};
pub(crate) use requests::{FETCH_CONSUMER, FETCH_FOLLOWER, RequestMetrics};
