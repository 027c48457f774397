//! How long does a program take for one packet?

use anyhow::{Context, Result, bail, ensure};
use aya::{
    Ebpf, TestRunOptions,
    programs::{Program, TestRun, Xdp},
};

use crate::statistics::minimum;

/// Packets per timed run.
pub(super) const REPEAT: u32 = 1_000_000;
const XDP_PASS: u32 = 2;

/// What judges frames that come from remotes.
const UNDERLAY: &str = "xdp_underlay";
/// What only passes: the cost of the call itself.
const EMPTY: &str = "xdp_empty";

/// The program that judges what comes from remotes, beside the one that only passes, in one object.
#[derive(Debug)]
pub(super) struct Bench<'a> {
    underlay: &'a Xdp,
    empty: &'a Xdp,
    runs: usize,
}

impl<'a> Bench<'a> {
    pub(super) fn of(bpf: &'a mut Ebpf, runs: usize) -> Result<Self> {
        for name in [UNDERLAY, EMPTY] {
            super::load(bpf, name)?;
        }
        Ok(Self { underlay: xdp(bpf, UNDERLAY)?, empty: xdp(bpf, EMPTY)?, runs })
    }

    /// ns per packet: ours, and that of the empty program in the same run.
    pub(super) fn beside_empty(&self, frame: &[u8]) -> Result<(f64, f64)> {
        in_turn(self.underlay, self.empty, frame, self.runs)
    }

    /// ns per packet with these tables, and with those of the other.
    pub(super) fn beside(&self, other: &Self, frame: &[u8]) -> Result<(f64, f64)> {
        in_turn(self.underlay, other.underlay, frame, self.runs)
    }
}

/// One run of each after the other, so that a disturbance meets both; the fastest of each counts.
fn in_turn(first: &Xdp, second: &Xdp, frame: &[u8], runs: usize) -> Result<(f64, f64)> {
    let (mut firsts, mut seconds) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        firsts.push(time(first, frame)?);
        seconds.push(time(second, frame)?);
    }
    Ok((minimum(&firsts), minimum(&seconds)))
}

fn time(program: &Xdp, frame: &[u8]) -> Result<f64> {
    let options = TestRunOptions { data_in: Some(frame), repeat: REPEAT, ..TestRunOptions::default() };
    let result = program.test_run(options).context("BPF_PROG_TEST_RUN")?;
    ensure!(result.return_value == XDP_PASS, "the timed frame met XDP action {}, not pass", result.return_value);
    Ok(result.duration.as_nanos() as f64)
}

fn xdp<'a>(bpf: &'a Ebpf, name: &str) -> Result<&'a Xdp> {
    match bpf.program(name) {
        Some(Program::Xdp(program)) => Ok(program),
        _ => bail!("the object has no XDP program {name}"),
    }
}
