//! `cargo xtask setup`: is everything there that building and testing need, and if not, how does it get there?
//!
//! Each step says cheaply whether it is done, so that every verb can run `setup` first. Two steps depend on the version of
//! rustc; a stamp in the tools folder names the version that they were done for.

mod apt;
mod components;
mod linker;
mod packages;
mod rivals;
mod rust_src;
mod rustc;
mod schemathesis;
mod wireguard_go;

use std::{
    fs::{self, File},
    time::Instant,
};

use anyhow::{Context, Result};

use crate::{bpf_build::Tools, place::Place};
pub(crate) use packages::is_root;
use rustc::Rustc;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only what building needs, nothing for tests: works without root
    #[arg(long)]
    build_only: bool,
}

/// What the caller is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Build,
    /// The demo: what the lab runs in its namespaces.
    Show,
    /// Tests and benches: the other WireGuards too.
    Test,
}

pub(crate) fn run(place: &Place, arguments: &Arguments) -> Result<()> {
    let purpose = if arguments.build_only { Purpose::Build } else { Purpose::Test };
    ensure(place, purpose)?;
    println!("setup: everything is there (tools in {})", place.tools.dir().display());
    Ok(())
}

/// Does what is not done yet; silent when nothing is missing.
pub(crate) fn ensure(place: &Place, purpose: Purpose) -> Result<()> {
    let tools = &place.tools;
    fs::create_dir_all(tools.dir()).with_context(|| format!("make the tools folder {}", tools.dir().display()))?;
    let lock = File::create(tools.dir().join("lock")).context("make the lock of the tools folder")?;
    // Several checkouts may share the folder; the lock goes with the file handle.
    lock.lock().context("wait for another setup in the same tools folder")?;

    let rustc = Rustc::ask()?;
    components::ensure(&rustc.sysroot)?;
    toolchain(tools, &rustc)?;
    match purpose {
        Purpose::Build => Ok(()),
        Purpose::Show => packages::ensure(),
        Purpose::Test => {
            packages::ensure()?;
            wireguard_go::ensure(tools)?;
            rivals::ensure(tools)?;
            schemathesis::ensure(tools)
        }
    }
}

/// What BPF programs are built with.
fn toolchain(tools: &Tools, rustc: &Rustc) -> Result<()> {
    let stamp = tools.dir().join("toolchain.stamp");
    // The linker finds its LLVM by absolute path, so a tools folder that was moved or copied is done anew; one that is
    // reached by a link from several checkouts is the same for all.
    let folder = fs::canonicalize(tools.dir()).with_context(|| format!("resolve {}", tools.dir().display()))?;
    let wanted = format!("{}\n{}\n{}\n", rustc.release_line, linker::VERSION, folder.display());
    let there = rust_src::is_there(tools, rustc) && tools.linker().exists();
    if there && fs::read_to_string(&stamp).is_ok_and(|done| done == wanted) {
        return Ok(());
    }
    rust_src::ensure(tools, rustc)?;
    linker::install(&folder, rustc)?;
    fs::write(&stamp, wanted).with_context(|| format!("write {}", stamp.display()))
}

/// Says what is done and how long it took: a step of a setup may take a minute. To stderr, for the verb may write something
/// that is read by a program.
fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("setup: {what} ...");
    let begin = Instant::now();
    let result = work().with_context(|| format!("setup: {what}"))?;
    eprintln!("setup: {what}: done in {:.1} s", begin.elapsed().as_secs_f32());
    Ok(result)
}
