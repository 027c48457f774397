//! What does each BPF program cost: instructions, the verifier's walk, memory of the maps, time per packet?

mod facts;
mod frames;
mod tables;
mod timing;

use anyhow::{Context, Result, bail, ensure};
use aya::{Ebpf, EbpfLoader, programs::Program};
use mesh_common::maps::{CHUNK_SLOTS, Role, name};
use meshd::kernel::bpf;

use crate::report::{Report, Rival};
use timing::Bench;

/// So many runs are promised.
pub(crate) const RUNS: usize = 15;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How often each program is timed; the fastest run counts
    #[arg(long, default_value_t = RUNS)]
    pub(crate) runs: usize,
}

/// How many prefixes the tables are filled with beside the fewest, and what the figure is called.
const SIZES: [(u32, &str); 2] =
    [(10_000, "remap ipv4 tcp, 10000 prefixes"), (tables::MOST, "remap ipv4 tcp, 65536 prefixes")];

pub(crate) fn run(arguments: &Arguments, report: &mut Report) -> Result<()> {
    facts::report(&mut open(bpf::loader(false))?, report)?;

    for case in cases() {
        let bench = case.bench(tables::LEAST, arguments.runs)?;
        let passed = bench.passes(&case.frame).context(case.name)?;
        ensure!(passed == case.passed, "{}: the program does not make of the frame what it should", case.name);
        let (ours, empty) = bench.beside_empty(&case.frame).context(case.name)?;
        report.versus(case.name, "ns", ours, vec![Rival::new("empty", empty)]);
        report.figure(format!("{}, above empty", case.name), "ns", ours - empty);
    }

    let few = Case::remap();
    let base = few.bench(tables::LEAST, arguments.runs)?;
    for (prefixes, name) in SIZES {
        let (many, base) = few.bench(prefixes, arguments.runs)?.beside(&base, &few.frame)?;
        report.versus(name, "ns", many, vec![Rival::new(format!("{} prefixes", tables::LEAST), base)]);
    }
    Ok(())
}

/// A program, and a frame that it is timed with.
#[derive(Debug)]
struct Case {
    /// What the figure is called.
    name: &'static str,
    program: &'static str,
    /// Of our prefixes: the names that the program rewrites.
    ours: Role,
    frame: Vec<u8>,
    /// What the program makes of it, made from scratch.
    passed: Vec<u8>,
}

/// All that is judged by its time above the empty program. What names no program is of `xdp_underlay`.
fn cases() -> Vec<Case> {
    let elsewhere = || frames::tcp4([192, 0, 2, 1], [192, 0, 2, 2]);
    let arriving = |to| frames::tcp4(tables::REMOTE_V4, to);
    let leaving = |from| frames::tcp4(from, tables::REMOTE_V4);
    let (ours, next) = (tables::OURS_V4, tables::NEXT_V4);
    vec![
        Case { name: "not ours, ipv4 tcp", frame: elsewhere(), passed: elsewhere(), ..Case::remap() },
        Case::remap(),
        Case {
            name: "remap ipv6 tcp",
            frame: frames::tcp6(tables::REMOTE_V6, tables::OURS_V6),
            passed: frames::tcp6(tables::REMOTE_V6, tables::NEXT_V6),
            ..Case::remap()
        },
        Case {
            name: "xdp_workload, remap ipv4 tcp",
            program: "xdp_workload",
            ours: Role::LOCAL,
            frame: leaving(ours),
            passed: leaving(next),
        },
        Case {
            name: "tc_underlay, remap ipv4 tcp",
            program: "tc_underlay",
            ours: Role::PRESENTED,
            frame: arriving(ours),
            passed: arriving(next),
        },
        Case {
            name: "tc_workload, remap ipv4 tcp",
            program: "tc_workload",
            ours: Role::LOCAL,
            frame: leaving(ours),
            passed: leaving(next),
        },
    ]
}

impl Case {
    fn remap() -> Case {
        Case {
            name: "remap ipv4 tcp",
            program: "xdp_underlay",
            ours: Role::PRESENTED,
            frame: frames::tcp4(tables::REMOTE_V4, tables::OURS_V4),
            passed: frames::tcp4(tables::REMOTE_V4, tables::NEXT_V4),
        }
    }

    /// The program with so many of our prefixes in its tables.
    fn bench(&self, prefixes: u32, runs: usize) -> Result<Bench> {
        self.bench_in(&mut open(passing_up(prefixes.div_ceil(CHUNK_SLOTS as u32)))?, prefixes, runs)
    }

    fn bench_in(&self, bpf: &mut Ebpf, prefixes: u32, runs: usize) -> Result<Bench> {
        tables::fill_v4(bpf, prefixes, self.ours)?;
        tables::fill_v6(bpf, self.ours)?;
        tables::fill_link_address(bpf, frames::LOOPBACK, frames::TO)?;
        Bench::of(bpf, self.program, runs)
    }
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
        Program::SocketFilter(program) => program.load(),
        Program::SkReuseport(program) => program.load(),
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
    fn frames_are_rewritten_as_often_as_they_are_sent() {
        for case in cases() {
            let mut ebpf = open(passing_up(1)).unwrap();
            let bench = case.bench_in(&mut ebpf, tables::LEAST, 1).unwrap();
            let once = bench.passes(&case.frame).unwrap();
            assert_eq!(once, case.passed, "{}", case.name);
            let is_ours = !case.name.starts_with("not ours");
            assert_eq!(once != case.frame, is_ours, "{}", case.name);

            bench.beside_empty(&case.frame).unwrap();
            let remaps: PerCpuArray<_, Counter> = ebpf.map(name::REMAP_COUNTERS).unwrap().try_into().unwrap();
            let counted: u64 = remaps.get(&tables::REMAP_ID.into(), 0).unwrap().iter().map(|count| count.packets).sum();
            assert_eq!(counted, if is_ours { 1 + u64::from(timing::REPEAT) } else { 0 }, "{}", case.name);
        }
    }
}
