//! What does each BPF program cost: instructions, the verifier's walk, memory of the maps, time per packet?

mod facts;
mod frames;
mod tables;
mod timing;

use std::{env, fs};

use anyhow::{Context, Result, bail};
use aya::{Ebpf, EbpfLoader, programs::Program};
use mesh_common::maps::{CHUNK_SLOTS, name};

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
    let path = env::var_os("MESH_BPF_OBJECT").context("MESH_BPF_OBJECT is not set; run: cargo xtask bpf budget")?;
    let object = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    facts::report(&mut open(&object, 1)?, report)?;

    let mut one = open(&object, 1)?;
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
        let mut many = open(&object, prefixes.div_ceil(CHUNK_SLOTS as u32))?;
        tables::fill_v4(&mut many, prefixes)?;
        let (many, one) = Bench::of(&mut many, arguments.runs)?.beside(&one, &frame)?;
        report.versus(name, "ns", many, vec![Rival::new("1 prefix", one)]);
    }
    Ok(())
}

/// The maps in the kernel, with room for so many chunks of the IPv4 table, and the programs ready to follow. Rewritten packets
/// are passed up: the figure is that of the data path, not of the route.
fn open(object: &[u8], chunks: u32) -> Result<Ebpf> {
    EbpfLoader::new()
        .map_max_entries(name::CHUNKS_V4, chunks * CHUNK_SLOTS as u32)
        .override_global("REDIRECT", &0_u8, true)
        .load(object)
        .context("load the BPF object, as root")
}

fn load(bpf: &mut Ebpf, name: &str) -> Result<()> {
    match bpf.program_mut(name).with_context(|| format!("the object has no program {name}"))? {
        Program::Xdp(program) => program.load(),
        Program::SchedClassifier(program) => program.load(),
        other => bail!("{name}: a program of type {:?} has no budget yet", other.prog_type()),
    }
    .with_context(|| format!("the kernel refuses {name}"))
}
