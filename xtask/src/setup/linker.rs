//! How does bpf-linker get here, built against the very LLVM that rustc has?

use std::{env, fs, os::unix::fs::symlink, path::Path, process::Command};

use anyhow::{Context, Result};

use super::{rustc::Rustc, step};
use crate::process;

/// The release that knows the LLVM of the pinned rustc.
pub(crate) const VERSION: &str = "0.13.0";

/// `folder` is the tools folder by its real path: it becomes part of the linker.
pub(crate) fn install(folder: &Path, rustc: &Rustc) -> Result<()> {
    step(&format!("bpf-linker {VERSION} with the LLVM {} of rustc, about a minute", rustc.llvm), || {
        let llvm = folder.join("llvm");
        link_llvm(&llvm.join("lib"), &rustc.llvm_library()?)?;
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo
            .args(["install", "bpf-linker", "--version", VERSION, "--locked", "--force", "--no-default-features"])
            .args(["--features", &format!("llvm-{}", rustc.llvm)])
            .arg("--root")
            .arg(folder)
            .env("LLVM_PREFIX", &llvm)
            .env("CARGO_PROFILE_RELEASE_DEBUG", "0");
        process::run(&mut cargo)
    })
}

/// Makes the library visible under the name that linkers look for and under its own, which the loader looks for.
fn link_llvm(folder: &Path, library: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("remove the old {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let own_name = library.file_name().context("the LLVM library has no file name")?;
    for name in ["libLLVM.so".as_ref(), own_name] {
        symlink(library, folder.join(name)).with_context(|| format!("link {}", library.display()))?;
    }
    Ok(())
}
