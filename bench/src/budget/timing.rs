//! How long does a program take for one packet?

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result, bail, ensure};
use aya::{
    Ebpf,
    programs::{Program, ProgramFd},
};

use crate::{
    kernel::{self, word},
    statistics::minimum,
};

/// Packets per timed run.
pub(super) const REPEAT: u32 = 1_000_000;
const XDP_PASS: u32 = 2;
/// -1: the programs behind ours decide.
const TC_ACT_UNSPEC: u32 = u32::MAX;

/// A program with its tables, beside the one that only passes, of the same type.
#[derive(Debug)]
pub(super) struct Bench {
    program: OwnedFd,
    empty: OwnedFd,
    pass: u32,
    runs: usize,
}

impl Bench {
    pub(super) fn of(bpf: &mut Ebpf, program: &str, runs: usize) -> Result<Self> {
        super::load(bpf, program)?;
        let (empty, pass) = match bpf.program(program) {
            Some(Program::Xdp(_)) => {
                let code = [word(0xb7, 0, 0, 0, XDP_PASS as i32), word(0x95, 0, 0, 0, 0)];
                (kernel::load_xdp(&code)?, XDP_PASS)
            }
            Some(Program::SchedClassifier(_)) => {
                let code = [word(0xb7, 0, 0, 0, -1), word(0x95, 0, 0, 0, 0)];
                (kernel::load_classifier(&code)?, TC_ACT_UNSPEC)
            }
            _ => bail!("{program} judges no frames"),
        };
        Ok(Self { program: descriptor(bpf, program)?, empty, pass, runs })
    }

    /// The frame as the program passes it.
    pub(super) fn passes(&self, frame: &[u8]) -> Result<Vec<u8>> {
        let ran = kernel::test_run(&self.program, frame, 1)?;
        ensure!(ran.action == self.pass, "the frame met action {}, not pass", ran.action);
        Ok(ran.frame)
    }

    /// ns per packet: ours, and that of the empty program in the same run.
    pub(super) fn beside_empty(&self, frame: &[u8]) -> Result<(f64, f64)> {
        self.in_turn(&self.empty, frame)
    }

    /// ns per packet with these tables, and with those of the other.
    pub(super) fn beside(&self, other: &Self, frame: &[u8]) -> Result<(f64, f64)> {
        self.in_turn(&other.program, frame)
    }

    /// One run of each after the other, so that a disturbance meets both; the fastest of each counts.
    fn in_turn(&self, other: &OwnedFd, frame: &[u8]) -> Result<(f64, f64)> {
        let (mut ours, mut others) = (Vec::new(), Vec::new());
        for _ in 0..self.runs {
            ours.push(self.time(&self.program, frame)?);
            others.push(self.time(other, frame)?);
        }
        Ok((minimum(&ours), minimum(&others)))
    }

    fn time(&self, program: &OwnedFd, frame: &[u8]) -> Result<f64> {
        let ran = kernel::test_run(program, frame, REPEAT)?;
        ensure!(ran.action == self.pass, "the timed frame met action {}, not pass", ran.action);
        Ok(ran.nanoseconds.into())
    }
}

/// It keeps the program and its maps in the kernel.
fn descriptor(bpf: &Ebpf, name: &str) -> Result<OwnedFd> {
    let program = bpf.program(name).with_context(|| format!("the object has no program {name}"))?;
    let descriptor: &ProgramFd = program.fd()?;
    Ok(descriptor.as_fd().try_clone_to_owned()?)
}
