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
    for seen in metrics.seen() {
        let by_version = seen.requests().into_iter().enumerate();
        for (version, count) in by_version.filter(|(_, count)| *count > 0) {
            let version = version.to_string();
            family.sample(&[("request", seen.name), ("version", &version)], count);
        }
    }
    let mut family = page.counter(
        "kafka_network_requestmetrics_errors_total",
        "Errors told by answers, by API; NONE counts successes.",
    );
    for seen in metrics.seen() {
        let by_error = ErrorCode::ALL.iter().zip(seen.errors());
        for (error, count) in by_error.filter(|(_, count)| *count > 0) {
            family.sample(&[("request", seen.name), ("error", error.name())], count);
        }
    }
    let mut histogram = |names, help, unit, of: fn(&ApiMetrics) -> &Histogram| {
        let series: Vec<_> = metrics
            .seen()
            .map(|seen| (vec![("request", seen.name)], seen.histogram(of)))
            // Of one that only told an error so far nothing has been completed.
            .filter(|(_, parts)| parts.iter().any(|part| part.count() > 0))
            .collect();
        page.histogram(names, help, unit, &series);
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
