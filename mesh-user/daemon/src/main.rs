//! `meshd`: the command line of the daemon. Read `daemon.rs` for what it starts.
//!
//! Called `mesh-wg`, the same program is a WireGuard device: see `wg`.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use meshd::{
    cleanup, daemon, settings,
    telemetry::{self, LogFormat},
    wg,
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

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Run in the foreground until SIGTERM (the default); what is in the kernel stays
    Run,
    /// Remove from the kernel all that is ours, and nothing else; works while no daemon runs
    Cleanup,
    /// A WireGuard device for wg(8) and wg-quick(8): the program `mesh-wg`
    Wg(wg::Arguments),
}

fn main() -> ExitCode {
    let called = std::env::args_os().next();
    let called = called.as_deref().map(Path::new).and_then(Path::file_name);
    let (name, ended) = match called == Some(OsStr::new("mesh-wg")) {
        true => ("mesh-wg", wg::run(&wg::Program::parse().arguments)),
        false => ("meshd", run(&Cli::parse())),
    };
    match ended {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<ExitCode> {
    if let Some(Command::Wg(arguments)) = &cli.command {
        return wg::run(arguments);
    }
    telemetry::start(cli.log.as_deref(), cli.log_format)?;
    let settings = settings::read(&cli.config)?;
    // All work of this runtime is control; packets have threads of their own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start tokio")?;
    match cli.command {
        Some(Command::Cleanup) => runtime.block_on(cleanup::run(&settings)),
        _ => runtime.block_on(daemon::run(settings)),
    }?;
    Ok(ExitCode::SUCCESS)
}
