//! The `ottla` command: the daemon and its tools.
//!
//! A thin main: read the command line and the configuration, start the broker, wait for a signal,
//! shut down. Results for people and scripts go to standard output, logs to standard error.

mod configuration;
mod environment;
mod log_commands;
mod logging;
mod server;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use log_commands::LogCommand;

/// A Kafka broker for clusters that run on ZooKeeper.
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    after_help = "Without a command, ottla runs `ottla server`."
)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a broker until it is interrupted or terminated.
    Server(ServerArguments),
    /// Looks into log directories without a broker.
    #[command(subcommand)]
    Log(LogCommand),
}

/// What `ottla server` is told.
#[derive(Debug, Default, Args)]
struct ServerArguments {
    /// Kafka's server.properties, or TOML with the same keys (a name that ends in .toml). Without
    /// it: a single node on 127.0.0.1:9092 with its data below ./data.
    file: Option<PathBuf>,
    /// In a container: KAFKA_* variables over /mnt/shared/config/server.properties, and
    /// /etc/kafka/docker/server.properties where neither says anything, as in Kafka's own image.
    #[arg(long, conflicts_with = "file")]
    from_environment: bool,
    /// Sets a key, over what the file says; may be repeated.
    #[arg(long = "override", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

fn main() -> ExitCode {
    let command = CommandLine::parse().command;
    let command = command.unwrap_or_else(|| Command::Server(ServerArguments::default()));
    let result = match command {
        Command::Server(arguments) => server::run(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Log(command) => log_commands::run(&command),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("ottla: {error:#}");
            ExitCode::FAILURE
        }
    }
}
