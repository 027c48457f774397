//! What does an encrypted tunnel carry, and what does it cost, beside wireguard-go in the same place?
//!
//! Two clusters with the real `meshd` on their gateways; wireguard-go runs on the same two gateways over the same cable.
//! Pairs of measurements are interleaved, since the machine is never the same for long. One TCP stream goes from gateway to
//! gateway, so that nothing but the tunnel differs.

mod ends;
mod stream;

use std::path::PathBuf;

use anyhow::{Context, Result};
use mesh_lab::{Lab, node::Programs};

use crate::{
    report::{Report, Rival},
    statistics,
};
use ends::{Rivals, WireguardGo};
use stream::Measured;

/// So many pairs are promised.
pub(crate) const PAIRS: usize = 5;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many pairs of measurements; the median of their ratios counts
    #[arg(long, default_value_t = PAIRS)]
    pub(crate) pairs: usize,
    /// How long each stream runs
    #[arg(long, default_value_t = 4)]
    seconds: u32,
}

pub(crate) fn run(arguments: &Arguments, report: &mut Report) -> Result<()> {
    let program = std::env::current_exe().context("where this program is")?;
    let programs = Programs::in_directory(program.parent().context("this program is in no directory")?)?;
    let tools = PathBuf::from(std::env::var_os("MESH_TOOLS").context("MESH_TOOLS is not set; run: cargo xtask bench")?);

    let lab = Lab::new()?;
    let rivals = Rivals::lay_out(&lab, &programs)?;
    let mut pairs = Vec::new();
    for number in 1..=arguments.pairs {
        let theirs = {
            let rival = WireguardGo::start(&rivals, &lab, &tools.join("bin/wireguard-go"))?;
            stream::measure(&rival.ends(&rivals), arguments.seconds)?
        };
        let ours = stream::measure(&rivals.ours()?, arguments.seconds)?;
        println!("pair {number}: meshd {ours}, wireguard-go {theirs}");
        pairs.push((ours, theirs));
    }
    summarize(&pairs, report);
    Ok(())
}

fn summarize(pairs: &[(Measured, Measured)], report: &mut Report) {
    let median = |of: fn(&Measured) -> f64| {
        let ours: Vec<_> = pairs.iter().map(|(ours, _)| of(ours)).collect();
        let theirs: Vec<_> = pairs.iter().map(|(_, theirs)| of(theirs)).collect();
        (statistics::median(&ours), vec![Rival::new("wireguard-go", statistics::median(&theirs))])
    };
    let ratios =
        |of: fn(&Measured) -> f64| pairs.iter().map(|(ours, theirs)| of(ours) / of(theirs)).collect::<Vec<_>>();
    let (ours, theirs) = median(Measured::gigabits_per_second);
    report.versus("one tcp stream", "Gbit/s", ours, theirs);
    let speeds = ratios(Measured::gigabits_per_second);
    report.figure("one tcp stream, median of the pairs' ratios", "ratio", statistics::median(&speeds));
    report.figure("one tcp stream, worst pair", "ratio", statistics::minimum(&speeds));
    let (ours, theirs) = median(Measured::cpu_seconds_per_gigabyte);
    report.versus("one tcp stream, cpu of both daemons", "s/GB", ours, theirs);
    let costs = ratios(Measured::cpu_seconds_per_gigabyte);
    report.figure("one tcp stream, cpu, median of the pairs' ratios", "ratio", statistics::median(&costs));
    report.figure("one tcp stream, cpu, worst pair", "ratio", statistics::maximum(&costs));
}
