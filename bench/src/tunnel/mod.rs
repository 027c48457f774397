//! What does an encrypted tunnel carry, and what does it cost, beside every other WireGuard in user space?
//!
//! All programs are started alike and configured by the same script, between the same two namespaces, in rounds: the machine
//! is never the same for long, so what counts is the ratio of figures that were taken one after the other.

mod batch;
mod blast;
mod connection;
mod cost;
pub(crate) mod crossing;
mod echo;
mod handshakes;
mod instructions;
mod peers;
mod profile;
mod quiet;
mod rounds;
mod samples;
mod stream;

use std::time::Duration;

use anyhow::{Context, Result};
use mesh_lab::{
    Lab,
    node::Programs,
    wireguard::{Installed, Program},
};

use crate::report::Report;
use blast::Sending;
use connection::{Cable, Clusters, Pair};
use quiet::Patience;
use rounds::{JUMBO, Load, Rounds, USUAL};
use samples::Samples;

/// So many pairs are promised.
pub(crate) const PAIRS: usize = 5;
/// Ours, and those it is judged by.
const PROGRAMS: [Program; 4] = [Program::MeshWg, Program::WireguardGo, Program::BoringtunCli, Program::Gotatun];
/// Longest that a run waits for a quiet machine, all waits together.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many rounds, each of which measures every program; the median of their ratios counts
    #[arg(long, default_value_t = PAIRS)]
    pub(crate) pairs: usize,
    /// How long each stream runs; other loads take half of it
    #[arg(long, default_value_t = 2)]
    seconds: u32,
    /// Only these parts
    #[arg(long, value_enum, value_name = "PART")]
    only: Vec<Part>,
    /// Instead of comparing, tells where the time of our daemons goes while one TCP stream runs
    #[arg(long, conflicts_with = "check")]
    profile: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// One and four TCP streams
    Tcp,
    /// Packets of 64, 512 and 1400 bytes
    Udp,
    /// Round trips of 64 bytes
    Ping,
    /// One TCP stream at MTU 8920
    Jumbo,
    /// Handshakes that are answered
    Handshakes,
    /// Memory, idle time and throughput with up to 10,000 peers
    Peers,
    /// Instructions of one packet with up to 10,000 peers
    Instructions,
}

impl Arguments {
    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    /// What is measured over the usual cable.
    fn loads(&self) -> Vec<Load> {
        let mut loads = Vec::new();
        if self.wants(Part::Tcp) {
            loads.extend([Load::Streams(1), Load::Streams(4)]);
        }
        if self.wants(Part::Udp) {
            loads.extend([64, 512, 1_400].map(|length| Load::Packets(length, Sending::OneByOne)));
            loads.extend([64, 1_400].map(|length| Load::Packets(length, Sending::Segmented)));
        }
        if self.wants(Part::Ping) {
            loads.push(Load::RoundTrips);
        }
        loads
    }
}

pub(crate) fn run(arguments: &Arguments, report: &mut Report) -> Result<()> {
    let program = std::env::current_exe().context("where this program is")?;
    let programs = Programs::in_directory(program.parent().context("this program is in no directory")?)?;
    let installed = Installed::beside(&programs.meshd)?;
    for rival in PROGRAMS {
        println!("{} {}", rival.name(), installed.version(rival)?);
    }
    if !arguments.only.is_empty() || arguments.profile {
        report.is_partial();
    }
    let lab = Lab::new()?;
    let clusters = Clusters::lay_out(&lab, &programs)?;
    let rounds = Rounds {
        lab: &lab,
        installed: &installed,
        programs: &PROGRAMS,
        also: Some(&clusters.connection()?),
        patience: &Patience::new(PATIENCE),
        rounds: arguments.pairs,
        seconds: arguments.seconds,
    };
    if arguments.profile { profile(&rounds) } else { compare(arguments, &rounds, report) }
}

fn compare(arguments: &Arguments, rounds: &Rounds<'_>, report: &mut Report) -> Result<()> {
    let mut samples = Samples::default();
    let loads = arguments.loads();
    if !loads.is_empty() {
        rounds.run(USUAL, &loads, &mut samples)?;
    }
    if arguments.wants(Part::Jumbo) {
        rounds.run(JUMBO, &[Load::Streams(1)], &mut samples)?;
    }
    if arguments.wants(Part::Handshakes) {
        handshakes::run(rounds, &mut samples)?;
    }
    if arguments.wants(Part::Peers) {
        peers::idle(rounds, report)?;
        peers::streams(rounds, &mut samples)?;
    }
    if arguments.wants(Part::Instructions) {
        instructions::run(report)?;
    }
    samples.report(&[Program::MeshWg.name(), peers::MANY_PEERS], report);
    Ok(())
}

fn profile(rounds: &Rounds<'_>) -> Result<()> {
    let cable = Cable::lay(rounds.lab, "profile", USUAL.cable)?;
    let pair = Pair::start(rounds.lab, rounds.installed, Program::MeshWg, &cable, (1, USUAL.tunnel))?;
    profile::print(rounds.lab, &pair.connection()?, rounds.seconds)
}
