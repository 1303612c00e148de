//! `ottla server`: a broker from its start to its shutdown.

use std::io::{Write, stdout};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;

use anyhow::{Context, bail};
use ottla_broker::dynamic_config::Loggers;
use ottla_broker::{RunningBroker, StartOptions};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

use crate::configuration::{self, Configuration};
use crate::{ServerArguments, logging};

/// Runs a broker until it is interrupted or terminated, and then shuts it down in order.
pub(crate) fn run(arguments: &ServerArguments) -> anyhow::Result<()> {
    let configuration = configuration::read(arguments)?;
    let loggers = logging::start(&configuration.log_level)?;
    for property in &configuration.ineffective {
        warn!("{property}");
    }
    let runtime = runtime()?;
    runtime.block_on(serve(configuration, loggers))
}

/// One worker per core; blocking work (cold reads, fsync, recovery) has its own threads.
fn runtime() -> anyhow::Result<Runtime> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let workers = available_parallelism().map_or(1, NonZeroUsize::get);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_name_fn(|| format!("ottla-{}", NEXT.fetch_add(1, Ordering::Relaxed)))
        .enable_all()
        .build()
        .context("cannot start threads")
}

async fn serve(configuration: Configuration, loggers: Loggers) -> anyhow::Result<()> {
    // Before anything runs: a signal during the start waits for the end of the start.
    let mut signals = Signals::new()?;
    let directories = configuration.broker.log_dirs();
    let broker = RunningBroker::start(StartOptions {
        config: configuration.broker,
        coordination_directory: configuration.coordination_dir,
        loggers: Arc::new(loggers),
        metrics: configuration.metrics,
    })
    .await?;
    announce(&broker, &directories)?;
    let signal = tokio::select! {
        signal = signals.wait() => signal,
        () = broker.all_directories_failed() => {
            bail!("all log directories have failed; the broker ends");
        }
        () = broker.features_are_incompatible() => {
            // The rest of the cluster is well: leaders move away in order.
            broker.shut_down().await;
            bail!("a feature is finalized that this broker does not support; the broker ends");
        }
    };
    info!("{signal} received, shutting down");
    broker.shut_down().await;
    info!("shut down");
    Ok(())
}

/// Three lines for whoever started it. The first one holds what scripts wait for that know Kafka.
fn announce(broker: &RunningBroker, directories: &[PathBuf]) -> anyhow::Result<()> {
    let id = broker.id();
    info!("[KafkaServer id={id}] started (kafka.server.KafkaServer)");
    let addresses: Vec<String> = broker
        .addresses()
        .iter()
        .map(|(_, address)| address.to_string())
        .collect();
    let directories: Vec<String> = directories
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let first = addresses.first().map_or("", String::as_str);
    let mut out = stdout().lock();
    writeln!(
        out,
        "[KafkaServer id={id}] started (kafka.server.KafkaServer), listening on {}",
        addresses.join(", ")
    )?;
    writeln!(out, "data is in {}", directories.join(", "))?;
    writeln!(
        out,
        "try: kcat -b {first} -L, or any kafka-*.sh --bootstrap-server {first}"
    )?;
    Ok(out.flush()?)
}

/// The signals that end a broker.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let on = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
        })
    }

    async fn wait(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}
