//! Prometheus text, version 0.0.4.

use std::collections::BTreeSet;
use std::fmt::{Display, Write as _};

use super::histogram::Histogram;

/// Kafka's quantiles, as the JMX exporter's rules spell them.
const QUANTILES: [(&str, f64); 6] = [
    ("0.50", 0.5),
    ("0.75", 0.75),
    ("0.95", 0.95),
    ("0.98", 0.98),
    ("0.99", 0.99),
    ("0.999", 0.999),
];
/// Histograms hold microseconds, Kafka's are of milliseconds.
pub(super) const MILLISECONDS: f64 = 1000.0;

/// Labels of one series: names and values.
pub(super) type Labels<'a> = [(&'a str, &'a str)];

/// The labels of a series, and the histograms that it adds up.
pub(super) type HistogramSeries<'a> = (Vec<(&'a str, &'a str)>, Vec<&'a Histogram>);

/// The page in the making.
#[derive(Debug, Default)]
pub(super) struct Page {
    text: String,
    families: BTreeSet<&'static str>,
}

/// One metric of the page; a second one of the same name would be a fault.
#[derive(Debug)]
pub(super) struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
    /// Written before the first sample: a metric without samples does not appear.
    head: Option<String>,
}

impl Page {
    /// A number of now.
    pub(super) fn gauge(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "gauge", help)
    }

    /// A number that only grows.
    pub(super) fn counter(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "counter", help)
    }

    /// Kafka's histograms and timers: quantiles under the name, and the count under a second one.
    /// Each series is made of one histogram or more; values are shown in units of so many.
    pub(super) fn histogram<'h>(
        &mut self,
        (name, count_name): (&'static str, &'static str),
        help: &str,
        unit: f64,
        series: &[HistogramSeries<'h>],
    ) {
        let mut family = self.gauge(name, help);
        for (labels, parts) in series {
            let values = Histogram::quantiles(parts, QUANTILES.map(|(_, share)| share));
            for ((quantile, _), value) in QUANTILES.iter().zip(values) {
                let mut labels = labels.clone();
                labels.push(("quantile", quantile));
                family.sample(&labels, value / unit);
            }
        }
        let mut family = self.counter(count_name, help);
        for (labels, parts) in series {
            let count: u64 = parts.iter().map(|part| part.count()).sum();
            family.sample(labels, count);
        }
    }

    /// The whole text.
    pub(super) fn into_text(self) -> String {
        self.text
    }

    fn family(&mut self, name: &'static str, kind: &str, help: &str) -> Family<'_> {
        assert!(
            self.families.insert(name),
            "each metric is written in one place, and {name} is not"
        );
        let head = format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
        Family {
            text: &mut self.text,
            name,
            head: Some(head),
        }
    }
}

impl Family<'_> {
    /// One series and its value, which must print as a number.
    pub(super) fn sample(&mut self, labels: &Labels<'_>, value: impl Display) {
        if let Some(head) = self.head.take() {
            self.text.push_str(&head);
        }
        self.text.push_str(self.name);
        for (place, (name, value)) in labels.iter().enumerate() {
            self.text.push(if place == 0 { '{' } else { ',' });
            self.text.push_str(name);
            self.text.push_str("=\"");
            escape(self.text, value);
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        // Writing to a string does not fail.
        _ = writeln!(self.text, " {value}");
    }

    /// The only series of a metric without labels.
    pub(super) fn value(&mut self, value: impl Display) {
        self.sample(&[], value);
    }
}

fn escape(text: &mut String, value: &str) {
    for letter in value.chars() {
        match letter {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_written_as_prometheus_reads_them() {
        let mut page = Page::default();
        page.gauge("a", "Help.").value(3);
        let mut family = page.counter("b_total", "More.");
        family.sample(&[("topic", "t"), ("path", "\"/x\\y\"\n")], 1.5);
        page.gauge("nothing", "Not seen.");
        assert_eq!(
            page.into_text(),
            "# HELP a Help.\n# TYPE a gauge\na 3\n# HELP b_total More.\n# TYPE b_total counter\n\
             b_total{topic=\"t\",path=\"\\\"/x\\\\y\\\"\\n\"} 1.5\n"
        );
    }

    #[test]
    fn histograms_have_kafkas_quantiles_and_a_count() {
        let histogram = Histogram::default();
        for _ in 0..3 {
            histogram.record(5);
        }
        let mut page = Page::default();
        let series = [(vec![("request", "Fetch")], vec![&histogram])];
        page.histogram(("h", "h_count"), "Help.", 1.0, &series);
        let text = page.into_text();
        assert!(
            text.contains("h{request=\"Fetch\",quantile=\"0.50\"} 5\n"),
            "{text}"
        );
        assert!(
            text.contains("h{request=\"Fetch\",quantile=\"0.999\"} 5\n"),
            "{text}"
        );
        assert!(
            text.contains("# TYPE h_count counter\nh_count{request=\"Fetch\"} 3\n"),
            "{text}"
        );
    }

    #[test]
    #[should_panic(expected = "each metric is written in one place")]
    fn a_metric_is_written_once() {
        let mut page = Page::default();
        page.gauge("a", "Help.").value(3);
        page.gauge("a", "Help.").value(3);
    }
}
