//! [`Fib`] by `bpf_fib_lookup`: the kernel's routes and neighbours, asked with the addresses that the packet leaves with.

use core::{ffi::c_void, mem::zeroed};

use aya_ebpf::{bindings::*, helpers};
use mesh_common::{
    datapath::route::{Fib, Flow, Link, Onward, Route, family::*},
    ids::IfIndex,
};

use crate::maps::{REDIRECT, REDIRECTS};

/// The routing table for programs with this context, of tc or of XDP.
pub(crate) struct KernelRoutes<const TC: bool>(pub(crate) *mut c_void);

impl<const TC: bool> Fib for KernelRoutes<TC> {
    fn route_v4(&self, flow: &Flow<4>) -> Route {
        // SAFETY: plain integers and unions of such: all zero is a value of it.
        let mut ask: bpf_fib_lookup = unsafe { zeroed() };
        (ask.family, ask.l4_protocol, ask.__bindgen_anon_2.tos) = (IPV4, flow.protocol, flow.tos);
        ask.__bindgen_anon_3.ipv4_src = u32::from_ne_bytes(flow.src);
        ask.__bindgen_anon_4.ipv4_dst = u32::from_ne_bytes(flow.dst);
        answer::<TC>(self.0, &mut ask, flow.len)
    }

    fn route_v6(&self, flow: &Flow<16>) -> Route {
        // SAFETY: see `route_v4`.
        let mut ask: bpf_fib_lookup = unsafe { zeroed() };
        (ask.family, ask.l4_protocol) = (IPV6, flow.protocol);
        ask.__bindgen_anon_2.flowinfo = (u32::from(flow.tos) << 20).to_be();
        ask.__bindgen_anon_3.ipv6_src = flow.src_words();
        ask.__bindgen_anon_4.ipv6_dst = flow.dst_words();
        answer::<TC>(self.0, &mut ask, flow.len)
    }

    fn onward(&self) -> Onward {
        if REDIRECT.load() != 0 { Onward::Redirect } else { Onward::PassUp }
    }
}

fn answer<const TC: bool>(context: *mut c_void, ask: &mut bpf_fib_lookup, len: usize) -> Route {
    // SAFETY: the context is the program's own.
    ask.ifindex = unsafe {
        if TC { (*context.cast::<__sk_buff>()).ifindex } else { (*context.cast::<xdp_md>()).ingress_ifindex }
    };
    // Of a super-packet the kernel would compare the wrong length with the MTU: asked without one, it tells the MTU. The
    // neighbour is the business of tc's redirect (before Linux 6.3 there is no such flag: then the kernel forwards).
    let (tot_len, flags) = if TC { (0, BPF_FIB_LOOKUP_SKIP_NEIGH) } else { (len as u16, 0) };
    ask.__bindgen_anon_1.tot_len = tot_len;
    // SAFETY: the size is that of the structure.
    let code = unsafe { helpers::bpf_fib_lookup(context, ask, size_of::<bpf_fib_lookup>() as i32, flags) };
    // SAFETY: both are numbers.
    let mtu = unsafe { ask.__bindgen_anon_1.mtu_result };
    let (interface, link) = (IfIndex(ask.ifindex), Link { dst: ask.dmac, src: ask.smac });
    let found = match TC {
        // `bpf_redirect_neigh` writes the Ethernet addresses itself.
        true => Route::Redirect { interface, link: None },
        false if REDIRECTS.get_ifindex(interface.0).is_some() => Route::Redirect { interface, link: Some(link) },
        false => Route::NeedsKernel,
    };
    Route::from_lookup(code as u32, mtu, len, found)
}
