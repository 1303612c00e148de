//! How values were spread lately: fixed buckets of atomics, so that recording never waits and never
//! allocates.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// Buckets per doubling: a value is known to an eighth of itself.
const STEPS: u64 = 8;
/// Doublings above the exact values below [`STEPS`]; more is counted as the most.
const DOUBLINGS: usize = 33;
const BUCKETS: usize = STEPS as usize * (DOUBLINGS + 1);
/// Spans that quantiles look back over, the running one included.
const SPANS: usize = 3;

/// A histogram of whole numbers with Kafka's two faces: a count since the start, and quantiles of
/// the last few minutes (Kafka's decay over five; these cover two to three spans of
/// [`Histogram::rotate`], which must be called as each begins).
#[derive(Debug)]
pub(crate) struct Histogram {
    count: AtomicU64,
    running: AtomicUsize,
    spans: Box<[[AtomicU32; BUCKETS]; SPANS]>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            count: AtomicU64::new(0),
            running: AtomicUsize::new(0),
            spans: Box::new([const { [const { AtomicU32::new(0) }; BUCKETS] }; SPANS]),
        }
    }
}

impl Histogram {
    /// Counts one value.
    pub(crate) fn record(&self, value: u64) {
        self.count.fetch_add(1, Ordering::Relaxed);
        // `running` is only ever stored as a remainder by SPANS.
        let span = self.running.load(Ordering::Relaxed);
        self.spans[span][bucket_of(value)].fetch_add(1, Ordering::Relaxed);
    }

    /// Begins a span and forgets the oldest. A value that is recorded at the same moment may be
    /// forgotten with it, or be counted in the new one.
    pub(crate) fn rotate(&self) {
        let next = (self.running.load(Ordering::Relaxed) + 1) % SPANS;
        for bucket in &self.spans[next] {
            bucket.store(0, Ordering::Relaxed);
        }
        self.running.store(next, Ordering::Relaxed);
    }

    /// Values since the start.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// The value below which each of these shares of the late values of all `parts` lies, in the
    /// shares' order; 0 where there were none, as in Kafka.
    pub(crate) fn quantiles<const N: usize>(parts: &[&Self], shares: [f64; N]) -> [f64; N] {
        let counts: Vec<u64> = (0..BUCKETS)
            .map(|bucket| {
                let span = |span: &[AtomicU32; BUCKETS]| span[bucket].load(Ordering::Relaxed);
                let spans = parts.iter().flat_map(|part| part.spans.iter());
                spans.map(|s| u64::from(span(s))).sum()
            })
            .collect();
        let total: u64 = counts.iter().sum();
        shares.map(|share| quantile(&counts, total, share))
    }
}

fn quantile(counts: &[u64], total: u64, share: f64) -> f64 {
    let wanted = share * total as f64;
    let mut below = 0;
    for (bucket, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        if (below + count) as f64 >= wanted {
            let (low, width) = range_of(bucket);
            let part = (wanted - below as f64) / count as f64;
            // Small values are exact; of larger ones all places in the bucket are as likely.
            let inside = if width == 1 { 0.0 } else { width as f64 * part };
            return low as f64 + inside;
        }
        below += count;
    }
    0.0
}

fn bucket_of(value: u64) -> usize {
    if value < STEPS {
        return value as usize;
    }
    // At least 3, for the value is at least 8.
    let doubling = value.ilog2() - STEPS.ilog2();
    let step = (value >> doubling) - STEPS;
    let bucket = (u64::from(doubling) + 1) * STEPS + step;
    (bucket as usize).min(BUCKETS - 1)
}

/// The first value of a bucket and how many values it holds.
fn range_of(bucket: usize) -> (u64, u64) {
    let bucket = bucket as u64;
    if bucket < STEPS {
        return (bucket, 1);
    }
    let doubling = bucket / STEPS - 1;
    ((STEPS + bucket % STEPS) << doubling, 1 << doubling)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_lies_in_the_range_of_its_bucket() {
        let values = (0..2000).chain((0..36).map(|bit| 1u64 << bit));
        for value in values {
            let (low, width) = range_of(bucket_of(value));
            assert!((low..low + width).contains(&value), "{value}");
            assert!(width == 1 || width * STEPS <= low, "{value}: {width}");
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_near_the_true_ones() {
        let histogram = Histogram::default();
        for value in 1..=10_000 {
            histogram.record(value);
        }
        let shares = [0.5, 0.75, 0.95, 0.99, 0.999];
        for (share, value) in shares
            .into_iter()
            .zip(Histogram::quantiles(&[&histogram], shares))
        {
            let exact = share * 10_000.0;
            assert!((value - exact).abs() < exact / 20.0, "{share}: {value}");
        }
        assert_eq!(histogram.count(), 10_000);
    }

    #[test]
    fn small_values_are_exact_and_none_is_zero() {
        let histogram = Histogram::default();
        assert_eq!(Histogram::quantiles(&[&histogram], [0.5]), [0.0]);
        for _ in 0..10 {
            histogram.record(3);
        }
        let other = Histogram::default();
        other.record(5);
        let both = [&histogram, &other];
        assert_eq!(Histogram::quantiles(&both, [0.5, 0.999]), [3.0, 5.0]);
    }

    #[test]
    fn quantiles_forget_and_the_count_does_not() {
        let histogram = Histogram::default();
        histogram.record(1000);
        for _ in 1..SPANS {
            histogram.rotate();
            histogram.record(1);
        }
        assert!(Histogram::quantiles(&[&histogram], [0.999])[0] > 900.0);
        histogram.rotate();
        assert_eq!(Histogram::quantiles(&[&histogram], [0.999]), [1.0]);
        assert_eq!(histogram.count(), SPANS as u64);
    }
}
