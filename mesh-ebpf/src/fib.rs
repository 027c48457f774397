//! [`Fib`] by `bpf_fib_lookup`: the kernel's routes and neighbours, asked with the addresses that the packet leaves with.

use core::{ffi::c_void, marker::PhantomData};

use aya_ebpf::{bindings::*, helpers};
use mesh_common::{
    datapath::route::{Fib, Flow, Link, Onward, Route},
    ids::IfIndex,
};

use crate::tables::onward;

/// Address families as the kernel numbers them.
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// Who asks, and so what the answer may be.
pub(crate) trait Asker: Sized {
    /// The kernel compares the length with the MTU; for a super-packet it would be the wrong one, so tc compares itself.
    const KERNEL_CHECKS_LENGTH: bool;
    const FLAGS: u32;

    /// The interface by which the packet came.
    fn ingress(context: *mut c_void) -> u32;

    fn to(interface: IfIndex, link: Link) -> Route;
}

/// The routing table for programs with this context.
pub(crate) struct KernelRoutes<A>(pub(crate) *mut c_void, pub(crate) PhantomData<A>);

impl<A: Asker> Fib for KernelRoutes<A> {
    fn route_v4(&self, flow: &Flow<4>) -> Route {
        let mut ask = question(AF_INET, flow);
        ask.__bindgen_anon_2.tos = flow.tos;
        ask.__bindgen_anon_3.ipv4_src = u32::from_ne_bytes(flow.src);
        ask.__bindgen_anon_4.ipv4_dst = u32::from_ne_bytes(flow.dst);
        answer::<A>(self.0, &mut ask, flow.len)
    }

    fn route_v6(&self, flow: &Flow<16>) -> Route {
        let mut ask = question(AF_INET6, flow);
        ask.__bindgen_anon_2.flowinfo = (u32::from(flow.tos) << 20).to_be();
        ask.__bindgen_anon_3.ipv6_src = words(flow.src);
        ask.__bindgen_anon_4.ipv6_dst = words(flow.dst);
        answer::<A>(self.0, &mut ask, flow.len)
    }

    fn onward(&self) -> Onward {
        onward()
    }
}

fn question<const N: usize>(family: u8, flow: &Flow<N>) -> bpf_fib_lookup {
    // SAFETY: plain integers and unions of such: all zero is a value of it.
    let mut ask: bpf_fib_lookup = unsafe { core::mem::zeroed() };
    (ask.family, ask.l4_protocol) = (family, flow.protocol);
    ask
}

fn answer<A: Asker>(context: *mut c_void, ask: &mut bpf_fib_lookup, len: usize) -> Route {
    ask.ifindex = A::ingress(context);
    ask.__bindgen_anon_1.tot_len = if A::KERNEL_CHECKS_LENGTH { len as u16 } else { 0 };
    // SAFETY: the context is the program's own, the size that of the structure.
    let code = unsafe { helpers::bpf_fib_lookup(context, ask, size_of::<bpf_fib_lookup>() as i32, A::FLAGS) };
    // SAFETY: the kernel (5.14) leaves the MTU of the way out here, on success or when the packet does not fit.
    let mtu = unsafe { ask.__bindgen_anon_1.mtu_result };
    let fits = A::KERNEL_CHECKS_LENGTH || len <= usize::from(mtu);
    match code as u32 {
        BPF_FIB_LKUP_RET_SUCCESS if fits => A::to(IfIndex(ask.ifindex), Link { dst: ask.dmac, src: ask.smac }),
        // The kernel forwards it, and resolves the neighbour.
        BPF_FIB_LKUP_RET_NO_NEIGH if fits => Route::NeedsKernel,
        BPF_FIB_LKUP_RET_SUCCESS | BPF_FIB_LKUP_RET_NO_NEIGH | BPF_FIB_LKUP_RET_FRAG_NEEDED => Route::TooBig { mtu },
        BPF_FIB_LKUP_RET_BLACKHOLE | BPF_FIB_LKUP_RET_UNREACHABLE => Route::Unreachable,
        BPF_FIB_LKUP_RET_PROHIBIT => Route::Prohibited,
        BPF_FIB_LKUP_RET_NOT_FWDED | BPF_FIB_LKUP_RET_FWD_DISABLED => Route::Local,
        // Lightweight tunnels, a missing source address, errors.
        _ => Route::NeedsKernel,
    }
}

fn words(address: [u8; 16]) -> [u32; 4] {
    let bits = u128::from_ne_bytes(address);
    [bits as u32, (bits >> 32) as u32, (bits >> 64) as u32, (bits >> 96) as u32]
}
