//! The tc classifiers: [`Frame`] over a socket buffer, and what a verdict means for the stack.
//!
//! A buffer may be in pieces and its checksum complete, partial or known by sum; the helpers know, so all access is
//! through them.

use core::{ffi::c_void, marker::PhantomData, mem::MaybeUninit, ptr::null_mut};

use aya_ebpf::{
    bindings::{
        __sk_buff, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, BPF_FIB_LOOKUP_SKIP_NEIGH, TC_ACT_SHOT, TC_ACT_UNSPEC,
    },
    helpers::{
        bpf_csum_diff, bpf_csum_update, bpf_l4_csum_replace, bpf_redirect, bpf_redirect_neigh, bpf_skb_change_head,
        bpf_skb_change_tail, bpf_skb_load_bytes, bpf_skb_store_bytes,
    },
    macros::classifier,
    programs::TcContext,
};
use aya_log_ebpf::debug;
use mesh_common::{
    datapath::{
        address::Address,
        forward::{self, Door, KernelVerdict, Kind, Packed},
        route::{Link, Route},
    },
    frame::{Frame, L4Checksum, super_segment_len},
    ids::IfIndex,
    wire::ethernet,
};

use crate::{
    bytes::forget,
    counters::{count_drop, count_received, count_remap, count_tag, count_tagged},
    doors::{Underlay, Workload},
    fib::{Hook, KernelRoutes},
    tables::Maps,
};

/// On interfaces towards our workloads.
#[classifier]
pub fn tc_workload(ctx: TcContext) -> i32 {
    run(&ctx, Workload)
}

/// On interfaces that `direct` remotes share.
#[classifier]
pub fn tc_underlay(ctx: TcContext) -> i32 {
    // SAFETY: the context is valid as long as the program runs; so in all of this file.
    let interface = IfIndex(unsafe { (*ctx.skb.skb).ifindex });
    run(&ctx, Underlay(interface))
}

/// `TC_ACT_UNSPEC` leaves the packet to the programs behind ours.
#[inline(always)]
fn run<D: Door>(ctx: &TcContext, door: D) -> i32 {
    let mut frame = TcFrame::<D> { door: PhantomData, skb: ctx.skb.skb };
    // SAFETY: see `tc_underlay`.
    let (ifindex, tagged) = unsafe { ((*frame.skb).ifindex, (*frame.skb).vlan_present != 0) };
    let len = frame.len();
    count_received(ifindex, len);
    if tagged {
        // The driver put the tag beside the packet.
        count_tag(ifindex);
        return TC_ACT_UNSPEC;
    }
    let verdict = match forward::version(&frame, ethernet::LEN) {
        Some(4) => judge::<4, D>(&mut frame, door),
        Some(6) => judge::<16, D>(&mut frame, door),
        Some(_) | None => {
            count_tagged(&frame, ifindex);
            KernelVerdict::Pass.pack()
        }
    };
    match verdict.kind() {
        Kind::Pass => TC_ACT_UNSPEC,
        Kind::PassRewritten => {
            count_remap(verdict.remap(), len);
            TC_ACT_UNSPEC
        }
        Kind::Redirect => {
            count_remap(verdict.remap(), len);
            // SAFETY: no parameters: the kernel finds the next hop by the packet's own destination.
            unsafe { bpf_redirect_neigh(verdict.interface().0, null_mut(), 0, 0) as i32 }
        }
        Kind::Reply => {
            count_drop(verdict.reason());
            // SAFETY: the helper has no preconditions.
            unsafe { bpf_redirect(ifindex, 0) as i32 }
        }
        Kind::Drop => {
            count_drop(verdict.reason());
            debug!(ctx, "interface {}: dropped, reason {}", ifindex, verdict.reason());
            TC_ACT_SHOT
        }
    }
}

/// A function of its own for each version: together they need more than the 512 bytes of stack that there are.
#[inline(never)]
fn judge<const N: usize, D: Door>(frame: &mut TcFrame<D>, door: D) -> Packed
where
    [u8; N]: Address<N>,
{
    let asker = Asker { skb: frame.skb };
    forward::packet::<N, _, _, _, _>(frame, ethernet::LEN, door, &Maps, &KernelRoutes(asker))
}

struct Asker {
    skb: *mut __sk_buff,
}

impl Hook for Asker {
    const KERNEL_CHECKS_LENGTH: bool = false;
    /// The neighbour is the business of the redirect. Before Linux 6.3 there is no such flag: then the kernel forwards.
    const FLAGS: u32 = BPF_FIB_LOOKUP_SKIP_NEIGH;

    #[inline(always)]
    fn context(&self) -> (*mut c_void, u32) {
        // SAFETY: see `tc_underlay`.
        (self.skb.cast(), unsafe { (*self.skb).ifindex })
    }

    /// `bpf_redirect_neigh` writes the addresses itself, and resolves them.
    #[inline(always)]
    fn to_neighbour(interface: IfIndex, _: Link) -> Route {
        Route::Redirect { interface, link: None }
    }
}

/// A socket buffer, from its Ethernet header on. Its type differs by program, so that each function has one caller and is
/// inlined.
struct TcFrame<D> {
    door: PhantomData<D>,
    skb: *mut __sk_buff,
}

impl<D> Frame for TcFrame<D> {
    #[inline(always)]
    fn len(&self) -> usize {
        // SAFETY: see `tc_underlay`.
        unsafe { (*self.skb).len as usize }
    }

    #[inline(always)]
    fn load<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        let mut bytes = MaybeUninit::<Words<N>>::uninit();
        // SAFETY: the helper writes exactly N bytes, or fails; then they are not read.
        unsafe {
            let failed = bpf_skb_load_bytes(self.skb.cast(), at as u32, bytes.as_mut_ptr().cast(), N as u32) != 0;
            if failed { None } else { Some(bytes.assume_init().0) }
        }
    }

    #[inline(always)]
    fn store<const N: usize>(&mut self, at: usize, bytes: [u8; N]) -> Option<()> {
        let bytes = Words(bytes);
        // SAFETY: the helper reads exactly N bytes.
        let failed = unsafe { bpf_skb_store_bytes(self.skb, at as u32, (&raw const bytes).cast(), N as u32, 0) != 0 };
        (!failed).then_some(())
    }

    #[inline(always)]
    fn l4_replace<const N: usize>(&mut self, field: L4Checksum, old: [u8; N], new: [u8; N]) -> Option<()> {
        let mut flags = 0;
        if field.pseudo_header {
            flags |= u64::from(BPF_F_PSEUDO_HDR);
        }
        if field.zero_is_none {
            flags |= u64::from(BPF_F_MARK_MANGLED_0);
        }
        // SAFETY: the helpers check the offset.
        unsafe {
            // Size 0 in the flags: the change itself is given, which serves every N.
            let change = change(old, new)?;
            if bpf_l4_csum_replace(self.skb, field.at as u32, 0, change, flags) != 0 {
                return None;
            }
            if N == 16 && field.pseudo_header {
                // IPv6 has no header checksum that would balance its addresses, so the sum over a received packet
                // (CHECKSUM_COMPLETE) has not changed, but the helper took the change out of it. Fails where there is no
                // such sum.
                bpf_csum_update(self.skb, change as u32);
            }
        }
        Some(())
    }

    #[inline(always)]
    fn segment_len(&self, l3: usize) -> usize {
        // SAFETY: see `tc_underlay`.
        match unsafe { (*self.skb).gso_size } {
            0 => self.len().saturating_sub(l3),
            gso_size => super_segment_len(self, l3, gso_size as u16),
        }
    }

    #[inline(always)]
    fn forget(&self, at: usize) -> usize {
        forget(at, self.len())
    }

    #[inline(always)]
    fn reshape(&mut self, grow: usize, len: usize) -> Option<()> {
        let kept = (len - grow) as u32;
        // SAFETY: both helpers check what they are asked for.
        let refused = unsafe {
            // The kernel keeps a partial checksum of TCP, 18 bytes into its header, where an error quotes 8. Then what is
            // too much stays behind the packet as padding, where filling the checksum in does no harm.
            let too_short = bpf_skb_change_tail(self.skb, kept, 0) != 0;
            (too_short && bpf_skb_change_tail(self.skb, kept + PARTIAL_REACH, 0) != 0)
                || bpf_skb_change_head(self.skb, grow as u32, 0) != 0
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
#[inline(always)]
unsafe fn change<const N: usize>(old: [u8; N], new: [u8; N]) -> Option<u64> {
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
