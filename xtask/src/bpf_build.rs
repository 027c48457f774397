//! How is the BPF object built, and where are the tools for that?
//!
//! `xtask` and the build scripts of the crates that embed the object compile this same file, so it uses `std` alone and
//! there is one answer. What puts the tools in their place is `cargo xtask setup`.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

/// The only target that the programs are built for: the kernel's own byte order on every machine that we support.
const TARGET: &str = "bpfel-unknown-none";

/// What a nested cargo must not inherit: the wrappers and flags of the host build that runs the build script.
const HOST_ONLY: [&str; 6] =
    ["RUSTC", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTDOC", "RUSTFLAGS", "CARGO_BUILD_TARGET"];

/// The folder that `cargo xtask setup` fills: the one that `MESH_TOOLS` names, else `tools` in the target folder.
#[derive(Debug, Clone)]
pub(crate) struct Tools {
    dir: PathBuf,
}

impl Tools {
    pub(crate) fn locate(target_dir: &Path) -> Self {
        match env::var_os("MESH_TOOLS").filter(|dir| !dir.is_empty()) {
            Some(dir) => Self { dir: dir.into() },
            None => Self { dir: target_dir.join("tools") },
        }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn linker(&self) -> PathBuf {
        self.dir.join("bin/bpf-linker")
    }

    /// Where `core` lies when the toolchain itself has no sources.
    pub(crate) fn library(&self) -> PathBuf {
        self.dir.join("rust-src/library")
    }
}

/// The target folder around `inside` (an `OUT_DIR`, a built binary): cargo marks it with a `CACHEDIR.TAG`.
pub(crate) fn target_dir(inside: &Path) -> &Path {
    inside.ancestors().skip(1).find(|dir| dir.join("CACHEDIR.TAG").exists()).unwrap_or(inside)
}

/// The toolchain's own folder, as `rustc --print sysroot` says.
pub(crate) fn sysroot() -> Result<PathBuf, String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .args(["--print", "sysroot"])
        .output()
        .map_err(|error| format!("rustc --print sysroot: {error}"))?;
    let text = String::from_utf8(output.stdout).map_err(|error| format!("rustc --print sysroot: {error}"))?;
    Ok(PathBuf::from(text.trim()))
}

/// Whether the toolchain has the sources of `core` itself.
pub(crate) fn sysroot_has_sources(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib/src/rust/library/Cargo.lock").exists()
}

/// `cargo VERB` for `mesh-ebpf`: stable rustc, `core` from source, bpf-linker, BTF. The nested target folder is shared by
/// all callers in one target folder, so `core` is compiled once for build, check and clippy.
pub(crate) fn cargo(verb: &str, workspace: &Path, target_dir: &Path, tools: &Tools) -> Result<Command, String> {
    let sysroot = sysroot()?;
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for name in HOST_ONLY {
        command.env_remove(name);
    }
    let missing = |what| format!("{} has no {what}; run: cargo xtask setup", tools.dir().display());
    if !tools.linker().exists() {
        return Err(missing("bpf-linker"));
    }
    if !sysroot_has_sources(&sysroot) {
        if !tools.library().join("Cargo.lock").exists() {
            return Err(missing("sources of core"));
        }
        command.env("__CARGO_TESTS_ONLY_SRC_ROOT", tools.library());
    }
    command
        .current_dir(workspace)
        .args([verb, "--release", "--package", "mesh-ebpf", "--bins"])
        .args(["--target", TARGET, "-Zbuild-std=core", "--target-dir"])
        .arg(nested_target_dir(target_dir))
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", tools.linker())
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags());
    Ok(command)
}

/// Where a build leaves the object.
pub(crate) fn object(target_dir: &Path) -> PathBuf {
    nested_target_dir(target_dir).join(TARGET).join("release/mesh")
}

fn nested_target_dir(target_dir: &Path) -> PathBuf {
    target_dir.join("bpf")
}

/// `v3` has 32-bit jumps and the atomics that return a value (kernel 5.12); BTF is made from the debug information.
/// Without the third, LLVM calls a loop over bytes to clear as little as a word; with the fourth it inlines whatever is not
/// told otherwise: a call costs stack, of which there are 512 bytes.
fn rustflags() -> OsString {
    let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_else(|_| env::consts::ARCH.into());
    [
        "-Cdebuginfo=2",
        "-Clink-arg=--btf",
        "-Clink-arg=--disable-expand-memcpy-in-order",
        "-Clink-arg=--llvm-args=-inline-threshold=100000",
        "-Ctarget-cpu=v3",
        &format!("--cfg=bpf_target_arch=\"{arch}\""),
    ]
    .join("\x1f")
    .into()
}
