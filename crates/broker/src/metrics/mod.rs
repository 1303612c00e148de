//! What the broker counts, and the page that shows it: Prometheus text under the names that the
//! rules for Kafka of the JMX exporter (`kafka-2_0_0.yml`) give to Kafka's beans, so that dashboards
//! made for those keep working.
//!
//! Counting is on the hot path: relaxed atomics, no locks, and no allocation but with an API's first
//! request. The page is made when it is asked for. A number that the broker does not know is not on
//! it.
//!
//! Read in this order: [`counts`], [`requests`], `errors`, [`histogram`], then `page`, what is
//! written on it (`*_page`), and [`listener`].

mod cluster_page;
mod controller;
pub(crate) mod counts;
mod errors;
pub(crate) mod histogram;
pub(crate) mod listener;
pub(crate) mod logs;
mod logs_page;
mod page;
mod process_page;
mod replicas_page;
pub(crate) mod requests;
mod requests_page;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use ottla_model::Timestamp;
use ottla_network::OpenConnections;
use ottla_storage::LogManager;
use ottla_storage::log_manager::LoadProgress;

use crate::broker::Broker;
use crate::fetcher::Fetchers;
use page::Page;

pub(crate) use controller::ControllerTimes;
pub(crate) use counts::{BrokerCounts, TopicCounts};
pub(crate) use errors::CountErrors;
pub use listener::{InvalidAddress, MetricsAddress};
pub(crate) use logs::LogMetrics;
pub(crate) use requests::{FETCH_CONSUMER, FETCH_FOLLOWER, RequestMetrics};

/// How often histograms begin to forget.
const SPAN: Duration = Duration::from_secs(100);

/// `BrokerState`, as far as the page is served in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum BrokerState {
    /// Loading its logs.
    Recovery = 2,
    /// Serving.
    Running = 3,
    /// Handing its leaderships over.
    PendingControlledShutdown = 6,
    /// Stopping.
    ShuttingDown = 7,
}

/// All that the page shows.
pub(crate) struct Sources {
    pub(crate) broker: Arc<Broker>,
    pub(crate) log_manager: Arc<LogManager>,
    pub(crate) log_metrics: Arc<LogMetrics>,
    pub(crate) fetchers: Arc<Fetchers>,
    pub(crate) connections: OpenConnections,
    /// The wall time of the start.
    pub(crate) started: Timestamp,
    /// The same moment for durations.
    pub(crate) began: Instant,
    /// A [`BrokerState`].
    pub(crate) state: AtomicU8,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// The page of a broker that is loading its logs.
pub(crate) fn page_of_loading(progress: &LoadProgress) -> String {
    let mut page = Page::default();
    broker_state(&mut page, BrokerState::Recovery as u8);
    logs_page::loading(&mut page, &progress.remaining());
    page.into_text()
}

fn broker_state(page: &mut Page, state: u8) {
    page.gauge(
        "kafka_server_kafkaserver_brokerstate",
        "What the broker does: 3 is running.",
    )
    .value(state);
}

impl Sources {
    /// Shows this state from now on.
    pub(crate) fn set_state(&self, state: BrokerState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    /// The page now. Takes partitions' locks, one at a time, and may look at the disk.
    pub(crate) fn page(&self) -> String {
        let mut page = Page::default();
        let broker = &self.broker;
        broker_state(&mut page, self.state.load(Ordering::Relaxed));
        replicas_page::write(&mut page, &broker.replica_manager, &self.fetchers);
        let controller = &broker.controller;
        cluster_page::controller(&mut page, &controller.view(), controller.times());
        cluster_page::session(&mut page, broker.coordination.counts());
        cluster_page::groups(&mut page, &broker.group_coordinator.gauges());
        requests_page::write(&mut page, &broker.request_metrics, &self.connections);
        let now = broker.clock.wall();
        logs_page::write(&mut page, &self.log_manager, &self.log_metrics, now);
        threads(&mut page, self.began.elapsed());
        process_page::write(&mut page, self.started.0);
        page.into_text()
    }

    /// Lets histograms forget, for ever.
    pub(crate) async fn forget(self: Arc<Self>) {
        loop {
            tokio::time::sleep(SPAN).await;
            self.broker.request_metrics.rotate();
            self.log_metrics.flush_time.rotate();
            self.broker.controller.times().rotate();
            self.broker.coordination.counts().request_latency.rotate();
        }
    }
}

/// Kafka's pool of request handlers are here the workers of the runtime: how idle they were.
fn threads(page: &mut Page, uptime: Duration) {
    let runtime = tokio::runtime::Handle::current().metrics();
    let workers = u32::try_from(runtime.num_workers()).unwrap_or(1).max(1);
    let busy: Duration = (0..runtime.num_workers())
        .map(|worker| runtime.worker_total_busy_duration(worker))
        .sum();
    let idle = uptime.saturating_sub(busy / workers);
    page.gauge(
        "kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent",
        "The share of time, of 1, in which the threads that serve requests were idle.",
    )
    .value(idle.as_secs_f64() / uptime.as_secs_f64().max(f64::MIN_POSITIVE));
    page.counter(
        "kafka_server_kafkarequesthandlerpool_requesthandleravgidlepercent_count",
        "Nanoseconds in which a thread that serves requests was idle, on average.",
    )
    .value(idle.as_nanos());
}
