//! [`Fib`] by `bpf_fib_lookup`: the kernel's routes and neighbours, asked with the addresses that the packet leaves with.

use core::{ffi::c_void, mem::zeroed};

use aya_ebpf::{bindings::*, helpers::bpf_fib_lookup as look_up};
use mesh_common::{
    datapath::route::{Fib, Flow, Link, Onward, Route},
    ids::IfIndex,
};

use crate::maps::{REDIRECT, REDIRECTS};

/// The routing table for programs with this context, of tc or of XDP.
pub(crate) struct KernelRoutes<const TC: bool>(pub(crate) *mut c_void);

impl<const TC: bool> Fib for KernelRoutes<TC> {
    fn route(&self, flow: &Flow) -> Route {
        // SAFETY: plain integers and unions of such: all zero is a value of it.
        let mut ask: bpf_fib_lookup = unsafe { zeroed() };
        (ask.family, ask.l4_protocol, ask.__bindgen_anon_2.flowinfo) = (flow.family, flow.protocol, flow.class);
        (ask.__bindgen_anon_3.ipv6_src, ask.__bindgen_anon_4.ipv6_dst) = (flow.src, flow.dst);
        // SAFETY: the context is the program's own.
        ask.ifindex = unsafe {
            if TC { (*self.0.cast::<__sk_buff>()).ifindex } else { (*self.0.cast::<xdp_md>()).ingress_ifindex }
        };
        // Of a super-packet the kernel would compare the wrong length with the MTU: asked without one, it tells the MTU. The
        // neighbour is the business of tc's redirect (before Linux 6.3 there is no such flag: then the kernel forwards).
        let (tot_len, flags) = if TC { (0, BPF_FIB_LOOKUP_SKIP_NEIGH) } else { (flow.len as u16, 0) };
        ask.__bindgen_anon_1.tot_len = tot_len;
        let len = size_of::<bpf_fib_lookup>() as i32;
        // SAFETY: the length is that of the structure, and what is in it are numbers.
        let (code, mtu) = unsafe { (look_up(self.0, &mut ask, len, flags), ask.__bindgen_anon_1.mtu_result) };
        let (interface, link) = (IfIndex(ask.ifindex), Link { dst: ask.dmac, src: ask.smac });
        let found = match TC {
            // `bpf_redirect_neigh` writes the Ethernet addresses itself.
            true => Route::Redirect { interface, link: None },
            false if REDIRECTS.get_ifindex(interface.0).is_some() => Route::Redirect { interface, link: Some(link) },
            false => Route::NeedsKernel,
        };
        Route::from_lookup(code as u32, mtu, flow.len, found)
    }

    fn onward(&self) -> Onward {
        if REDIRECT.load() != 0 { Onward::Redirect } else { Onward::PassUp }
    }
}
