//! `mesh-bench NAME`: what does mesh cost, beside what else there is? One file per bench.
//!
//! `cargo xtask bench` builds everything and starts this; see [`report`] for what each bench prints, writes and holds.

mod budget;
mod budgets;
mod machine;
mod remap;
mod report;
mod statistics;
mod tunnel;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

use report::Report;

#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask bench", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    bench: Bench,
    /// Fails when a figure misses what bench/budgets.toml holds
    #[arg(long, global = true)]
    check: bool,
    /// Writes the figures and the machine's facts to this file
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// What each BPF program costs: instructions, the verifier's walk, time per packet, memory
    Budget(budget::Arguments),
    /// A forwarded and remapped packet beside nftables, and TCP through a remapped veth
    Remap(remap::Arguments),
    /// One TCP stream through an encrypted tunnel, beside wireguard-go: throughput and CPU time
    Tunnel(tunnel::Arguments),
}

impl Bench {
    /// Its section of bench/budgets.toml.
    fn name(&self) -> &'static str {
        match self {
            Bench::Budget(_) => "budget",
            Bench::Remap(_) => "remap",
            Bench::Tunnel(_) => "tunnel",
        }
    }
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let mut report = Report::begin(arguments.bench.name())?;
    match arguments.bench {
        Bench::Budget(arguments) => budget::run(&arguments, &mut report)?,
        Bench::Remap(arguments) => remap::run(&arguments, &mut report)?,
        Bench::Tunnel(arguments) => tunnel::run(&arguments, &mut report)?,
    }
    report.finish(arguments.check, arguments.json.as_deref())
}
