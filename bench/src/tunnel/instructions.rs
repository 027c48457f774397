//! How many instructions does a packet take, whatever the number of peers?
//!
//! Virtual machines seldom have hardware counters, so the process is traced and every instruction of it is a step: slow, and
//! exact to the last one.

use std::{
    io,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use super::{crossing::PACKETS, peers};
use crate::report::{Report, Rival};

pub(super) fn run(report: &mut Report) -> Result<()> {
    let mut counted = peers::COUNTS.into_iter().map(per_packet).collect::<Result<Vec<_>>>()?;
    let many = counted.pop().context("a device has peers")?;
    let rivals = counted.into_iter().zip(peers::NAMES).map(|(count, name)| Rival::new(name, count)).collect();
    report.versus(format!("instructions per packet, {}", peers::MANY_PEERS), "1", many, rivals);
    Ok(())
}

fn per_packet(peers: usize) -> Result<f64> {
    let program = std::env::current_exe().context("where this program is")?;
    let mut command = Command::new(program);
    command.args(["crossing", "--peers", &peers.to_string()]).stdout(Stdio::null());
    // SAFETY: one system call, which allocates nothing.
    unsafe {
        command.pre_exec(|| match libc::ptrace(libc::PTRACE_TRACEME) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        });
    }
    let mut child = command.spawn().context("start the process whose instructions are counted")?;
    let steps = steps(child.id() as libc::pid_t);
    // Nobody needs the rest of it.
    let _ = child.kill();
    child.wait().context("end the process whose instructions were counted")?;
    Ok(steps? as f64 / PACKETS as f64)
}

/// Instructions between SIGUSR1 and SIGUSR2.
fn steps(process: libc::pid_t) -> Result<u64> {
    while stop_of(process)? != libc::SIGUSR1 {
        go_on(libc::PTRACE_CONT, process)?;
    }
    let mut steps = 0;
    loop {
        go_on(libc::PTRACE_SINGLESTEP, process)?;
        match stop_of(process)? {
            libc::SIGTRAP => steps += 1,
            libc::SIGUSR2 => return Ok(steps),
            other => bail!("signal {other} in the process whose instructions are counted"),
        }
    }
}

/// Waits until the process stops, and says by which signal; it does not get the signal.
fn stop_of(process: libc::pid_t) -> Result<libc::c_int> {
    let mut status = 0;
    // SAFETY: the status outlives the call; the process is our child and was not waited for.
    if unsafe { libc::waitpid(process, &raw mut status, 0) } != process {
        return Err(io::Error::last_os_error()).context("wait for a traced process");
    }
    if !libc::WIFSTOPPED(status) {
        bail!("the process whose instructions are counted has ended (status {status:#x})");
    }
    Ok(libc::WSTOPSIG(status))
}

fn go_on(how: libc::c_uint, process: libc::pid_t) -> Result<()> {
    // SAFETY: the process is a traced child that has stopped; neither request reads or writes memory here.
    if unsafe { libc::ptrace(how, process, 0, 0) } != 0 {
        return Err(io::Error::last_os_error()).context("continue a traced process");
    }
    Ok(())
}
