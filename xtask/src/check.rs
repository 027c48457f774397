//! `cargo xtask check`: does the code keep the rules that need no test to run?

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Instant,
};

use anyhow::{Result, anyhow};

use crate::{
    bpf_build, licences,
    place::Place,
    process,
    setup::{self, Purpose},
    tidy,
};

type Step = fn(&Place) -> Result<()>;

const STEPS: [(&str, Step); 6] = [
    ("formatting", formatting),
    ("lints, host", host_lints),
    ("lints, BPF", bpf_lints),
    ("documentation", documentation),
    ("licences", licences::check),
    ("tidy", tidy::check),
];

pub(crate) fn run(place: &Place) -> Result<ExitCode> {
    setup::ensure(place, Purpose::Build)?;
    let mut failed = Vec::new();
    for (name, step) in STEPS {
        print!("check: {name} ... ");
        io::stdout().flush()?;
        let begin = Instant::now();
        let result = step(place);
        let seconds = begin.elapsed().as_secs_f32();
        match result {
            Ok(()) => println!("ok, {seconds:.1} s"),
            Err(error) => {
                println!("FAILED, {seconds:.1} s");
                eprintln!("{error:#}");
                failed.push(name);
            }
        }
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("check: failed: {}", failed.join("; "));
    Ok(ExitCode::FAILURE)
}

fn formatting(place: &Place) -> Result<()> {
    process::run(place.cargo().args(["fmt", "--all", "--check"]))
}

fn host_lints(place: &Place) -> Result<()> {
    let mut cargo = place.cargo();
    cargo.args(["clippy", "--quiet", "--locked", "--workspace", "--exclude", "mesh-ebpf", "--all-targets"]);
    process::run(cargo.args(["--", "--deny", "warnings"]))
}

fn bpf_lints(place: &Place) -> Result<()> {
    let mut cargo = bpf_build::cargo("clippy", &place.workspace, &place.target_dir, &place.tools)
        .map_err(|reason| anyhow!(reason))?;
    process::run(cargo.args(["--quiet", "--", "--deny", "warnings"]))
}

fn documentation(place: &Place) -> Result<()> {
    let mut cargo = place.cargo();
    cargo.args(["doc", "--quiet", "--workspace", "--exclude", "mesh-ebpf", "--no-deps", "--document-private-items"]);
    process::run(cargo.env("RUSTDOCFLAGS", "--deny warnings"))
}
