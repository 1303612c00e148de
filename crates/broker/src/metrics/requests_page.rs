//! `kafka.network`: requests and connections.

use ottla_model::ErrorCode;
use ottla_network::OpenConnections;

use super::histogram::Histogram;
use super::page::{MILLISECONDS, Page};
use super::requests::{ApiMetrics, RequestMetrics};

/// Writes what is counted of requests.
pub(super) fn write(page: &mut Page, metrics: &RequestMetrics, connections: &OpenConnections) {
    let mut family = page.counter(
        "kafka_network_requestmetrics_requests_total",
        "Requests by API and version.",
    );
    for (name, api) in metrics.seen() {
        for (version, count) in api.requests.iter().enumerate().filter(|(_, c)| c.get() > 0) {
            let version = version.to_string();
            family.sample(&[("request", name), ("version", &version)], count.get());
        }
    }
    let mut family = page.counter(
        "kafka_network_requestmetrics_errors_total",
        "Errors told by answers, by API; NONE counts successes.",
    );
    for (name, api) in metrics.seen() {
        let by_error = ErrorCode::ALL.iter().zip(&api.errors);
        for (error, count) in by_error.filter(|(_, count)| count.get() > 0) {
            family.sample(&[("request", name), ("error", error.name())], count.get());
        }
    }
    let mut histogram = |names, help, unit, of: fn(&ApiMetrics) -> &Histogram| {
        let series = metrics.seen();
        let series: Vec<_> = series
            // What only an error was counted of has not been completed yet.
            .filter(|(_, api)| of(api).count() > 0)
            .map(|(name, api)| (vec![("request", name)], of(api)))
            .collect();
        page.histogram(names, help, unit, series.into_iter());
    };
    histogram(
        (
            "kafka_network_requestmetrics_totaltimems",
            "kafka_network_requestmetrics_totaltimems_count",
        ),
        "Milliseconds from a request's last byte to its answer's.",
        MILLISECONDS,
        |api| &api.total_time,
    );
    histogram(
        (
            "kafka_network_requestmetrics_localtimems",
            "kafka_network_requestmetrics_localtimems_count",
        ),
        "Milliseconds in which the request's handler ran.",
        MILLISECONDS,
        |api| &api.local_time,
    );
    histogram(
        (
            "kafka_network_requestmetrics_remotetimems",
            "kafka_network_requestmetrics_remotetimems_count",
        ),
        "Milliseconds in which the request's handler waited.",
        MILLISECONDS,
        |api| &api.remote_time,
    );
    histogram(
        (
            "kafka_network_requestmetrics_responsesendtimems",
            "kafka_network_requestmetrics_responsesendtimems_count",
        ),
        "Milliseconds in which the answer was sent.",
        MILLISECONDS,
        |api| &api.response_send_time,
    );
    histogram(
        (
            "kafka_network_requestmetrics_requestbytes",
            "kafka_network_requestmetrics_requestbytes_count",
        ),
        "Bytes of requests.",
        1.0,
        |api| &api.request_bytes,
    );
    let mut family = page.gauge(
        "kafka_server_socket_server_metrics_connection_count",
        "Open connections by listener.",
    );
    for (listener, count) in connections.by_listener() {
        family.sample(&[("listener", listener.as_str())], count);
    }
}
