//! How does schemathesis get here, the program that tries the API with requests made from its description?
//!
//! From the Python package index at a pinned version, into an environment of its own in the tools folder.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result};

use super::{packages, step};
use crate::{bpf_build::Tools, process};

/// With hypothesis, which chooses the requests: the same seed must give the same ones.
const PACKAGES: [&str; 2] = ["schemathesis==4.32.5", "hypothesis==6.170.15"];
/// Debian has the part of Python that makes environments in a package of its own.
const VENV: &str = "python3-venv";

pub(crate) fn ensure(tools: &Tools) -> Result<()> {
    let folder = tools.dir().join("schemathesis");
    let stamp = folder.join("installed.stamp");
    // Programs of an environment name its folder by absolute path.
    let wanted = format!("{}\n{}\n", PACKAGES.join(" "), folder.display());
    if fs::read_to_string(&stamp).is_ok_and(|done| done == wanted) {
        return Ok(());
    }
    step(&format!("{} from the Python package index, about ten seconds", PACKAGES[0]), || install(&folder))?;
    fs::write(&stamp, wanted).with_context(|| format!("write {}", stamp.display()))
}

fn install(folder: &Path) -> Result<()> {
    let mut can_make = Command::new("python3");
    if !process::succeeds_within(can_make.args(["-c", "import ensurepip, venv"]), Duration::from_secs(30))
        .unwrap_or(false)
    {
        packages::install_all(&[VENV])?;
    }
    process::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder))?;
    let mut pip = Command::new(folder.join("bin/pip"));
    process::run(pip.args(["install", "--quiet", "--no-input", "--disable-pip-version-check"]).args(PACKAGES))
}
