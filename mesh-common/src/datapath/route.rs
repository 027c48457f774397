//! What a kernel hook asks the routing table, and the answers it acts on.

use crate::ids::IfIndex;

/// The packet that a route is asked for, by its addresses as they leave. As `struct bpf_fib_lookup` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// One of [`family`].
    pub family: u8,
    /// The protocol of the first header behind the IP header.
    pub protocol: u8,
    /// IPv4: the type of service in the first byte. IPv6: the traffic class in its place of the header's first word.
    pub class: u32,
    /// Words in network order; an IPv4 address is the first.
    pub src: [u32; 4],
    pub dst: [u32; 4],
    /// Bytes of the longest packet on the wire, from the IP header on.
    pub len: usize,
}

/// Address families as the kernel numbers them.
pub mod family {
    pub const IPV4: u8 = 2;
    pub const IPV6: u8 = 10;
}

/// Where a packet goes from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Delivered on this node, or this node does not forward.
    Local,
    /// Straight to an interface that takes redirected packets.
    Redirect {
        interface: IfIndex,
        /// The Ethernet addresses to write; `None` where the hook resolves the neighbour itself.
        link: Option<Link>,
    },
    /// Forwarded, by the kernel: the neighbour is not known yet, the interface takes no redirect, or the answer is one
    /// that only the kernel can act on.
    NeedsKernel,
    /// The way out takes packets of `mtu` bytes from the IP header on, which are fewer than the flow's `len`.
    TooBig {
        mtu: u16,
    },
    Unreachable,
    Prohibited,
}

/// Ethernet addresses of a next hop and of the interface towards it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    pub dst: [u8; 6],
    pub src: [u8; 6],
}

/// How a rewritten packet leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Onward {
    /// Straight to its interface where the route allows that.
    Redirect,
    /// Up to the kernel, which routes it.
    PassUp,
}

/// The kernel's routing table. `bpf_fib_lookup` and the tests' memory both provide it.
pub trait Fib {
    fn route(&self, flow: &Flow) -> Route;

    /// How rewritten packets leave at this hook.
    fn onward(&self) -> Onward;
}

/// What `bpf_fib_lookup` says (`BPF_FIB_LKUP_RET_*` of `linux/bpf.h`).
mod code {
    pub(super) const SUCCESS: u32 = 0;
    pub(super) const BLACKHOLE: u32 = 1;
    pub(super) const UNREACHABLE: u32 = 2;
    pub(super) const PROHIBIT: u32 = 3;
    pub(super) const NOT_FORWARDED: u32 = 4;
    pub(super) const FORWARDING_DISABLED: u32 = 5;
    pub(super) const NO_NEIGHBOUR: u32 = 7;
    pub(super) const FRAGMENTATION_NEEDED: u32 = 8;
}

impl Route {
    /// The answer of `bpf_fib_lookup` for a packet of `len` bytes; `found` is where a known way leads. `mtu` is what the
    /// kernel left of the way out (Linux 5.14), with success and with a length that is too much.
    #[inline(always)]
    pub fn from_lookup(code: u32, mtu: u16, len: usize, found: Route) -> Route {
        let fits = len <= usize::from(mtu);
        match code {
            code::SUCCESS if fits => found,
            // The kernel forwards it, and resolves the neighbour.
            code::NO_NEIGHBOUR if fits => Route::NeedsKernel,
            code::SUCCESS | code::NO_NEIGHBOUR | code::FRAGMENTATION_NEEDED => Route::TooBig { mtu },
            code::BLACKHOLE | code::UNREACHABLE => Route::Unreachable,
            code::PROHIBIT => Route::Prohibited,
            code::NOT_FORWARDED | code::FORWARDING_DISABLED => Route::Local,
            // Lightweight tunnels, a missing source address, errors.
            _ => Route::NeedsKernel,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_of_the_kernel_means_something() {
        let found = Route::Redirect { interface: IfIndex(4), link: None };
        let route = |code, len| Route::from_lookup(code, 1_300, len, found);
        assert_eq!((route(0, 1_300), route(0, 1_301)), (found, Route::TooBig { mtu: 1_300 }));
        assert_eq!((route(1, 100), route(2, 100)), (Route::Unreachable, Route::Unreachable));
        assert_eq!(route(3, 100), Route::Prohibited);
        assert_eq!((route(4, 9_000), route(5, 9_000)), (Route::Local, Route::Local));
        assert_eq!((route(7, 100), route(7, 1_400)), (Route::NeedsKernel, Route::TooBig { mtu: 1_300 }));
        assert_eq!((route(8, 1_400), route(6, 100)), (Route::TooBig { mtu: 1_300 }, Route::NeedsKernel));
        assert_eq!(route((-22_i32).cast_unsigned(), 100), Route::NeedsKernel);
    }
}
