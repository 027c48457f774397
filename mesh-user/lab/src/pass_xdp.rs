//! An XDP program that passes everything: at the far end of a veth that sends by `XDP_TX`, or of somebody else and in the
//! way of ours.

use std::{
    ffi::CString,
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use anyhow::{Context, Result};

use crate::link::Port;

/// Stays attached until it is dropped.
#[derive(Debug)]
pub struct PassXdp {
    _bpf_link: OwnedFd,
}

/// Commands, types and constants of `linux/bpf.h`.
const PROG_LOAD: i64 = 5;
const LINK_CREATE: i64 = 28;
const PROG_TYPE_XDP: u32 = 6;
const ATTACH_XDP: u32 = 37;

/// `return XDP_PASS`: load 2 into register 0, leave.
const PASS: [u64; 2] = [0x0000_0002_0000_00b7, 0x0000_0000_0000_0095];

/// The first fields of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
struct Load {
    program_type: u32,
    instructions: u32,
    code: u64,
    license: u64,
}

/// The same for `BPF_LINK_CREATE`.
#[repr(C)]
struct Attach {
    program: i32,
    interface: i32,
    kind: u32,
    flags: u32,
}

impl PassXdp {
    pub fn attach(port: Port) -> Result<PassXdp> {
        port.namespace.enter(|| {
            let name = CString::new(port.device)?;
            // SAFETY: the name is NUL-terminated and outlives the call.
            let interface = unsafe { libc::if_nametoindex(name.as_ptr()) };
            let interface = i32::try_from(interface).context("interface index")?;
            let load = Load {
                program_type: PROG_TYPE_XDP,
                instructions: PASS.len() as u32,
                code: PASS.as_ptr() as u64,
                license: c"GPL".as_ptr() as u64,
            };
            let program = bpf(PROG_LOAD, &load).context("cannot load a program")?;
            let attach = Attach { program: program.as_raw_fd(), interface, kind: ATTACH_XDP, flags: 0 };
            let bpf_link = bpf(LINK_CREATE, &attach).with_context(|| format!("cannot attach to {}", port.device))?;
            Ok(PassXdp { _bpf_link: bpf_link })
        })
    }
}

/// A command of bpf(2) that returns a descriptor. `T` is the beginning of `union bpf_attr` that the command reads.
fn bpf<T>(command: i64, attributes: &T) -> Result<OwnedFd> {
    // SAFETY: the attributes and what they point to are alive during the call; the kernel reads no more than their size.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    if fd < 0 {
        return Err(io::Error::last_os_error()).context("bpf(2)");
    }
    // SAFETY: the kernel just opened this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd)?) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Lab, link};

    #[test]
    fn it_is_attached_and_gone() {
        let lab = Lab::new().unwrap();
        let (a, b) = (lab.namespace("a").unwrap(), lab.namespace("b").unwrap());
        let port = Port::new(&a, "eth0");
        link::veth(port, Port::new(&b, "eth0")).unwrap();
        let shown = || a.ip(&["link", "show", "dev", "eth0"]).unwrap();
        let foreign = PassXdp::attach(port).unwrap();
        assert!(shown().contains("prog/xdp"), "{}", shown());
        drop(foreign);
        assert!(!shown().contains("prog/xdp"), "{}", shown());
    }
}
