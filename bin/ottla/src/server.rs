//! `ottla server`: a broker from its start to its shutdown.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;

use anyhow::{Context, bail};
use ottla_broker::dynamic_config::Loggers;
use tokio::runtime::Runtime;
use tracing::warn;

use crate::configuration::{self, Configuration};
use crate::{ServerArguments, logging};

/// Runs a broker until it is interrupted or terminated, and then shuts it down in order.
pub(crate) fn run(arguments: &ServerArguments) -> anyhow::Result<()> {
    let configuration = configuration::read(arguments)?;
    let loggers = logging::start(&configuration.log_level)?;
    for property in &configuration.ineffective {
        warn!("{property}");
    }
    if configuration.broker.zookeeper_connect.is_some() {
        bail!(
            "zookeeper.connect is set, but joining a cluster on ZooKeeper is not built yet; \
             without it a single node runs on embedded coordination"
        );
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

async fn serve(configuration: Configuration, _loggers: Loggers) -> anyhow::Result<()> {
    let dir = configuration.coordination_dir.display();
    bail!("the broker that would keep its tree in {dir} is not assembled yet")
}
