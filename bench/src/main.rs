//! `mesh-bench NAME`: what does mesh cost, beside what else there is? One file per bench.
//!
//! `cargo xtask bench` builds everything and starts this; see [`report`] for what each bench prints, writes and holds.

mod aead;
mod budget;
mod budgets;
mod dns;
mod io;
mod kernel;
mod lanes;
mod machine;
mod plan;
mod processors;
mod remap;
mod report;
mod statistics;
mod tunnel;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};

use report::{Files, Report};

#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask bench", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    bench: Bench,
    /// Fails when a figure misses what bench/budgets.toml holds; asks for as many runs and pairs as are promised
    #[arg(long, global = true)]
    check: bool,
    /// Writes the figures and the machine's facts to this file
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draws what was compared into this file
    #[arg(long, global = true, value_name = "FILE")]
    svg: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// Sealing and opening data messages, alone and in batches, beside ring
    Aead(aead::Arguments),
    /// What each BPF program costs: instructions, the verifier's walk, time per packet, memory
    Budget(budget::Arguments),
    /// Names of a group's members: questions per second and processor, what is lost, beside dnsmasq and nsd
    Dns(dns::Arguments),
    /// Ways to move the same datagrams: calls, batches, segments, io_uring, parts, pages
    Io(io::Arguments),
    /// Two lanes on two cores beside one lane; all cores where there are at least eight
    Lanes(lanes::Arguments),
    /// Many groups and many peers: decisions, plans and steps, without kernel and network
    Plan(plan::Arguments),
    /// A forwarded and remapped packet beside nftables, and TCP through a remapped veth
    Remap(remap::Arguments),
    /// Streams, packets, round trips, handshakes and idle peers of a tunnel, beside wireguard-go, boringtun and gotatun
    Tunnel(tunnel::Arguments),
    /// Our server in the bench `dns`
    #[command(hide = true)]
    DnsServer(dns::server::Arguments),
    /// What `tunnel` counts the instructions of
    #[command(hide = true)]
    Crossing(tunnel::crossing::Arguments),
}

impl Bench {
    /// Its section of bench/budgets.toml.
    fn name(&self) -> &'static str {
        match self {
            Bench::Aead(_) => "aead",
            Bench::Budget(_) => "budget",
            Bench::Dns(_) => "dns",
            Bench::DnsServer(_) => "dns-server",
            Bench::Io(_) => "io",
            Bench::Lanes(_) => "lanes",
            Bench::Plan(_) => "plan",
            Bench::Remap(_) => "remap",
            Bench::Tunnel(_) => "tunnel",
            Bench::Crossing(_) => "crossing",
        }
    }

    /// What holds must hold of as many measurements as are promised.
    fn refuse_fewer(&self) -> Result<()> {
        let measurements = match self {
            Bench::Aead(asked) => vec![("--rounds", asked.rounds, aead::ROUNDS)],
            Bench::Budget(asked) => vec![("--runs", asked.runs, budget::RUNS)],
            Bench::Io(asked) => vec![("--runs", asked.runs, io::RUNS)],
            Bench::Lanes(asked) => vec![("--pairs", asked.pairs, lanes::PAIRS)],
            Bench::Plan(asked) => vec![("--runs", asked.runs, plan::RUNS)],
            Bench::Remap(asked) => {
                vec![("--runs", asked.runs, remap::RUNS), ("--pairs", asked.pairs, remap::PAIRS)]
            }
            Bench::Crossing(_) | Bench::DnsServer(_) => Vec::new(),
            Bench::Dns(asked) => vec![("--rounds", asked.rounds, dns::ROUNDS)],
            Bench::Tunnel(asked) => vec![("--pairs", asked.pairs, tunnel::PAIRS)],
        };
        for (option, asked, promised) in measurements {
            ensure!(asked >= promised, "--check promises {option} {promised} or more; {asked} show nothing");
        }
        Ok(())
    }
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if arguments.check {
        arguments.bench.refuse_fewer()?;
    }
    let files = Files { json: arguments.json, svg: arguments.svg };
    let mut report = Report::begin(arguments.bench.name())?;
    match arguments.bench {
        Bench::Aead(arguments) => aead::run(&arguments, &mut report)?,
        Bench::Budget(arguments) => budget::run(&arguments, &mut report)?,
        Bench::Dns(arguments) => dns::run(&arguments, &mut report)?,
        Bench::DnsServer(arguments) => dns::server::run(&arguments)?,
        Bench::Io(arguments) => io::run(&arguments, &mut report)?,
        Bench::Lanes(arguments) => lanes::run(&arguments, &mut report)?,
        Bench::Plan(arguments) => plan::run(&arguments, &mut report)?,
        Bench::Remap(arguments) => remap::run(&arguments, &mut report)?,
        Bench::Tunnel(arguments) => tunnel::run(&arguments, &mut report)?,
        Bench::Crossing(arguments) => tunnel::crossing::run(&arguments)?,
    }
    report.finish(arguments.check, &files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(line: &str) -> bool {
        let arguments = Arguments::try_parse_from(line.split(' ')).unwrap();
        arguments.bench.refuse_fewer().is_err()
    }

    #[test]
    fn fewer_measurements_than_promised_show_nothing() {
        for enough in ["_ aead", "_ io", "_ budget", "_ budget --runs 16", "_ remap", "_ tunnel --pairs 5", "_ dns"] {
            assert!(!refused(enough), "{enough}");
        }
        for fewer in [
            "_ aead --rounds 99",
            "_ io --runs 59",
            "_ budget --runs 14",
            "_ remap --pairs 8",
            "_ remap --runs 1",
            "_ tunnel --pairs 4",
            "_ dns --rounds 4",
        ] {
            assert!(refused(fewer), "{fewer}");
        }
    }
}
