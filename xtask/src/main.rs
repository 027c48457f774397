//! `cargo xtask VERB`: everything that a person or CI does with this repository, one file per verb.

mod bench;
mod bpf;
mod bpf_build;
mod build;
mod check;
mod licences;
mod place;
mod process;
mod run;
mod setup;
mod test;
mod tidy;

use std::process::ExitCode;

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
    /// Installs what building and testing need; does nothing when it is there
    Setup(setup::Arguments),
    /// Builds meshd, with its BPF programs, and meshctl
    Build(build::Arguments),
    /// Lays out two clusters with the same pod CIDR in network namespaces and lets them talk
    Run(run::Arguments),
    /// Runs all tests, as root
    Test(test::Arguments),
    /// Checks formatting, lints for host and BPF, documentation, licences, and what `tidy` checks
    Check,
    /// Runs a bench, with optimisation
    Bench(bench::Arguments),
    /// Shows the BPF programs, or what they cost
    #[command(subcommand)]
    Bpf(bpf::Verb),
    /// Checks the rules of this repository that no lint knows
    Tidy,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let place = Place::find()?;
    match arguments.verb {
        Verb::Setup(arguments) => done(setup::run(&place, &arguments)),
        Verb::Build(arguments) => done(build::run(&place, &arguments)),
        Verb::Run(arguments) => run::run(&place, &arguments),
        Verb::Test(arguments) => test::run(&place, &arguments),
        Verb::Check => check::run(&place),
        Verb::Bench(arguments) => bench::run(&place, &arguments),
        Verb::Bpf(verb) => bpf::run(&place, &verb),
        Verb::Tidy => done(tidy::check(&place)),
    }
}

/// A verb that either succeeds or says why not.
fn done(result: Result<()>) -> Result<ExitCode> {
    result.map(|()| ExitCode::SUCCESS)
}
