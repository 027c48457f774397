//! What the daemon tells of itself: logs by `tracing` to standard error, as text or as JSON lines, and numbers for Prometheus.

pub mod exposition;
pub mod listener;
pub mod metrics;

use std::io::{self, IsTerminal as _};

use anyhow::{Context as _, Result};
use tracing_subscriber::EnvFilter;

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// Starts logging. `filter`: directives as in `RUST_LOG`, which holds where none are given; default `info`.
pub fn start(filter: Option<&str>, format: LogFormat) -> Result<()> {
    let from_environment = std::env::var(EnvFilter::DEFAULT_ENV).ok();
    let directives = filter.or(from_environment.as_deref()).unwrap_or("info");
    let filter = EnvFilter::try_new(directives).with_context(|| format!("`{directives}` is no log filter"))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match format {
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}
