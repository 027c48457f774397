//! What does each BPF program cost: instructions, the verifier's walk, memory of the maps, time per packet?

use std::{
    collections::BTreeMap,
    env, fs,
    os::fd::{AsFd, AsRawFd},
};

use anyhow::{Context, Result, bail};
use aya::{
    Ebpf, TestRunOptions,
    maps::MapInfo,
    programs::{Program, ProgramInfo, TestRun, Xdp},
};

use crate::{
    report::{Report, Rival},
    statistics::minimum,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How often each program is timed; the fastest run counts
    #[arg(long, default_value_t = 15)]
    runs: usize,
}

/// Packets per timed run.
const REPEAT: u32 = 1_000_000;

/// The program that only passes: what the call itself costs.
const EMPTY: &str = "xdp_empty";

pub(crate) fn run(arguments: &Arguments, report: &mut Report) -> Result<()> {
    let bpf = load()?;
    let mut maps = BTreeMap::new();
    for (name, program) in bpf.programs() {
        let info = program.info().with_context(|| format!("ask the kernel about {name}"))?;
        size(name, &info, report)?;
        maps.extend(memory(&info).with_context(|| format!("the maps of {name}"))?);
    }
    for (name, bytes) in maps {
        report.figure(format!("map {name}"), "B", bytes);
    }
    let names = bpf.programs().map(|(name, _)| name).filter(|name| *name != EMPTY);
    for name in names {
        if let Some(Program::Xdp(program)) = bpf.program(name) {
            let (ours, empty) = pass(program, xdp(&bpf, EMPTY)?, arguments.runs)?;
            report.versus(format!("{name} not ours"), "ns", ours, vec![Rival::new("empty", empty)]);
        }
    }
    Ok(())
}

fn load() -> Result<Ebpf> {
    let path = env::var_os("MESH_BPF_OBJECT").context("MESH_BPF_OBJECT is not set; run: cargo xtask bpf budget")?;
    let object = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    let mut bpf = Ebpf::load(&object).context("load the BPF object, as root")?;
    for (name, program) in bpf.programs_mut() {
        match program {
            Program::Xdp(program) => program.load(),
            Program::SchedClassifier(program) => program.load(),
            other => bail!("{name}: a program of type {:?} has no budget yet", other.prog_type()),
        }
        .with_context(|| format!("the kernel refuses {name}"))?;
    }
    Ok(bpf)
}

fn size(name: &str, info: &ProgramInfo, report: &mut Report) -> Result<()> {
    let instructions = info.size_translated().context("this kernel does not tell the size of a program")? / 8;
    let walked = info.verified_instruction_count().context("this kernel does not tell how far its verifier went")?;
    report.figure(format!("{name} instructions"), "insns", instructions.into());
    report.figure(format!("{name} verifier"), "insns", walked.into());
    report.figure(format!("{name} machine code"), "B", info.size_jitted().into());
    Ok(())
}

/// Bytes of each map that the program uses, as the kernel accounts for them.
fn memory(info: &ProgramInfo) -> Result<Vec<(String, f64)>> {
    let mut maps = Vec::new();
    for id in info.map_ids()?.unwrap_or_default() {
        let map = MapInfo::from_id(id)?;
        let fd = map.fd()?;
        let facts = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd()))?;
        let locked = facts.lines().find_map(|line| line.strip_prefix("memlock:"));
        let bytes = locked.context("this kernel does not tell the memory of a map")?.trim().parse()?;
        maps.push((map.name_as_str().unwrap_or("unnamed").to_owned(), bytes));
    }
    Ok(maps)
}

fn xdp<'a>(bpf: &'a Ebpf, name: &str) -> Result<&'a Xdp> {
    match bpf.program(name) {
        Some(Program::Xdp(program)) => Ok(program),
        _ => bail!("the object has no XDP program {name}"),
    }
}

/// Time per packet of both programs in turn, in ns, on a frame that is none of ours.
fn pass(program: &Xdp, empty: &Xdp, runs: usize) -> Result<(f64, f64)> {
    let frame = [0; 64];
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        ours.push(time(program, &frame)?);
        theirs.push(time(empty, &frame)?);
    }
    Ok((minimum(&ours), minimum(&theirs)))
}

fn time(program: &Xdp, frame: &[u8]) -> Result<f64> {
    let options = TestRunOptions { data_in: Some(frame), repeat: REPEAT, ..TestRunOptions::default() };
    Ok(program.test_run(options).context("BPF_PROG_TEST_RUN")?.duration.as_nanos() as f64)
}
