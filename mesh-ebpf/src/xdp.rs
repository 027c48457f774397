//! The XDP programs: [`Frame`] over packet pointers, and what a verdict means for a driver.

use core::{ffi::c_void, marker::PhantomData};

use aya_ebpf::{
    bindings::{xdp_action, xdp_md},
    helpers::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail},
    macros::xdp,
    programs::XdpContext,
};
use aya_log_ebpf::debug;
use mesh_common::{
    checksum,
    datapath::{
        address::Address,
        forward::{self, Door, KernelVerdict, Kind, Packed},
        route::{Link, Route},
    },
    frame::{Frame, L4Checksum},
    ids::IfIndex,
    wire::ethernet,
};

use crate::{
    bytes::{self, forget},
    counters::{count_drop, count_received, count_remap, count_tagged},
    doors::{Underlay, Workload},
    fib::{Hook, KernelRoutes},
    tables::{Maps, redirect, takes_redirects},
};

/// On interfaces towards our workloads.
#[xdp]
pub fn xdp_workload(ctx: XdpContext) -> u32 {
    run(&ctx, Workload)
}

/// On interfaces that `direct` remotes share.
#[xdp]
pub fn xdp_underlay(ctx: XdpContext) -> u32 {
    let interface = IfIndex(ctx.ingress_ifindex() as u32);
    run(&ctx, Underlay(interface))
}

/// Passes everything: what the cost of the others is measured against.
#[xdp]
pub fn xdp_empty(_: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

#[inline(always)]
fn run<D: Door>(ctx: &XdpContext, door: D) -> u32 {
    let mut frame = XdpFrame::<D>::new(ctx);
    let (ifindex, len) = (ctx.ingress_ifindex() as u32, frame.len());
    count_received(ifindex, len);
    let verdict = match forward::version(&frame, ethernet::LEN) {
        Some(4) => judge::<4, D>(&mut frame, door),
        Some(6) => judge::<16, D>(&mut frame, door),
        Some(_) | None => {
            count_tagged(&frame, ifindex);
            KernelVerdict::Pass.pack()
        }
    };
    match verdict.kind() {
        Kind::Pass => xdp_action::XDP_PASS,
        Kind::PassRewritten => {
            count_remap(verdict.remap(), len);
            xdp_action::XDP_PASS
        }
        Kind::Redirect => {
            count_remap(verdict.remap(), len);
            redirect(verdict.interface())
        }
        Kind::Reply => {
            count_drop(verdict.reason());
            xdp_action::XDP_TX
        }
        Kind::Drop => {
            count_drop(verdict.reason());
            debug!(ctx, "interface {}: dropped, reason {}", ifindex, verdict.reason());
            xdp_action::XDP_DROP
        }
    }
}

/// A function of its own for each version: together they need more than the 512 bytes of stack that there are.
#[inline(never)]
fn judge<const N: usize, D: Door>(frame: &mut XdpFrame<D>, door: D) -> Packed
where
    [u8; N]: Address<N>,
{
    let asker = Asker { ctx: frame.ctx };
    forward::packet::<N, _, _, _, _>(frame, ethernet::LEN, door, &Maps, &KernelRoutes(asker))
}

struct Asker {
    ctx: *mut xdp_md,
}

impl Hook for Asker {
    const KERNEL_CHECKS_LENGTH: bool = true;
    const FLAGS: u32 = 0;

    #[inline(always)]
    fn context(&self) -> (*mut c_void, u32) {
        // SAFETY: the context is valid as long as the program runs.
        (self.ctx.cast(), unsafe { (*self.ctx).ingress_ifindex })
    }

    #[inline(always)]
    fn to_neighbour(interface: IfIndex, link: Link) -> Route {
        if takes_redirects(interface) { Route::Redirect { interface, link: Some(link) } } else { Route::NeedsKernel }
    }
}

/// The frame in the driver's buffer. Its type differs by program, so that each function has one caller and is inlined.
struct XdpFrame<D> {
    door: PhantomData<D>,
    ctx: *mut xdp_md,
    start: usize,
    end: usize,
}

/// Further into a frame than any header of it is.
const MAX_OFFSET: usize = 0x7fff;

impl<D> XdpFrame<D> {
    #[inline(always)]
    fn new(ctx: &XdpContext) -> Self {
        XdpFrame { door: PhantomData, ctx: ctx.ctx, start: opaque(ctx.data()), end: opaque(ctx.data_end()) }
    }

    /// A pointer to `N` bytes of the frame.
    #[inline(always)]
    fn bytes<const N: usize>(&self, at: usize) -> Option<usize> {
        // The verifier wants a bound on what is added to a packet pointer.
        if at > MAX_OFFSET {
            return None;
        }
        let from = self.start + at;
        (from + N <= self.end).then_some(from)
    }
}

impl<D> Frame for XdpFrame<D> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.end - self.start
    }

    #[inline(always)]
    fn load<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        // SAFETY: `bytes` found all N bytes between the packet pointers.
        self.bytes::<N>(at).map(|from| unsafe { bytes::load(from) })
    }

    #[inline(always)]
    fn store<const N: usize>(&mut self, at: usize, bytes: [u8; N]) -> Option<()> {
        // SAFETY: see `load`.
        self.bytes::<N>(at).map(|to| unsafe { bytes::store(to, bytes) })
    }

    /// Checksums of received frames are complete.
    #[inline(always)]
    fn l4_replace<const N: usize>(&mut self, field: L4Checksum, old: [u8; N], new: [u8; N]) -> Option<()> {
        let before = self.load(field.at)?;
        let after = if field.zero_is_none {
            checksum::replace_optional(before, old, new)
        } else {
            checksum::replace(before, old, new)
        };
        self.store(field.at, after)
    }

    #[inline(always)]
    fn segment_len(&self, l3: usize) -> usize {
        self.len().saturating_sub(l3)
    }

    #[inline(always)]
    fn forget(&self, at: usize) -> usize {
        forget(at, self.len())
    }

    #[inline(always)]
    fn reshape(&mut self, grow: usize, len: usize) -> Option<()> {
        let tail = len as i32 - (self.len() + grow) as i32;
        // SAFETY: the context is the program's own. Both helpers check what they are asked for, and the pointers are read
        // anew below.
        let refused =
            unsafe { bpf_xdp_adjust_tail(self.ctx, tail) != 0 || bpf_xdp_adjust_head(self.ctx, -(grow as i32)) != 0 };
        let ctx = XdpContext::new(self.ctx);
        (self.start, self.end) = (opaque(ctx.data()), opaque(ctx.data_end()));
        (!refused).then_some(())
    }
}

/// Hides that the context's fields are 32 bits wide in its type. Comparing packet pointers as 32-bit numbers would teach
/// the verifier nothing.
#[inline(always)]
fn opaque(mut pointer: usize) -> usize {
    // SAFETY: no instruction at all but a move to itself.
    unsafe { core::arch::asm!("{0} = {0}", inout(reg) pointer, options(pure, nomem, nostack)) };
    pointer
}
