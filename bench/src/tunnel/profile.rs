//! Where does the time go while one TCP stream runs?
//!
//! perf(1) samples by the clock, since virtual machines seldom have hardware counters.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, bail};
use mesh_lab::{Lab, process, process::Daemon};

use super::{connection::Connection, stream};

/// Lines of each list.
const LINES: usize = 25;
/// What a list leaves out, in per cent.
const LEAST: &str = "0.5";

/// Prints which symbols, and which system calls, the daemons of both ends spent their time in.
pub(super) fn print(lab: &Lab, through: &Connection, seconds: u32) -> Result<()> {
    if process::output(Command::new("perf").arg("--version"), Duration::from_secs(5)).is_err() {
        bail!("--profile needs perf: apt-get install linux-perf");
    }
    let recording = lab.directory().join(format!("{}.perf", through.name));
    let [a, b] = through.daemons;
    let mut record = Command::new("perf");
    record.args(["record", "--event", "cpu-clock", "--freq", "1997", "-g", "--pid", &format!("{a},{b}"), "--output"]);
    record.arg(&recording);
    let mut perf = Daemon::start("perf", record, &lab.directory().join("perf.log"))?;
    std::thread::sleep(Duration::from_millis(300));
    let measured = stream::measure(through, 1, seconds)?;
    perf.signal(libc::SIGINT)?;
    perf.wait(Duration::from_secs(20))?;

    let (speed, cost) = (measured.gigabits_per_second(), measured.daemons_per_gigabyte());
    println!("\n{}: {speed:.2} Gbit/s at {cost:.2} s/GB while it was sampled", through.name);
    println!("\nby symbol, without what it calls:");
    let symbols = report(&recording, &["--no-children", "--sort", "symbol", "--percent-limit", LEAST])?;
    symbols.iter().take(LINES).for_each(|line| println!("{line}"));
    println!("\nby system call, with what it calls:");
    let calls = report(&recording, &["--children", "--sort", "symbol"])?;
    let calls = calls.iter().filter(|line| line.contains("[k]") && line.contains("sys_"));
    calls.take(LINES).for_each(|line| println!("{line}"));
    Ok(())
}

/// The lines of `perf report` without headings.
fn report(recording: &Path, how: &[&str]) -> Result<Vec<String>> {
    let mut perf = Command::new("perf");
    perf.args(["report", "--stdio", "--call-graph", "none", "--input"]).arg(recording).args(how);
    let text = process::output(&mut perf, Duration::from_secs(120)).context("read what perf recorded")?;
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    // Behind the symbols stand columns that mean nothing here.
    Ok(lines.map(|line| line.trim_end_matches([' ', '-']).to_owned()).collect())
}
