//! `cargo xtask build`: the daemon with its BPF programs, and the command line.

use anyhow::Result;

use crate::{
    place::Place,
    process,
    setup::{self, Purpose},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Without optimisation: quick to build
    #[arg(long)]
    debug: bool,
}

impl Arguments {
    /// What is measured and shown.
    pub(crate) fn optimised() -> Self {
        Self { debug: false }
    }
}

pub(crate) fn run(place: &Place, arguments: &Arguments) -> Result<()> {
    setup::ensure(place, Purpose::Build)?;
    let mut cargo = place.cargo();
    cargo.args(["build", "--package", "meshd", "--package", "meshctl"]);
    if !arguments.debug {
        cargo.arg("--release");
    }
    process::run(&mut cargo)?;
    let profile = if arguments.debug { "debug" } else { "release" };
    for program in ["meshd", "meshctl"] {
        println!("{}", place.target_dir.join(profile).join(program).display());
    }
    Ok(())
}
