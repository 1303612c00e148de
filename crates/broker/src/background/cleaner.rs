//! The threads of the log cleaner: as many as `log.cleaner.threads` says at the moment.

use std::sync::Arc;
use std::time::Duration;

use ottla_config::BrokerConfig;
use ottla_model::{Instant, Timestamp};
use ottla_storage::LogManager;
use ottla_storage::cleaner::{CleanRound, Cleaner, CleanerClock, CleanerSettings, Throttle};
use parking_lot::Mutex;
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::metrics::LogMetrics;

/// Tells the configuration in force.
pub(super) type CurrentConfig = Arc<dyn Fn() -> Arc<BrokerConfig> + Send + Sync>;

/// How often the number of threads is looked at.
const THREADS_INTERVAL: Duration = Duration::from_secs(1);

struct SharedClock {
    clock: Clock,
    throttle: Mutex<Throttle>,
}

impl CleanerClock for SharedClock {
    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn wall(&self) -> Timestamp {
        self.clock.wall()
    }

    fn pause(&self, duration: Duration) {
        std::thread::sleep(duration);
    }

    fn throttle(&self) -> &Mutex<Throttle> {
        &self.throttle
    }
}

/// Cleans until the logs are closed, or until this is dropped; a cleaning in progress is ended by
/// the former only.
pub(super) async fn run(
    logs: Arc<LogManager>,
    clock: Clock,
    config: CurrentConfig,
    metrics: Arc<LogMetrics>,
) {
    let clock = Arc::new(SharedClock {
        clock,
        throttle: Mutex::new(Throttle::new(clock.now())),
    });
    let mut threads = JoinSet::new();
    let mut running = 0;
    while !logs.is_cleaning_stopped() {
        let wanted = settings(&config()).threads;
        while running < wanted {
            let (logs, clock, config) =
                (Arc::clone(&logs), Arc::clone(&clock), Arc::clone(&config));
            let metrics = Arc::clone(&metrics);
            threads.spawn(clean(running, logs, clock, config, metrics));
            running += 1;
        }
        // Those above the number end by themselves, before their places are taken again.
        while running > wanted {
            match threads.join_next().await {
                Some(Ok(())) => running -= 1,
                Some(Err(_)) => died(&metrics),
                None => break,
            }
        }
        while let Some(ended) = threads.try_join_next() {
            match ended {
                Ok(()) => running -= 1,
                Err(_) => died(&metrics),
            }
        }
        tokio::time::sleep(THREADS_INTERVAL).await;
    }
}

/// As in Kafka it is not replaced.
fn died(metrics: &LogMetrics) {
    tracing::error!("a thread of the log cleaner has died");
    metrics.cleaner_died();
}

/// One thread of the cleaner, with its number.
async fn clean(
    number: usize,
    logs: Arc<LogManager>,
    clock: Arc<SharedClock>,
    config: CurrentConfig,
    metrics: Arc<LogMetrics>,
) {
    let cleaner = Arc::new(Mutex::new(Cleaner::new(settings(&config()))));
    loop {
        let current = config();
        let settings = settings(&current);
        if number >= settings.threads {
            return;
        }
        metrics.cleaner_runs(clock.wall());
        let began = clock.now();
        let runs_on = Arc::clone(&clock);
        let (logs, clock, cleaner) = (Arc::clone(&logs), Arc::clone(&clock), Arc::clone(&cleaner));
        let round = tokio::task::spawn_blocking(move || {
            let mut cleaner = cleaner.lock();
            cleaner.update(&settings);
            logs.clean(&mut cleaner, &*clock)
        });
        match round.await {
            Ok(CleanRound::Cleaned(stats)) => {
                metrics.cleaned(number, stats, runs_on.now().since(began));
                continue;
            }
            Ok(CleanRound::Stopped) => return,
            Ok(CleanRound::Nothing) => {}
            Err(error) => tracing::error!(%error, "the log cleaner failed"),
        }
        let backoff = u64::try_from(current.log_cleaner_backoff_ms).unwrap_or(0);
        tokio::time::sleep(Duration::from_millis(backoff.max(1))).await;
    }
}

fn settings(config: &BrokerConfig) -> CleanerSettings {
    CleanerSettings {
        threads: usize::try_from(config.log_cleaner_threads).unwrap_or(0),
        dedupe_buffer_size: u64::try_from(config.log_cleaner_dedupe_buffer_size).unwrap_or(0),
        io_buffer_size: usize::try_from(config.log_cleaner_io_buffer_size).unwrap_or(0),
        io_buffer_load_factor: config.log_cleaner_io_buffer_load_factor,
        io_max_bytes_per_second: config.log_cleaner_io_max_bytes_per_second,
    }
}
