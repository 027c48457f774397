//! What does each BPF program cost: instructions, the verifier's walk, memory of the maps, time per packet?

mod facts;
mod frames;
mod tables;
mod timing;

use anyhow::{Context, Result, bail};
use aya::{Ebpf, EbpfLoader, programs::Program};
use mesh_common::maps::{CHUNK_SLOTS, name};
use meshd::kernel::bpf;

use crate::report::{Report, Rival};
use timing::Bench;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How often each program is timed; the fastest run counts
    #[arg(long, default_value_t = 15)]
    runs: usize,
}

/// How many prefixes the tables are filled with, and what the figure is called.
const SIZES: [(u32, &str); 2] =
    [(10_000, "remap ipv4 tcp, 10000 prefixes"), (tables::MOST, "remap ipv4 tcp, 65536 prefixes")];

pub(crate) fn run(arguments: &Arguments, report: &mut Report) -> Result<()> {
    facts::report(&mut open(bpf::loader(false))?, report)?;

    let mut one = open(passing_up(1))?;
    tables::fill_v4(&mut one, 1)?;
    tables::fill_v6(&mut one)?;
    let one = Bench::of(&mut one, arguments.runs)?;
    for (name, frame) in [
        ("not ours, ipv4 tcp", frames::tcp4([192, 0, 2, 1], [192, 0, 2, 2])),
        ("remap ipv4 tcp", frames::tcp4(tables::REMOTE_V4, tables::OURS_V4)),
        ("remap ipv6 tcp", frames::tcp6(tables::REMOTE_V6, tables::OURS_V6)),
    ] {
        let (ours, empty) = one.beside_empty(&frame)?;
        report.versus(name, "ns", ours, vec![Rival::new("empty", empty)]);
        report.figure(format!("{name}, above empty"), "ns", ours - empty);
    }

    let frame = frames::tcp4(tables::REMOTE_V4, tables::OURS_V4);
    for (prefixes, name) in SIZES {
        let mut many = open(passing_up(prefixes.div_ceil(CHUNK_SLOTS as u32)))?;
        tables::fill_v4(&mut many, prefixes)?;
        let (many, one) = Bench::of(&mut many, arguments.runs)?.beside(&one, &frame)?;
        report.versus(name, "ns", many, vec![Rival::new("1 prefix", one)]);
    }
    Ok(())
}

/// With room for so many chunks of the IPv4 table. Rewritten packets are passed up: the figure is that of the data path, not
/// of the route.
fn passing_up(chunks: u32) -> EbpfLoader<'static> {
    let mut loader = bpf::loader(false);
    loader.map_max_entries(name::CHUNKS_V4, chunks * CHUNK_SLOTS as u32).override_global("REDIRECT", &0_u8, true);
    loader
}

/// The maps in the kernel, and the programs ready to follow.
fn open(mut loader: EbpfLoader<'_>) -> Result<Ebpf> {
    loader.load(bpf::OBJECT).context("load the BPF object, as root")
}

fn load(ebpf: &mut Ebpf, name: &str) -> Result<()> {
    match ebpf.program_mut(name).with_context(|| format!("the object has no program {name}"))? {
        Program::Xdp(program) => program.load(),
        Program::SchedClassifier(program) => program.load(),
        other => bail!("{name}: a program of type {:?} has no budget yet", other.prog_type()),
    }
    .with_context(|| format!("the kernel refuses {name}"))
}

#[cfg(test)]
mod tests {
    use aya::maps::PerCpuArray;
    use mesh_common::maps::Counter;

    use super::*;

    #[test]
    fn programs_and_maps_stay_in_their_budgets() {
        let mut report = Report::begin("budget").unwrap();
        facts::report(&mut open(bpf::loader(false)).unwrap(), &mut report).unwrap();
        assert_eq!(report.exceeded(), [""; 0]);
    }

    #[test]
    fn frames_stay_ours_as_often_as_they_are_sent() {
        let mut ebpf = open(passing_up(1)).unwrap();
        tables::fill_v4(&mut ebpf, 1).unwrap();
        tables::fill_v6(&mut ebpf).unwrap();
        let bench = Bench::of(&mut ebpf, 1).unwrap();
        for frame in
            [frames::tcp4(tables::REMOTE_V4, tables::OURS_V4), frames::tcp6(tables::REMOTE_V6, tables::OURS_V6)]
        {
            bench.beside_empty(&frame).unwrap();
        }
        let remaps: PerCpuArray<_, Counter> = ebpf.map(name::REMAP_COUNTERS).unwrap().try_into().unwrap();
        let counted: u64 = remaps.get(&tables::REMAP_ID.into(), 0).unwrap().iter().map(|count| count.packets).sum();
        assert_eq!(counted, 2 * u64::from(timing::REPEAT));
    }
}
