//! `cargo xtask VERB`: everything that a person or CI does with this repository, one file per verb.

mod bpf_build;
mod build;
mod place;
mod process;
mod setup;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::place::Place;

/// Set-up, build, run, test, check and bench of mesh.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Builds meshd, with its BPF programs, and meshctl
    Build(build::Arguments),
    /// Installs what building and testing need; does nothing when it is there
    Setup(setup::Arguments),
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let place = Place::find()?;
    match arguments.verb {
        Verb::Build(arguments) => build::run(&place, &arguments),
        Verb::Setup(arguments) => setup::run(&place, &arguments),
    }
}
