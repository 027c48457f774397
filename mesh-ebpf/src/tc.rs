//! The tc classifiers: [`Frame`] over a socket buffer, and the actions of the stack.
//!
//! A buffer may be in pieces and its checksum complete, partial or known by sum; the helpers know, so all access is
//! through them.

use core::{ffi::c_void, marker::PhantomData, mem::MaybeUninit, ptr::null_mut};

use aya_ebpf::{bindings::*, helpers::*, macros::classifier, programs::TcContext};
use aya_log_ebpf::debug;
use mesh_common::{
    datapath::route::{Link, Route},
    frame::{Frame, L4Checksum, super_segment_len},
    ids::IfIndex,
};

use crate::{
    Packet, Underlay, Workload, bytes,
    fib::{Asker, KernelRoutes},
    run,
};

#[classifier]
pub fn tc_workload(ctx: TcContext) -> i32 {
    act(&ctx, run(TcFrame::<Workload>(ctx.skb.skb, PhantomData), Workload))
}

#[classifier]
pub fn tc_underlay(ctx: TcContext) -> i32 {
    let frame = TcFrame::<Underlay>(ctx.skb.skb, PhantomData);
    let interface = IfIndex(frame.ifindex());
    act(&ctx, run(frame, Underlay(interface)))
}

fn act(ctx: &TcContext, (action, dropped): (i32, Option<u8>)) -> i32 {
    if let Some(reason) = dropped {
        debug!(ctx, "dropped, reason {}", reason);
    }
    action
}

/// A socket buffer, from its Ethernet header on. Its type differs by program, so that each function has one caller and is
/// inlined.
struct TcFrame<D>(*mut __sk_buff, PhantomData<D>);

impl<D> Packet for TcFrame<D> {
    /// Leaves the packet to the programs behind ours.
    const PASS: i32 = TC_ACT_UNSPEC;
    const DROP: i32 = TC_ACT_SHOT;

    fn ifindex(&self) -> u32 {
        Self::ingress(self.0.cast())
    }

    fn has_tag_aside(&self) -> bool {
        // SAFETY: the context is valid as long as the program runs; so in all of this file.
        unsafe { (*self.0).vlan_present != 0 }
    }

    fn routes(&self) -> KernelRoutes<Self> {
        KernelRoutes(self.0.cast(), PhantomData)
    }

    fn redirect(&self, to: IfIndex) -> i32 {
        // SAFETY: no parameters: the kernel finds the next hop by the packet's own destination.
        unsafe { bpf_redirect_neigh(to.0, null_mut(), 0, 0) as i32 }
    }

    fn reply(&self) -> i32 {
        // SAFETY: the helper has no preconditions.
        unsafe { bpf_redirect(self.ifindex(), 0) as i32 }
    }
}

impl<D> Asker for TcFrame<D> {
    const KERNEL_CHECKS_LENGTH: bool = false;
    /// The neighbour is the business of the redirect. Before Linux 6.3 there is no such flag: then the kernel forwards.
    const FLAGS: u32 = BPF_FIB_LOOKUP_SKIP_NEIGH;

    fn ingress(context: *mut c_void) -> u32 {
        // SAFETY: see `has_tag_aside`.
        unsafe { (*context.cast::<__sk_buff>()).ifindex }
    }

    /// `bpf_redirect_neigh` writes the Ethernet addresses itself.
    fn to(interface: IfIndex, _: Link) -> Route {
        Route::Redirect { interface, link: None }
    }
}

impl<D> Frame for TcFrame<D> {
    fn len(&self) -> usize {
        // SAFETY: see `has_tag_aside`.
        unsafe { (*self.0).len as usize }
    }

    fn load<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        let mut bytes = MaybeUninit::<Words<N>>::uninit();
        // SAFETY: the helper writes exactly N bytes, or fails; then they are not read.
        unsafe {
            let failed = bpf_skb_load_bytes(self.0.cast(), at as u32, bytes.as_mut_ptr().cast(), N as u32) != 0;
            if failed { None } else { Some(bytes.assume_init().0) }
        }
    }

    fn store<const N: usize>(&mut self, at: usize, bytes: [u8; N]) -> Option<()> {
        let bytes = Words(bytes);
        // SAFETY: the helper reads exactly N bytes.
        let failed = unsafe { bpf_skb_store_bytes(self.0, at as u32, (&raw const bytes).cast(), N as u32, 0) != 0 };
        (!failed).then_some(())
    }

    fn l4_replace<const N: usize>(&mut self, field: L4Checksum, old: [u8; N], new: [u8; N]) -> Option<()> {
        let pseudo_header = if field.pseudo_header { BPF_F_PSEUDO_HDR } else { 0 };
        let flags = pseudo_header | if field.zero_is_none { BPF_F_MARK_MANGLED_0 } else { 0 };
        let change = change(old, new)?;
        // SAFETY: the helpers check the offset.
        unsafe {
            // Size 0 in the flags: the change itself is given, which serves every N.
            if bpf_l4_csum_replace(self.0, field.at as u32, 0, change, flags.into()) != 0 {
                return None;
            }
            if N == 16 && field.pseudo_header {
                // IPv6 has no header checksum that would balance its addresses, so the sum over a received packet
                // (CHECKSUM_COMPLETE) has not changed, but the helper took the change out of it. Fails where there is no
                // such sum.
                bpf_csum_update(self.0, change as u32);
            }
        }
        Some(())
    }

    fn segment_len(&self, l3: usize) -> usize {
        // SAFETY: see `has_tag_aside`.
        match unsafe { (*self.0).gso_size } {
            0 => self.len().saturating_sub(l3),
            gso_size => super_segment_len(self, l3, gso_size as u16),
        }
    }

    fn forget(&self, at: usize) -> usize {
        bytes::forget(at, self.len())
    }

    fn reshape(&mut self, grow: usize, len: usize) -> Option<()> {
        let kept = (len - grow) as u32;
        // SAFETY: both helpers check what they are asked for.
        let refused = unsafe {
            // The kernel keeps a partial checksum of TCP, 18 bytes into its header, where an error quotes 8. Then what is
            // too much stays behind the packet as padding, where filling the checksum in does no harm.
            let too_short = bpf_skb_change_tail(self.0, kept, 0) != 0;
            (too_short && bpf_skb_change_tail(self.0, kept + PARTIAL_REACH, 0) != 0)
                || bpf_skb_change_head(self.0, grow as u32, 0) != 0
        };
        (!refused).then_some(())
    }
}

/// How much longer than what an error quotes of a TCP header its partial checksum reaches.
const PARTIAL_REACH: u32 = 10;

/// Bytes on the stack that the compiler moves by words.
#[repr(C, align(8))]
struct Words<const N: usize>([u8; N]);

/// The change of a checksum when `old` becomes `new`. The helper wants whole words of 4 bytes.
fn change<const N: usize>(old: [u8; N], new: [u8; N]) -> Option<u64> {
    let size = const { (N as u32).next_multiple_of(4) };
    let (mut before, mut after) = ([0_u32; 4], [0_u32; 4]);
    // SAFETY: N is at most 16, the size of both arrays, and no more than that is read.
    let change = unsafe {
        (&raw mut before).cast::<[u8; N]>().write_unaligned(old);
        (&raw mut after).cast::<[u8; N]>().write_unaligned(new);
        bpf_csum_diff(before.as_mut_ptr(), size, after.as_mut_ptr(), size, 0)
    };
    u64::try_from(change).ok()
}
