//! The XDP programs: [`Frame`] over packet pointers, and the actions of a driver.

use core::{arch::asm, ffi::c_void, marker::PhantomData};

use aya_ebpf::{
    bindings::{xdp_action::*, xdp_md},
    helpers::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail},
    macros::xdp,
    programs::XdpContext,
};
use aya_log_ebpf::debug;
use mesh_common::{
    checksum::{replace, replace_optional},
    datapath::route::{Link, Route},
    frame::{Frame, L4Checksum},
    ids::IfIndex,
};

use crate::{
    Packet, Underlay, Workload, bytes,
    fib::{Asker, KernelRoutes},
    run,
    tables::{redirect, takes_redirects},
};

#[xdp]
pub fn xdp_workload(ctx: XdpContext) -> u32 {
    act(&ctx, run(XdpFrame::<Workload>::new(ctx.ctx), Workload))
}

#[xdp]
pub fn xdp_underlay(ctx: XdpContext) -> u32 {
    let interface = IfIndex(ctx.ingress_ifindex() as u32);
    act(&ctx, run(XdpFrame::<Underlay>::new(ctx.ctx), Underlay(interface)))
}

/// Passes everything: what the cost of the others is measured against.
#[xdp]
pub fn xdp_empty(_: XdpContext) -> u32 {
    XDP_PASS
}

fn act(ctx: &XdpContext, (action, dropped): (i32, Option<u8>)) -> u32 {
    if let Some(reason) = dropped {
        debug!(ctx, "interface {}: dropped, reason {}", ctx.ingress_ifindex(), reason);
    }
    action as u32
}

/// The frame in the driver's buffer. Its type differs by program, so that each function has one caller and is inlined.
struct XdpFrame<D> {
    ctx: *mut xdp_md,
    start: usize,
    end: usize,
    door: PhantomData<D>,
}

/// Further into a frame than any header of it is.
const MAX_OFFSET: usize = 0x7fff;

impl<D> XdpFrame<D> {
    fn new(ctx: *mut xdp_md) -> Self {
        // SAFETY: the context is valid as long as the program runs; so in all of this file.
        let (start, end) = unsafe { ((*ctx).data as usize, (*ctx).data_end as usize) };
        XdpFrame { ctx, start: opaque(start), end: opaque(end), door: PhantomData }
    }

    /// Where `N` bytes of the frame are. The verifier wants a bound on what is added to a packet pointer.
    fn find<const N: usize>(&self, at: usize) -> Option<usize> {
        (at <= MAX_OFFSET && self.start + at + N <= self.end).then_some(self.start + at)
    }
}

impl<D> Packet for XdpFrame<D> {
    const PASS: i32 = XDP_PASS as i32;
    const DROP: i32 = XDP_DROP as i32;

    fn ifindex(&self) -> u32 {
        Self::ingress(self.ctx.cast())
    }

    fn has_tag_aside(&self) -> bool {
        false
    }

    fn routes(&self) -> KernelRoutes<Self> {
        KernelRoutes(self.ctx.cast(), PhantomData)
    }

    fn redirect(&self, to: IfIndex) -> i32 {
        redirect(to) as i32
    }

    fn reply(&self) -> i32 {
        XDP_TX as i32
    }
}

impl<D> Asker for XdpFrame<D> {
    const KERNEL_CHECKS_LENGTH: bool = true;
    const FLAGS: u32 = 0;

    fn ingress(context: *mut c_void) -> u32 {
        // SAFETY: see `new`.
        unsafe { (*context.cast::<xdp_md>()).ingress_ifindex }
    }

    fn to(interface: IfIndex, link: Link) -> Route {
        if takes_redirects(interface) { Route::Redirect { interface, link: Some(link) } } else { Route::NeedsKernel }
    }
}

impl<D> Frame for XdpFrame<D> {
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
        let before = self.load(field.at)?;
        let optional = field.zero_is_none;
        let after = if optional { replace_optional(before, old, new) } else { replace(before, old, new) };
        self.store(field.at, after)
    }

    fn segment_len(&self, l3: usize) -> usize {
        self.len().saturating_sub(l3)
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

/// Hides that the context's fields are 32 bits wide in its type. Comparing packet pointers as 32-bit numbers would teach
/// the verifier nothing.
fn opaque(mut pointer: usize) -> usize {
    // SAFETY: no instruction at all but a move to itself.
    unsafe { asm!("{0} = {0}", inout(reg) pointer, options(pure, nomem, nostack)) };
    pointer
}
