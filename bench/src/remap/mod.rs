//! What does a remapped packet cost the node that forwards it, beside nftables; and what does a TCP stream lose by it?

mod bulk;
mod forward;
mod programs;

use anyhow::Result;
use mesh_lab::Lab;
use meshd::kernel::bpf::OBJECT;

use crate::{
    report::{Report, Rival},
    statistics::{median, minimum},
};
use bulk::Measured;

/// So many runs and pairs are promised.
pub(crate) const RUNS: usize = 7;
pub(crate) const PAIRS: usize = 9;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How often each way of forwarding is timed; the fastest run counts
    #[arg(long, default_value_t = RUNS)]
    pub(crate) runs: usize,
    /// How many pairs of streams; the median of their ratios counts
    #[arg(long, default_value_t = PAIRS)]
    pub(crate) pairs: usize,
    /// How long each stream runs
    #[arg(long, default_value_t = 2)]
    seconds: u32,
}

pub(crate) fn run(arguments: &Arguments, report: &mut Report) -> Result<()> {
    let lab = Lab::new()?;
    forwarding(&lab, OBJECT, arguments.runs, report)?;
    streams(&lab, OBJECT, arguments, report)
}

/// CPU time per packet of a router. Runs are interleaved.
fn forwarding(lab: &Lab, object: &[u8], runs: usize, report: &mut Report) -> Result<()> {
    let router = forward::Router::lay_out(lab, object)?;
    let (mut made, mut ours, mut nftables) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        made.push(router.made()?);
        ours.push(router.remapped_by_xdp()?);
        nftables.push(router.remapped_by_nftables()?);
    }
    let made = minimum(&made);
    let (ours, nftables) = (minimum(&ours) - made, minimum(&nftables) - made);
    report.figure("making a packet, cpu (not in the figures below)", "ns", made);
    let rival = Rival::new("nftables prefix dnat", nftables);
    report.versus("forwarded and remapped packet, 16k flows, cpu", "ns", ours, vec![rival]);
    Ok(())
}

/// TCP through a router with tcx programs, beside the same router without. The plain stream is the rival; it comes first in
/// every other pair, so that neither gains by its place.
fn streams(lab: &Lab, object: &[u8], arguments: &Arguments, report: &mut Report) -> Result<()> {
    let path = bulk::Path::lay_out(lab)?;
    let remapped = || {
        let _attached = path.remap(object)?;
        path.stream(arguments.seconds)
    };
    let plain = || path.stream(arguments.seconds);
    let mut pairs = Vec::new();
    for number in 1..=arguments.pairs {
        let (with, without) = if number % 2 == 0 {
            let with = remapped()?;
            (with, plain()?)
        } else {
            let without = plain()?;
            (remapped()?, without)
        };
        println!("pair {number}: remapped {with}, plain {without}");
        pairs.push((with, without));
    }
    summarize(&pairs, report);
    Ok(())
}

fn summarize(pairs: &[(Measured, Measured)], report: &mut Report) {
    let median_of = |of: fn(&Measured) -> f64| {
        let (ours, plain): (Vec<_>, Vec<_>) = pairs.iter().map(|(with, without)| (of(with), of(without))).unzip();
        (median(&ours), vec![Rival::new("plain", median(&plain))])
    };
    let ratios =
        |of: fn(&Measured) -> f64| pairs.iter().map(|(with, without)| of(with) / of(without)).collect::<Vec<_>>();
    let speed = |measured: &Measured| measured.gigabits_per_second;
    let cpu = |measured: &Measured| measured.cpu_seconds_per_gigabit;
    let (ours, plain) = median_of(speed);
    report.versus("tcp bulk through a remapped veth (tcx)", "Gbit/s", ours, plain);
    report.figure("tcp bulk, median of the pairs' ratios", "ratio", median(&ratios(speed)));
    report.figure("tcp bulk, worst pair", "ratio", minimum(&ratios(speed)));
    let (ours, plain) = median_of(cpu);
    report.versus("tcp bulk, cpu of the whole machine", "s/Gbit", ours, plain);
    report.figure("tcp bulk, cpu, median of the pairs' ratios", "ratio", median(&ratios(cpu)));
}
