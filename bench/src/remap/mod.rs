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

/// TCP through a router with tcx programs, beside the same router without. The plain stream is the rival.
fn streams(lab: &Lab, object: &[u8], arguments: &Arguments, report: &mut Report) -> Result<()> {
    let path = bulk::Path::lay_out(lab)?;
    let (mut ratios, mut ours, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    for number in 1..=arguments.pairs {
        let without = path.stream(arguments.seconds)?;
        let with = {
            let _attached = path.remap(object)?;
            path.stream(arguments.seconds)?
        };
        println!("pair {number}: remapped {with:.1} Gbit/s, plain {without:.1} Gbit/s");
        ratios.push(with / without);
        ours.push(with);
        plain.push(without);
    }
    report.versus(
        "tcp bulk through a remapped veth (tcx)",
        "Gbit/s",
        median(&ours),
        vec![Rival::new("plain", median(&plain))],
    );
    report.figure("tcp bulk, median of the pairs' ratios", "ratio", median(&ratios));
    report.figure("tcp bulk, worst pair", "ratio", minimum(&ratios));
    Ok(())
}
