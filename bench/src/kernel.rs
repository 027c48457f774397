//! bpf(2) for what no library does: programs of a few instructions written by hand, and frames that really travel
//! (`BPF_F_TEST_XDP_LIVE_FRAMES`, Linux 5.18).

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use anyhow::{Context, Result};

/// Commands, types and flags of `linux/bpf.h`.
const MAP_CREATE: i64 = 0;
const MAP_UPDATE: i64 = 2;
const MAP_DELETE: i64 = 3;
const PROG_LOAD: i64 = 5;
const PROG_TEST_RUN: i64 = 10;
const LINK_CREATE: i64 = 28;
const MAP_TYPE_PROG_ARRAY: u32 = 3;
const PROG_TYPE_CLASSIFIER: u32 = 3;
const PROG_TYPE_XDP: u32 = 6;
const ATTACH_NOTHING: u32 = 0;
const ATTACH_XDP: u32 = 37;
const LIVE_FRAMES: u32 = 2;

/// One slot for the program that a generator jumps to.
#[derive(Debug)]
pub(crate) struct Jump(OwnedFd);

#[repr(C)]
struct Create {
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
}

#[repr(C)]
struct Element {
    map: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct Load {
    kind: u32,
    instructions: u32,
    code: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    /// As in the programs that it may jump to.
    attach_type: u32,
}

#[repr(C)]
struct Attach {
    program: u32,
    interface: u32,
    kind: u32,
    flags: u32,
}

#[repr(C)]
struct TestRun {
    program: u32,
    result: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    pad: u32,
}

impl Jump {
    pub(crate) fn new() -> Result<Jump> {
        let create = Create { kind: MAP_TYPE_PROG_ARRAY, key_size: 4, value_size: 4, max_entries: 1, flags: 0 };
        Ok(Jump(descriptor(call(MAP_CREATE, &create).context("make a program array")?)))
    }

    pub(crate) fn descriptor(&self) -> i32 {
        self.0.as_raw_fd()
    }

    pub(crate) fn point_to(&self, program: BorrowedFd<'_>) -> Result<()> {
        let (key, value) = (0_u32, program.as_raw_fd());
        self.element(MAP_UPDATE, &raw const key as u64, &raw const value as u64)
    }

    pub(crate) fn clear(&self) -> Result<()> {
        let key = 0_u32;
        self.element(MAP_DELETE, &raw const key as u64, 0)
    }

    fn element(&self, command: i64, key: u64, value: u64) -> Result<()> {
        let element = Element { map: self.0.as_raw_fd() as u32, pad: 0, key, value, flags: 0 };
        call(command, &element).context("change a program array").map(|_| ())
    }
}

pub(crate) fn load_xdp(code: &[u64]) -> Result<OwnedFd> {
    load(code, PROG_TYPE_XDP, ATTACH_XDP).context("load an XDP program")
}

pub(crate) fn load_classifier(code: &[u64]) -> Result<OwnedFd> {
    load(code, PROG_TYPE_CLASSIFIER, ATTACH_NOTHING).context("load a tc program")
}

fn load(code: &[u64], kind: u32, attach_type: u32) -> Result<OwnedFd> {
    let load = Load {
        kind,
        instructions: code.len() as u32,
        code: code.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
        name: [0; 16],
        interface: 0,
        attach_type,
    };
    Ok(descriptor(call(PROG_LOAD, &load)?))
}

/// Until the descriptor is dropped.
pub(crate) fn attach_xdp(program: &OwnedFd, interface: u32) -> Result<OwnedFd> {
    let attach = Attach { program: program.as_raw_fd() as u32, interface, kind: ATTACH_XDP, flags: 0 };
    Ok(descriptor(call(LINK_CREATE, &attach).context("attach an XDP program")?))
}

/// Sends frames through the program as if they came in by `interface` of this thread's namespace, and on to wherever it
/// says.
pub(crate) fn send_live(program: &OwnedFd, frame: &[u8], interface: u32, count: u32, batch: u32) -> Result<()> {
    // `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
    let context = [0, frame.len() as u32, 0, interface, 0, 0];
    let run = TestRun {
        program: program.as_raw_fd() as u32,
        result: 0,
        data_size_in: frame.len() as u32,
        data_size_out: 0,
        data_in: frame.as_ptr() as u64,
        data_out: 0,
        repeat: count,
        duration: 0,
        ctx_size_in: size_of_val(&context) as u32,
        ctx_size_out: 0,
        ctx_in: context.as_ptr() as u64,
        ctx_out: 0,
        flags: LIVE_FRAMES,
        cpu: 0,
        batch_size: batch,
        pad: 0,
    };
    call(PROG_TEST_RUN, &run).context("send live frames").map(|_| ())
}

/// What became of a frame that went through a program again and again.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) action: u32,
    /// For one time.
    pub(crate) nanoseconds: u32,
    /// As the last time left it.
    pub(crate) frame: Vec<u8>,
}

/// Sends one frame through the program `count` times, each time as the program left it; it goes nowhere else.
pub(crate) fn test_run(program: &OwnedFd, frame: &[u8], count: u32) -> Result<Ran> {
    let mut out = vec![0; frame.len() + 256];
    let mut run = TestRun {
        program: program.as_raw_fd() as u32,
        result: 0,
        data_size_in: frame.len() as u32,
        data_size_out: out.len() as u32,
        data_in: frame.as_ptr() as u64,
        data_out: out.as_mut_ptr() as u64,
        repeat: count,
        duration: 0,
        ctx_size_in: 0,
        ctx_size_out: 0,
        ctx_in: 0,
        ctx_out: 0,
        flags: 0,
        cpu: 0,
        batch_size: 0,
        pad: 0,
    };
    // SAFETY: the attributes and what they point to are alive during the call; the kernel touches no more than their size.
    let result = unsafe { libc::syscall(libc::SYS_bpf, PROG_TEST_RUN, &raw mut run, size_of::<TestRun>()) };
    if result < 0 {
        return Err(io::Error::last_os_error()).context("BPF_PROG_TEST_RUN");
    }
    out.truncate(run.data_size_out as usize);
    Ok(Ran { action: run.result, nanoseconds: run.duration, frame: out })
}

/// `T` is the beginning of `union bpf_attr` that the command reads.
fn call<T>(command: i64, attributes: &T) -> Result<i64> {
    // SAFETY: the attributes and what they point to are alive during the call; the kernel reads no more than their size.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    if result < 0 {
        return Err(io::Error::last_os_error()).with_context(|| format!("bpf command {command}"));
    }
    Ok(result)
}

fn descriptor(number: i64) -> OwnedFd {
    // SAFETY: the kernel has just given it to us, and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(number as i32) }
}

/// One instruction of BPF.
pub(crate) fn word(opcode: u8, dst: u8, src: u8, offset: i16, immediate: i32) -> u64 {
    let registers = u64::from(dst | src << 4);
    u64::from(opcode)
        | registers << 8
        | u64::from(offset.cast_unsigned()) << 16
        | u64::from(immediate.cast_unsigned()) << 32
}
