//! How do the sources of `core` get here, for exactly this rustc?
//!
//! From rustup where a toolchain server answers, else from Debian's package of the same release.

use std::{
    fs,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use super::{apt, components, rustc::Rustc, step};
use crate::{bpf_build, bpf_build::Tools, process};

pub(crate) fn is_there(tools: &Tools, rustc: &Rustc) -> bool {
    bpf_build::sysroot_has_sources(&rustc.sysroot) || tools.library().join("Cargo.lock").exists()
}

pub(crate) fn ensure(tools: &Tools, rustc: &Rustc) -> Result<()> {
    if bpf_build::sysroot_has_sources(&rustc.sysroot) {
        return Ok(());
    }
    if process::find("rustup").is_some() {
        let added = components::add("rust-src")?;
        if added && bpf_build::sysroot_has_sources(&rustc.sysroot) {
            return Ok(());
        }
        eprintln!("setup: rustup cannot add it here");
    }
    step(&format!("the sources of core {} from Debian's rust-src, 45 MB", rustc.release), || from_debian(tools, rustc))
        .with_context(|| format!("rustc {} has no sources of core; try: rustup component add rust-src", rustc.release))
}

fn from_debian(tools: &Tools, rustc: &Rustc) -> Result<()> {
    let apt = apt::Private::open(&tools.dir().join("apt"))?;
    let versions = apt.versions("rust-src")?;
    let Some(version) = versions.iter().find(|version| version.starts_with(&format!("{}+", rustc.release))) else {
        bail!("Debian has rust-src {}, but not {}", versions.join(", "), rustc.release);
    };
    let package = apt.download("rust-src", version)?;
    let folder = tools.dir().join("rust-src");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("remove the old {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    // The package has the whole compiler, 432 MB; we want a sixth of it.
    let mut unpack = Command::new("dpkg").arg("--fsys-tarfile").arg(&package).stdout(Stdio::piped()).spawn()?;
    let archive = unpack.stdout.take().context("dpkg has no output")?;
    let extracted = Command::new("tar")
        .args(["--extract", "--strip-components=4", "--directory"])
        .arg(&folder)
        .arg(format!("./usr/src/rustc-{}/library", rustc.release))
        .stdin(archive)
        .status()
        .context("cannot start tar")?;
    let unpacked = unpack.wait().context("wait for dpkg")?;
    if !extracted.success() || !unpacked.success() {
        bail!("unpacking {}: dpkg {unpacked}, tar {extracted}", package.display());
    }
    apt.close()
}
