//! What does the kernel say of the programs and their maps?

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::fd::{AsFd, AsRawFd},
};

use anyhow::{Context, Result, anyhow};
use aya::{
    Ebpf,
    maps::{MapInfo, MapType},
    programs::ProgramInfo,
    util::nr_cpus,
};

use crate::report::Report;

pub(super) fn report(bpf: &mut Ebpf, report: &mut Report) -> Result<()> {
    let mut maps = BTreeMap::new();
    let names: BTreeSet<_> = bpf.programs().map(|(name, _)| name.to_owned()).collect();
    for name in names {
        super::load(bpf, &name)?;
        let program = bpf.program(&name).context("a program that was just loaded is there")?;
        let info = program.info().with_context(|| format!("ask the kernel about {name}"))?;
        size(&name, &info, report)?;
        maps.extend(memory(&info).with_context(|| format!("the maps of {name}"))?);
    }
    let (per_cpu, shared): (Vec<_>, Vec<_>) = maps.values().partition(|memory| memory.is_per_cpu);
    let sum = |maps: Vec<&Memory>| maps.iter().map(|memory| memory.bytes).sum::<f64>();
    report.figure("maps, shared", "B", sum(shared));
    report.figure("maps, per cpu", "B", sum(per_cpu));
    for (name, memory) in maps {
        report.figure(format!("map {name}"), "B", memory.bytes);
    }
    Ok(())
}

fn size(name: &str, info: &ProgramInfo, report: &mut Report) -> Result<()> {
    let instructions = info.size_translated().context("this kernel does not tell the size of a program")? / 8;
    let walked = info.verified_instruction_count().context("this kernel does not tell how far its verifier went")?;
    report.figure(format!("{name} instructions"), "insns", instructions.into());
    report.figure(format!("{name} verifier"), "insns", walked.into());
    report.figure(format!("{name} machine code"), "B", info.size_jitted().into());
    Ok(())
}

/// What a map takes; of one that has values for each CPU, what it takes for one.
#[derive(Debug)]
struct Memory {
    bytes: f64,
    is_per_cpu: bool,
}

/// The maps that the program uses, as the kernel accounts for them.
fn memory(info: &ProgramInfo) -> Result<Vec<(String, Memory)>> {
    let cpus = nr_cpus().map_err(|(file, error)| anyhow!("{file}: {error}"))? as f64;
    let mut maps = Vec::new();
    for id in info.map_ids()?.unwrap_or_default() {
        let map = MapInfo::from_id(id)?;
        let fd = map.fd()?;
        let facts = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd()))?;
        let locked = facts.lines().find_map(|line| line.strip_prefix("memlock:"));
        let bytes: f64 = locked.context("this kernel does not tell the memory of a map")?.trim().parse()?;
        let is_per_cpu = matches!(map.map_type()?, MapType::PerCpuArray | MapType::PerCpuHash);
        let memory = Memory { bytes: if is_per_cpu { bytes / cpus } else { bytes }, is_per_cpu };
        maps.push((map.name_as_str().unwrap_or("unnamed").to_owned(), memory));
    }
    Ok(maps)
}
