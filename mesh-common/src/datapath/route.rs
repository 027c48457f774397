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
