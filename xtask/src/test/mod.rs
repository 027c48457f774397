//! `cargo xtask test [FILTER]`: all tests of the workspace, those that need root and a kernel included.

mod checklist;

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    process::{ExitCode, Stdio},
};

use anyhow::{Context, Result, bail};

use checklist::Checklist;

use crate::{
    place::Place,
    process,
    setup::{self, Purpose},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only tests whose path contains this; `ng`: the tests of that checklist
    filter: Option<String>,
    /// Only the tests of this package
    #[arg(long, short)]
    package: Option<String>,
}

pub(crate) fn run(place: &Place, arguments: &Arguments) -> Result<ExitCode> {
    if !setup::is_root()? {
        bail!(
            "the tests make network namespaces and load BPF programs: run them as root, for example\n  \
             sudo --preserve-env=PATH,HOME cargo xtask test"
        );
    }
    setup::ensure(place, Purpose::Test)?;
    let checklist = match &arguments.filter {
        Some(name) => Checklist::find(place, name)?,
        None => None,
    };

    // Tests start both programs; cargo builds a program for the tests of its own package only.
    process::run(place.cargo().args(["build", "--workspace", "--exclude", "mesh-ebpf", "--bins"]))?;

    let mut cargo = place.cargo();
    cargo.args(["test", "--no-fail-fast"]);
    match &arguments.package {
        Some(package) => cargo.args(["--package", package]),
        None => cargo.args(["--workspace", "--exclude", "mesh-ebpf"]),
    };
    match &checklist {
        Some(list) => cargo.args(["--", "--exact"]).args(list.tests()),
        None => cargo.args(&arguments.filter),
    };
    cargo.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = cargo.spawn().with_context(|| format!("cannot start {}", process::line(&cargo)))?;
    let output = child.stdout.take().context("cargo test has no output")?;

    let mut sum = Sum::default();
    for line in BufReader::new(output).lines() {
        let line = line.context("read what cargo test writes")?;
        println!("{line}");
        sum.add(&line);
    }
    let status = child.wait().context("wait for cargo test")?;
    if !status.success() {
        eprintln!("cargo test ended with {status}");
    }
    let open = checklist.map_or(0, |list| {
        let (text, open) = list.report(&sum.names);
        print!("{text}");
        open
    });
    println!("{} passed, {} failed", sum.passed, sum.failed);
    Ok(if status.success() && open == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The results of all test programs together.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sum {
    passed: u64,
    failed: u64,
    /// Those that passed, as their programs call them.
    names: BTreeSet<String>,
}

impl Sum {
    /// Takes in the line of a test that passed, as `test NAME ... ok`, and a closing line of a test program, as
    /// `test result: ok. 3 passed; 0 failed; ...`; other lines say nothing.
    fn add(&mut self, line: &str) {
        if let Some(name) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... ok")) {
            self.names.insert(name.to_owned());
        }
        let Some((_, counts)) = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". ")) else {
            return;
        };
        for count in counts.split("; ") {
            match count.split_once(' ') {
                Some((number, "passed")) => self.passed += number.parse().unwrap_or(0),
                Some((number, "failed")) => self.failed += number.parse().unwrap_or(0),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_summed_and_others_are_not() {
        let mut sum = Sum::default();
        for line in [
            "running 4 tests",
            "test remap::keeps_checksums ... ok",
            "test result: ok. 4 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 3 filtered out; finished in 1.20s",
        ] {
            sum.add(line);
        }
        let names = BTreeSet::from(["remap::keeps_checksums".to_owned()]);
        assert_eq!(sum, Sum { passed: 6, failed: 1, names });
    }
}
