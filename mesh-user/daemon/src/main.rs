//! `meshd`: the command line of the daemon. Read `daemon.rs` for what it starts.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use meshd::{
    cleanup, daemon, settings,
    telemetry::{self, LogFormat},
};

/// The data plane of a mesh node.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// The settings file
    #[arg(long, global = true, value_name = "FILE", default_value = "/etc/mesh/meshd.toml")]
    config: PathBuf,
    /// What to log, as in RUST_LOG [default: $RUST_LOG, else info]
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,
    /// Form of the log
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum Command {
    /// Run in the foreground until SIGTERM (the default); what is in the kernel stays
    Run,
    /// Remove from the kernel all that is ours, and nothing else; works while no daemon runs
    Cleanup,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("meshd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    telemetry::start(cli.log.as_deref(), cli.log_format)?;
    let settings = settings::read(&cli.config)?;
    // All work of this runtime is control; packets have threads of their own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start tokio")?;
    match cli.command.unwrap_or(Command::Run) {
        Command::Run => runtime.block_on(daemon::run(settings)),
        Command::Cleanup => runtime.block_on(cleanup::run(&settings)),
    }
}
