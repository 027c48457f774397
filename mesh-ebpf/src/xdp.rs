//! The XDP programs: [`Frame`] over packet pointers, and the actions of a driver.

use core::arch::asm;

use aya_ebpf::{
    bindings::{xdp_action::*, *},
    helpers::*,
    macros::xdp,
    programs::XdpContext,
};
use aya_log_ebpf::debug;
use mesh_common::{
    checksum::{replace, replace_optional},
    datapath::{forward::*, hook::*, route::Fib},
    frame::{Frame, L4Checksum},
    ids::IfIndex,
    maps::{interface_slot, link_address},
};

use crate::{bytes, fib::KernelRoutes, maps::*};

#[xdp]
pub(crate) fn xdp_workload(ctx: XdpContext) -> u32 {
    run(XdpFrame::<0>::new(ctx.ctx), |_| Workload, &Maps, Maps) as u32
}

#[xdp]
pub(crate) fn xdp_underlay(ctx: XdpContext) -> u32 {
    run(XdpFrame::<1>::new(ctx.ctx), Underlay, &Maps, Maps) as u32
}

/// The frame in the driver's buffer. Its type differs by program, so that each function has one caller and is inlined.
struct XdpFrame<const DOOR: u8> {
    ctx: *mut xdp_md,
    start: usize,
    end: usize,
}

impl<const DOOR: u8> XdpFrame<DOOR> {
    fn new(ctx: *mut xdp_md) -> Self {
        let (mut start, mut end) = (XdpContext::new(ctx).data(), XdpContext::new(ctx).data_end());
        // SAFETY: does nothing but hide that the fields have 32 bits: so compared, they teach the verifier nothing.
        unsafe { asm!("{0} = {0}", "{1} = {1}", inout(reg) start, inout(reg) end, options(pure, nomem, nostack)) };
        XdpFrame { ctx, start, end }
    }

    /// Where `N` bytes of the frame are. The verifier wants a bound on offsets; 32 KB into a frame is no header of it.
    fn find<const N: usize>(&self, at: usize) -> Option<usize> {
        (at <= 0x7fff && self.start + at + N <= self.end).then_some(self.start + at)
    }
}

impl<const DOOR: u8> Hook for XdpFrame<DOOR> {
    const PASS: i32 = XDP_PASS as i32;
    const DROP: i32 = XDP_DROP as i32;

    fn interface(&self) -> IfIndex {
        IfIndex(XdpContext::new(self.ctx).ingress_ifindex() as u32)
    }

    fn is_sent_here(&self) -> bool {
        let (interface, head) = (self.interface(), self.load(0));
        head.is_some_and(|head| LINK_ADDRESSES.get(interface_slot(interface)) == Some(&link_address(interface, head)))
    }

    fn routes(&self) -> impl Fib + use<DOOR> {
        KernelRoutes::<false>(self.ctx.cast())
    }

    fn redirect(&self, to: IfIndex) -> i32 {
        REDIRECTS.redirect(to.0, 0).unwrap_or_else(|action| action) as i32
    }

    fn reply(&self) -> i32 {
        XDP_TX as i32
    }

    fn note_drop(&self, reason: u8) {
        debug!(&XdpContext::new(self.ctx), "interface {}: dropped, reason {}", self.interface().0, reason);
    }
}

impl<const DOOR: u8> Frame for XdpFrame<DOOR> {
    fn len(&self) -> usize {
        self.end - self.start
    }

    fn load<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        // SAFETY: `find` found all N bytes between the packet pointers.
        self.find::<N>(at).map(|from| unsafe { bytes::load(from) })
    }

    fn store<const N: usize>(&mut self, at: usize, bytes: [u8; N]) -> Option<()> {
        // SAFETY: see `load`.
        self.find::<N>(at).map(|to| unsafe { bytes::store(to, bytes) })
    }

    /// Checksums of received frames are complete.
    fn l4_replace<const N: usize>(&mut self, field: L4Checksum, old: [u8; N], new: [u8; N]) -> Option<()> {
        let (sum, optional) = (self.load(field.at)?, field.zero_is_none);
        self.store(field.at, if optional { replace_optional(sum, old, new) } else { replace(sum, old, new) })
    }

    fn forget(&self, at: usize) -> usize {
        bytes::forget(at, self.len())
    }

    fn reshape(&mut self, grow: usize, len: usize) -> Option<()> {
        let (ctx, tail) = (self.ctx, len as i32 - (self.len() + grow) as i32);
        // SAFETY: both helpers check what they are asked for, and the pointers are read anew.
        let refused = unsafe { bpf_xdp_adjust_tail(ctx, tail) != 0 || bpf_xdp_adjust_head(ctx, -(grow as i32)) != 0 };
        *self = XdpFrame::new(ctx);
        (!refused).then_some(())
    }
}
