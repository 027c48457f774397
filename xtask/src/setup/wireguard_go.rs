//! How does wireguard-go get here, the newest build that runs on this machine?

use std::{fs, process::Command, time::Duration};

use anyhow::{Context, Result, bail};

use super::{apt, step};
use crate::{bpf_build::Tools, process};

pub(crate) fn ensure(tools: &Tools) -> Result<()> {
    if tools.dir().join("bin/wireguard-go").exists() {
        return Ok(());
    }
    step("wireguard-go from Debian, unpacked into the tools folder", || from_debian(tools))
}

fn from_debian(tools: &Tools) -> Result<()> {
    let apt = apt::Private::open(&tools.dir().join("apt"))?;
    let versions = apt.versions("wireguard-go")?;
    let folder = tools.dir().join("wireguard-go");
    for version in &versions {
        let package = apt.download("wireguard-go", version)?;
        process::output(Command::new("dpkg").arg("--extract").args([&package, &folder]))?;
        fs::remove_file(&package).with_context(|| format!("remove {}", package.display()))?;
        let program = folder.join("usr/bin/wireguard-go");
        // A build of a newer suite may want a newer libc than this machine has.
        if process::succeeds_within(Command::new(&program).arg("--version"), Duration::from_secs(5))? {
            eprintln!("setup: wireguard-go {version}");
            let bin = tools.dir().join("bin");
            fs::create_dir_all(&bin).with_context(|| format!("make {}", bin.display()))?;
            fs::rename(&program, bin.join("wireguard-go")).context("move wireguard-go to its place")?;
            fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
            return apt.close();
        }
    }
    bail!("no build of wireguard-go runs here; Debian has: {}", versions.join(", "))
}
