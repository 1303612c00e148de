//! What is counted of requests, by API (`RequestMetrics`).

use std::sync::OnceLock;
use std::time::Duration;

use ottla_model::ErrorCode;
use ottla_network::Completed;
use ottla_protocol::{Api, keys};

use super::counts::Counter;
use super::errors::CountErrors;
use super::histogram::Histogram;

/// [`ottla_network::Response::mark`] of a consumer's Fetch.
pub(crate) const FETCH_CONSUMER: u8 = 1;
/// The same of a follower's.
pub(crate) const FETCH_FOLLOWER: u8 = 2;

/// Names under which Fetch requests are counted; those of their API are the sum. The marks above,
/// less one, are the places in it.
const OTHER_NAMES: [&str; 2] = ["FetchConsumer", "FetchFollower"];

/// See the module. Room for an API is made with its first request.
#[derive(Debug)]
pub(crate) struct RequestMetrics {
    /// As `Api::all`, then the other names.
    by_name: Vec<OnceLock<Box<ApiMetrics>>>,
}

/// What is counted of one API.
#[derive(Debug)]
pub(crate) struct ApiMetrics {
    /// By version.
    pub(crate) requests: Vec<Counter>,
    /// By error, in the order of `ErrorCode::ALL`; success is one of them.
    pub(crate) errors: Vec<Counter>,
    /// From the request's last byte read to the answer's last byte given to the system, in
    /// microseconds like the times below.
    pub(crate) total_time: Histogram,
    /// In which the handler ran.
    pub(crate) local_time: Histogram,
    /// In which it waited: for other brokers and clients, or for the disk.
    pub(crate) remote_time: Histogram,
    /// In which the answer was sent.
    pub(crate) response_send_time: Histogram,
    /// The size of requests.
    pub(crate) request_bytes: Histogram,
}

impl Default for RequestMetrics {
    fn default() -> Self {
        let names = Api::all().len() + OTHER_NAMES.len();
        Self {
            by_name: (0..names).map(|_| OnceLock::new()).collect(),
        }
    }
}

impl RequestMetrics {
    /// Counts a request that is done with.
    pub(crate) fn completed(&self, request: &Completed) {
        let Some(place) = Api::place_of(request.api_key) else {
            return;
        };
        let other = usize::from(request.mark).checked_sub(1);
        let other = other.filter(|other| *other < OTHER_NAMES.len());
        // Once, for that it is the hottest: the page adds up.
        let place = other.map_or(place, |other| Api::all().len() + other);
        self.at(place).completed(request);
    }

    /// Counts what an answer tells, errors and success.
    pub(crate) fn errors(&self, api_key: i16, response: &impl CountErrors) {
        let Some(place) = Api::place_of(api_key) else {
            return;
        };
        let api = self.at(place);
        // Nearly all are successes: they are counted at once.
        let mut successes = 0;
        response.each_error(&mut |code| match code {
            0 => successes += 1,
            code => api.error(ErrorCode::from_code(code)).mark(),
        });
        if successes > 0 {
            api.error(ErrorCode::None).add(successes);
        }
    }

    /// What has been asked for so far, by name.
    pub(crate) fn seen(&self) -> impl Iterator<Item = Seen<'_>> {
        let names = Api::all().iter().map(|api| api.name).chain(OTHER_NAMES);
        let others = Api::all().len();
        let seen = names.enumerate().map(move |(place, name)| {
            let is_fetch = Some(place) == Api::place_of(keys::FETCH);
            let rest = if is_fetch {
                &self.by_name[others..]
            } else {
                &[]
            };
            let parts = self.by_name[place..=place].iter().chain(rest);
            Seen {
                name,
                parts: parts.filter_map(|api| Some(&**api.get()?)).collect(),
            }
        });
        seen.filter(|seen| !seen.parts.is_empty())
    }

    /// Begins a span of the quantiles.
    pub(crate) fn rotate(&self) {
        for api in self.by_name.iter().filter_map(OnceLock::get) {
            api.histograms().into_iter().for_each(Histogram::rotate);
        }
    }

    fn at(&self, place: usize) -> &ApiMetrics {
        self.by_name[place].get_or_init(|| Box::new(ApiMetrics::new(place)))
    }
}

/// What is counted under one name.
#[derive(Debug)]
pub(crate) struct Seen<'a> {
    /// Of the API, or one of the others.
    pub(crate) name: &'static str,
    parts: Vec<&'a ApiMetrics>,
}

impl<'a> Seen<'a> {
    /// Requests by version.
    pub(crate) fn requests(&self) -> Vec<u64> {
        self.sum(|part| &part.requests)
    }

    /// In the order of `ErrorCode::ALL`.
    pub(crate) fn errors(&self) -> Vec<u64> {
        self.sum(|part| &part.errors)
    }

    /// One of the histograms, in parts.
    pub(crate) fn histogram(&self, of: fn(&ApiMetrics) -> &Histogram) -> Vec<&'a Histogram> {
        self.parts.iter().map(|part| of(part)).collect()
    }

    fn sum(&self, of: fn(&ApiMetrics) -> &Vec<Counter>) -> Vec<u64> {
        let length = self.parts.iter().map(|part| of(part).len()).max();
        let at = |place: usize| {
            self.parts
                .iter()
                .filter_map(move |part| of(part).get(place))
        };
        (0..length.unwrap_or(0))
            .map(|place| at(place).map(Counter::get).sum())
            .collect()
    }
}

impl ApiMetrics {
    fn new(place: usize) -> Self {
        let counters = |count: usize| (0..count).map(|_| Counter::default()).collect();
        // Fetch has the most versions, and the other names are Fetch's.
        let most = Api::all().iter().map(|api| api.max_version).max();
        let last = Api::all().get(place).map(|api| api.max_version).or(most);
        Self {
            requests: counters(usize::try_from(last.unwrap_or(0)).unwrap_or(0) + 1),
            errors: counters(ErrorCode::ALL.len()),
            total_time: Histogram::default(),
            local_time: Histogram::default(),
            remote_time: Histogram::default(),
            response_send_time: Histogram::default(),
            request_bytes: Histogram::default(),
        }
    }

    fn completed(&self, request: &Completed) {
        // A version that is not served is refused before; only ApiVersions answers unknown ones.
        let version = usize::try_from(request.api_version).ok();
        if let Some(counter) = version.and_then(|version| self.requests.get(version)) {
            counter.mark();
        }
        let total = request.busy + request.waited + request.sending;
        self.total_time.record(micros(total));
        self.local_time.record(micros(request.busy));
        self.remote_time.record(micros(request.waited));
        self.response_send_time.record(micros(request.sending));
        self.request_bytes.record(request.frame_size as u64);
    }

    fn error(&self, code: ErrorCode) -> &Counter {
        let place = ErrorCode::ALL.binary_search(&code);
        // Every code is in the list of all, which ascends.
        &self.errors[place.unwrap_or(0)]
    }

    fn histograms(&self) -> [&Histogram; 5] {
        [
            &self.total_time,
            &self.local_time,
            &self.remote_time,
            &self.response_send_time,
            &self.request_bytes,
        ]
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Codes(Vec<i16>);

    impl CountErrors for Codes {
        fn each_error(&self, count: &mut dyn FnMut(i16)) {
            self.0.iter().for_each(|code| count(*code));
        }
    }

    fn fetch(mark: u8) -> Completed {
        Completed {
            api_key: 1,
            api_version: 17,
            frame_size: 100,
            mark,
            busy: Duration::from_micros(5),
            waited: Duration::from_millis(500),
            sending: Duration::from_micros(2),
        }
    }

    #[test]
    fn fetches_count_by_who_asks_too() {
        let metrics = RequestMetrics::default();
        assert_eq!(metrics.seen().count(), 0);
        metrics.completed(&fetch(FETCH_CONSUMER));
        metrics.completed(&fetch(FETCH_FOLLOWER));
        metrics.completed(&fetch(FETCH_FOLLOWER));
        let seen: Vec<_> = metrics
            .seen()
            .map(|seen| {
                let times = seen.histogram(|api| &api.total_time);
                let count: u64 = times.iter().map(|part| part.count()).sum();
                (seen.name, seen.requests()[17], count)
            })
            .collect();
        assert_eq!(
            seen,
            [
                ("Fetch", 3, 3),
                ("FetchConsumer", 1, 1),
                ("FetchFollower", 2, 2)
            ]
        );
    }

    #[test]
    fn errors_and_successes_are_counted_apart() {
        let metrics = RequestMetrics::default();
        metrics.errors(0, &Codes(vec![0, 0, 6, -1, 0]));
        let produce = metrics.seen().next().unwrap().errors();
        let count = |code| produce[ErrorCode::ALL.binary_search(&code).unwrap()];
        assert_eq!(count(ErrorCode::None), 3);
        assert_eq!(count(ErrorCode::NotLeaderOrFollower), 1);
        assert_eq!(count(ErrorCode::UnknownServerError), 1);
        assert!(ErrorCode::ALL.is_sorted());
    }

    #[test]
    fn what_3_9_does_not_know_is_not_counted() {
        let metrics = RequestMetrics::default();
        metrics.completed(&Completed {
            api_key: 999,
            ..fetch(0)
        });
        let unknown_version = Completed {
            api_key: 18,
            api_version: 99,
            ..fetch(0)
        };
        metrics.completed(&unknown_version);
        let seen = metrics.seen().next().unwrap();
        assert_eq!(seen.name, "ApiVersions");
        assert_eq!(seen.histogram(|api| &api.total_time)[0].count(), 1);
        assert!(seen.requests().iter().all(|count| *count == 0));
    }
}
