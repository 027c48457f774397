//! Builds the BPF programs, so that the daemon carries them: `$OUT_DIR/mesh.o`.

#[path = "../../xtask/src/bpf_build.rs"]
mod bpf_build;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use bpf_build::Tools;

fn main() {
    if let Err(reason) = build() {
        println!("cargo::error={}", reason.replace('\n', " "));
    }
}

fn build() -> Result<(), String> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set: this is a build script of cargo's")?);
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for source in ["Cargo.toml", "Cargo.lock", "mesh-ebpf", "mesh-common"] {
        println!("cargo::rerun-if-changed={}", workspace.join(source).display());
    }
    println!("cargo::rerun-if-env-changed=MESH_TOOLS");

    let target_dir = bpf_build::target_dir(&out);
    let status = bpf_build::cargo("build", &workspace, target_dir, &Tools::locate(target_dir))?
        .status()
        .map_err(|error| format!("cargo build of mesh-ebpf: {error}"))?;
    if !status.success() {
        return Err("mesh-ebpf does not build; what cargo said stands above".into());
    }
    let built = bpf_build::object(target_dir);
    strip(&built, &out.join("mesh.o")).map_err(|error| format!("{}: {error}", built.display()))
}

/// Nine tenths of the object are DWARF, which no loader reads. The objcopy that comes with rustc removes it; a toolchain
/// without one (distributions leave it out) only makes the daemon larger.
fn strip(built: &Path, object: &Path) -> std::io::Result<()> {
    fs::copy(built, object)?;
    let Ok(sysroot) = bpf_build::sysroot() else { return Ok(()) };
    let objcopy = sysroot.join(format!("lib/rustlib/{}-unknown-linux-gnu/bin/rust-objcopy", env::consts::ARCH));
    if !objcopy.exists() {
        return Ok(());
    }
    let stripped = Command::new(objcopy)
        .env("LD_LIBRARY_PATH", sysroot.join("lib"))
        .arg("--strip-debug")
        .args([built, object])
        .status()?;
    if !stripped.success() {
        fs::copy(built, object)?;
    }
    Ok(())
}
