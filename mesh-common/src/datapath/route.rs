//! What a kernel hook asks the routing table, and the answers it acts on.

use crate::ids::IfIndex;

/// The packet that a route is asked for, by its addresses as they leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Flow<const N: usize> {
    pub src: [u8; N],
    pub dst: [u8; N],
    /// Type of service, or traffic class.
    pub tos: u8,
    /// The protocol of the first header behind the IP header.
    pub protocol: u8,
    /// Bytes of the longest packet on the wire, from the IP header on.
    pub len: usize,
}

impl Flow<16> {
    /// As the kernel's structures have an IPv6 address: words in network order.
    #[inline(always)]
    pub fn src_words(&self) -> [u32; 4] {
        words(self.src)
    }

    #[inline(always)]
    pub fn dst_words(&self) -> [u32; 4] {
        words(self.dst)
    }
}

#[inline(always)]
const fn words(address: [u8; 16]) -> [u32; 4] {
    let bits = u128::from_ne_bytes(address);
    [bits as u32, (bits >> 32) as u32, (bits >> 64) as u32, (bits >> 96) as u32]
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
    fn route_v4(&self, flow: &Flow<4>) -> Route;

    fn route_v6(&self, flow: &Flow<16>) -> Route;

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
    fn words_keep_the_order_of_bytes() {
        let src = std::array::from_fn(|i| i as u8);
        let flow = Flow { src, dst: [0; 16], tos: 0, protocol: 6, len: 100 };
        assert_eq!(flow.src_words().map(u32::to_ne_bytes).concat(), src);
        assert_eq!(flow.dst_words(), [0; 4]);
    }

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
