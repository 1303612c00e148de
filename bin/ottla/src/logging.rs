//! Logs: on standard error, at a level that `OTTLA_LOG`, `ottla.log.level` or, while the broker
//! runs, its loggers set.

use std::io::{IsTerminal, stderr};

use anyhow::Context;
use ottla_broker::dynamic_config::Loggers;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt, reload};

/// The environment variable that is stronger than the configuration.
const ENVIRONMENT: &str = "OTTLA_LOG";

/// Starts logging and returns what changes its levels.
pub(crate) fn start(configured: &str) -> anyhow::Result<Loggers> {
    let level = std::env::var(ENVIRONMENT).unwrap_or_else(|_| configured.to_owned());
    let parse = |text: &str| EnvFilter::builder().parse(text);
    let filter = parse(&level).with_context(|| format!("{level} is not a level of logging"))?;
    let (filter, handle) = reload::Layer::new(filter);
    let layer = fmt::layer()
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal());
    tracing_subscriber::registry()
        .with(filter)
        .with(layer)
        .try_init()?;
    let reload = move |text: &str| {
        let filter = parse(text).map_err(|error| error.to_string())?;
        handle.reload(filter).map_err(|error| error.to_string())
    };
    Ok(Loggers::new(&level, Box::new(reload)))
}
