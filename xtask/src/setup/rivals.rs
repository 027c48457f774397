//! How do the WireGuards written in Rust get here that tests talk to and benches are compared with?
//!
//! Compiled from the registry at pinned versions: a comparison names what it compared with, and must be repeatable.

use std::{env, fs, process::Command};

use anyhow::Result;

use super::step;
use crate::{bpf_build::Tools, process};

/// Package, pinned version, and the program that it installs.
const RIVALS: [(&str, &str, &str); 2] =
    [("boringtun-cli", "0.7.1", "boringtun-cli"), ("gotatun-cli", "0.10.2", "gotatun")];

pub(crate) fn ensure(tools: &Tools) -> Result<()> {
    for (package, version, program) in RIVALS {
        if !is_there(tools, package, version, program) {
            let what = format!("{package} {version}, compiled into the tools folder, about two minutes");
            step(&what, || install(tools, package, version))?;
        }
    }
    Ok(())
}

/// By the record that cargo keeps of what it has installed in a folder.
fn is_there(tools: &Tools, package: &str, version: &str, program: &str) -> bool {
    let record = fs::read_to_string(tools.dir().join(".crates.toml")).unwrap_or_default();
    is_recorded(&record, package, version) && tools.dir().join("bin").join(program).is_file()
}

fn is_recorded(record: &str, package: &str, version: &str) -> bool {
    record.lines().any(|line| line.starts_with(&format!("\"{package} {version} (")))
}

fn install(tools: &Tools, package: &str, version: &str) -> Result<()> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["install", "--quiet", "--locked", "--force", package, "--version", &format!("={version}"), "--root"]);
    // Not where a project has settings of its own for cargo.
    process::run(cargo.arg(tools.dir()).current_dir(tools.dir()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_pinned_version_counts() {
        let record = "[v1]\n\"gotatun-cli 0.10.2 (registry+https://example.org/index)\" = [\"gotatun\"]\n";
        assert!(is_recorded(record, "gotatun-cli", "0.10.2"));
        assert!(!is_recorded(record, "gotatun-cli", "0.10.1"));
        assert!(!is_recorded(record, "gotatun", "0.10.2"));
    }
}
