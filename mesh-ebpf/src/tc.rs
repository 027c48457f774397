//! The tc classifiers: [`Frame`] over a socket buffer, and the actions of the stack. A buffer may be in pieces, its checksum
//! complete, partial or known by sum; the helpers know, so all access is through them.

use core::ptr::null_mut;

use aya_ebpf::{bindings::*, helpers::*, macros::classifier, programs::TcContext};
use aya_log_ebpf::debug;
use mesh_common::{
    checksum::difference,
    datapath::{forward::*, hook::*, route::Fib},
    frame::{Frame, L4Checksum, super_segment_len},
    ids::IfIndex,
    spread::Peek,
};

use crate::{bytes, fib::KernelRoutes, maps::Maps, sockets::*};

#[classifier]
pub(crate) fn tc_workload(ctx: TcContext) -> i32 {
    run(TcFrame::<0>(ctx.skb.skb), |_| Workload, &Maps, Maps)
}

#[classifier]
pub(crate) fn tc_underlay(ctx: TcContext) -> i32 {
    run(TcFrame::<1>(ctx.skb.skb), Underlay, &Maps, Maps)
}

/// A socket buffer, from its Ethernet header on. Its type differs by program, so that each function has one caller and is
/// inlined.
struct TcFrame<const DOOR: u8>(*mut __sk_buff);

impl<const DOOR: u8> Hook for TcFrame<DOOR> {
    /// Leaves the packet to the programs behind ours.
    const PASS: i32 = TC_ACT_UNSPEC;
    const DROP: i32 = TC_ACT_SHOT;

    fn interface(&self) -> IfIndex {
        // SAFETY: the context is valid as long as the program runs; so in all of this file.
        IfIndex(unsafe { (*self.0).ifindex })
    }

    fn is_sent_here(&self) -> bool {
        // SAFETY: see `interface`. 0 is `PACKET_HOST`.
        unsafe { (*self.0).pkt_type == 0 }
    }

    fn has_tag_aside(&self) -> bool {
        // SAFETY: see `interface`.
        unsafe { (*self.0).vlan_present != 0 }
    }

    fn routes(&self) -> impl Fib + use<DOOR> {
        KernelRoutes::<true>(self.0.cast())
    }

    fn redirect(&self, to: IfIndex) -> i32 {
        // SAFETY: no parameters: the kernel finds the next hop by the packet's own destination.
        unsafe { bpf_redirect_neigh(to.0, null_mut(), 0, 0) as i32 }
    }

    fn reply(&self) -> i32 {
        // SAFETY: the helper has no preconditions.
        unsafe { bpf_redirect(self.interface().0, 0) as i32 }
    }

    fn note_drop(&self, reason: u8) {
        debug!(&TcContext::new(self.0), "interface {}: dropped, reason {}", self.interface().0, reason);
    }
}

impl<const DOOR: u8> Frame for TcFrame<DOOR> {
    fn len(&self) -> usize {
        TcContext::new(self.0).len() as usize
    }

    fn load<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        Packet(self.0.cast()).peek(at)
    }

    fn store<const N: usize>(&mut self, at: usize, bytes: [u8; N]) -> Option<()> {
        let bytes: Words<N> = ([], bytes);
        // SAFETY: the helper reads exactly N bytes.
        let failed = unsafe { bpf_skb_store_bytes(self.0, at as u32, bytes.1.as_ptr().cast(), N as u32, 0) != 0 };
        (!failed).then_some(())
    }

    fn l4_replace<const N: usize>(&mut self, field: L4Checksum, old: [u8; N], new: [u8; N]) -> Option<()> {
        let pseudo_header = if field.pseudo_header { BPF_F_PSEUDO_HDR } else { 0 };
        let flags = pseudo_header | if field.zero_is_none { BPF_F_MARK_MANGLED_0 } else { 0 };
        let change = difference(old, new);
        // SAFETY: the helper checks the offset. Size 0 in the flags: the change itself is given, which serves every N.
        let failed = unsafe { bpf_l4_csum_replace(self.0, field.at as u32, 0, change.into(), flags.into()) != 0 };
        if !failed && N == 16 && field.pseudo_header {
            // SAFETY: no preconditions. IPv6 has no header checksum to balance its addresses, so the sum over a received
            // packet (CHECKSUM_COMPLETE) has not changed, but the helper took the change out of it. Fails without such a sum.
            unsafe { bpf_csum_update(self.0, change) };
        }
        (!failed).then_some(())
    }

    fn segment_len(&self, l3: usize) -> usize {
        // SAFETY: see `interface`.
        match unsafe { (*self.0).gso_size } {
            0 => self.len().saturating_sub(l3),
            gso_size => super_segment_len(self, l3, gso_size as u16),
        }
    }

    fn forget(&self, at: usize) -> usize {
        bytes::forget(at, self.len())
    }

    fn reshape(&mut self, grow: usize, len: usize) -> Option<()> {
        let (kept, grow) = ((len - grow) as u32, grow as u32);
        // SAFETY: both helpers check what they are asked for.
        let refused = unsafe { bpf_skb_change_tail(self.0, kept, 0) != 0 || bpf_skb_change_head(self.0, grow, 0) != 0 };
        (!refused).then_some(())
    }
}
