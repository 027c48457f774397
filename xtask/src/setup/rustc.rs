//! Which rustc is this, and which LLVM does it bring?

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result, anyhow};

use crate::{bpf_build, process};

#[derive(Debug)]
pub(crate) struct Rustc {
    /// `rustc 1.95.0 (59807616e 2026-04-14)`.
    pub(crate) release_line: String,
    /// `1.95.0`.
    pub(crate) release: String,
    /// `22`, the major version of its LLVM.
    pub(crate) llvm: String,
    pub(crate) sysroot: PathBuf,
}

impl Rustc {
    pub(crate) fn ask() -> Result<Self> {
        let text = process::output(Command::new("rustc").arg("-vV"))?;
        let field = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name));
            value.map(str::to_owned).with_context(|| format!("`rustc -vV` has no line `{name}`"))
        };
        let llvm = field("LLVM version: ")?;
        Ok(Self {
            release_line: text.lines().next().unwrap_or_default().to_owned(),
            release: field("release: ")?,
            llvm: llvm.split('.').next().unwrap_or_default().to_owned(),
            sysroot: bpf_build::sysroot().map_err(|error| anyhow!(error))?,
        })
    }

    /// The LLVM library that rustc itself loads: `libLLVM.so.22.1-rust-1.95.0-stable`.
    pub(crate) fn llvm_library(&self) -> Result<PathBuf> {
        let folder = self.sysroot.join("lib");
        for entry in fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
            let path = entry.with_context(|| format!("read {}", folder.display()))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with("libLLVM.so.") {
                return Ok(path);
            }
        }
        Err(anyhow!("{} has no libLLVM.so.*: this rustc does not come with a shared LLVM", folder.display()))
    }
}
