//! What does the kernel say of the programs and their maps?

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::fd::{AsFd, AsRawFd},
};

use anyhow::{Context, Result};
use aya::{Ebpf, maps::MapInfo, programs::ProgramInfo};

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
    report.figure("all maps", "B", maps.values().sum());
    for (name, bytes) in maps {
        report.figure(format!("map {name}"), "B", bytes);
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
