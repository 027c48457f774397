//! The whole way of a packet through a kernel hook, XDP or tc: one function, read it top-down.
//!
//! Everything is decided before the first byte changes, so that an ICMP error can quote the packet as it came.

use super::{
    DropReason, Ingress, Tables,
    address::{Address, IpHeader},
    guard,
    icmp_error::{self, Problem},
    remap::{self, Decision, Rewrite},
    route::{Fib, Flow, Link, Route},
};
use crate::{
    frame::Frame,
    ids::{IfIndex, RemapId},
    wire::{self, ethernet},
};

/// A packet of no more bytes fits through every link (RFC 8200 section 5). `direct` over IPv4 links with a smaller MTU is
/// not supported.
const ALWAYS_FITS: usize = 1_280;

/// How a rewritten packet leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Onward {
    /// Straight to its interface where the route allows that.
    Redirect,
    /// Up to the kernel, which routes it.
    PassUp,
}

/// What a hook does with the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelVerdict {
    /// Not ours, or ours and routed as it is: untouched.
    Pass,
    /// Rewritten; the kernel takes it on, with its TTL as it came.
    PassRewritten {
        remap: RemapId,
    },
    /// Rewritten, one hop older, and with its new Ethernet addresses if there were any to write.
    Redirect {
        remap: RemapId,
        interface: IfIndex,
    },
    /// The frame is now an ICMP error for its sender: send it back out of the interface by which it came.
    Reply(DropReason),
    Drop(DropReason),
}

/// Judges the frame with its IP header at `l3` (0: without an Ethernet header) and rewrites it where it is ours.
#[inline(always)]
pub fn ingress<F: Frame, T: Tables, R: Fib>(
    frame: &mut F,
    l3: usize,
    door: Ingress,
    tables: &T,
    fib: &R,
    onward: Onward,
) -> KernelVerdict {
    match version(frame, l3) {
        Some(4) => packet::<4, F, T, R>(frame, l3, door, tables, fib, onward),
        Some(6) => packet::<16, F, T, R>(frame, l3, door, tables, fib, onward),
        // Other protocols, and tagged frames: VLANs are served on their own devices.
        Some(_) | None => KernelVerdict::Pass,
    }
}

/// The version of the packet, if the link header agrees with its first byte.
#[inline(always)]
fn version<F: Frame>(frame: &F, l3: usize) -> Option<u8> {
    let version = frame.load::<1>(l3).map(|[first]| wire::version(first))?;
    if l3 == 0 {
        return Some(version);
    }
    match (frame.load(ethernet::ETHERTYPE_AT)?, version) {
        (ethernet::IPV4, 4) | (ethernet::IPV6, 6) => Some(version),
        _ => None,
    }
}

#[inline(always)]
fn packet<const N: usize, F: Frame, T: Tables, R: Fib>(
    frame: &mut F,
    l3: usize,
    door: Ingress,
    tables: &T,
    fib: &R,
    onward: Onward,
) -> KernelVerdict
where
    [u8; N]: Address<N>,
{
    let Some(header) = <[u8; N] as Address<N>>::Header::load(frame, l3) else { return KernelVerdict::Pass };
    if matches!(door, Ingress::Underlay(_)) && guard::is_garbage(frame, l3, &header, tables) {
        let flow = flow(frame, l3, &header, header.src(), header.dst());
        // Others' datagrams that this node forwards may go to the same port elsewhere.
        if <[u8; N]>::route(fib, &flow) == Route::Local {
            return KernelVerdict::Drop(DropReason::NotWireguard);
        }
    }
    let rewrite = match remap::decide(frame, l3, &header, door, tables) {
        Decision::Pass => return KernelVerdict::Pass,
        Decision::Drop(reason) => return KernelVerdict::Drop(reason),
        Decision::Rewrite(rewrite) => rewrite,
    };
    let route = route(frame, l3, &header, &rewrite, fib, onward);
    if let Some(problem) = problem::<N>(&header, route) {
        let presented = matches!(door, Ingress::Underlay(_));
        let told = rewrite.may_be_reported()
            && icmp_error::replace_by_error(frame, l3, &header, problem, presented, tables).is_some();
        return if told { KernelVerdict::Reply(problem.reason()) } else { KernelVerdict::Drop(problem.reason()) };
    }
    leave(frame, l3, &header, &rewrite, route, onward).unwrap_or(KernelVerdict::Drop(DropReason::Truncated))
}

/// Asks for the route of the packet as it will leave. What is passed up and can meet neither of the two problems that the
/// kernel would report with the wrong addresses needs no answer.
#[inline(always)]
fn route<const N: usize, F: Frame, R: Fib>(
    frame: &F,
    l3: usize,
    header: &<[u8; N] as Address<N>>::Header,
    rewrite: &Rewrite<N>,
    fib: &R,
    onward: Onward,
) -> Route
where
    [u8; N]: Address<N>,
{
    let flow = flow(frame, l3, header, rewrite.src.new, rewrite.dst.new);
    match onward {
        Onward::PassUp if flow.len <= ALWAYS_FITS && header.ttl() > 1 => Route::NeedsKernel,
        Onward::PassUp | Onward::Redirect => <[u8; N]>::route(fib, &flow),
    }
}

#[inline(always)]
fn flow<const N: usize, F: Frame>(
    frame: &F,
    l3: usize,
    header: &<[u8; N] as Address<N>>::Header,
    src: [u8; N],
    dst: [u8; N],
) -> Flow<N>
where
    [u8; N]: Address<N>,
{
    Flow { src, dst, tos: header.tos(), protocol: header.protocol(), len: frame.segment_len(l3) }
}

/// What the sender has to be told instead.
#[inline(always)]
fn problem<const N: usize>(header: &<[u8; N] as Address<N>>::Header, route: Route) -> Option<Problem>
where
    [u8; N]: Address<N>,
{
    let expired = header.ttl() <= 1;
    match route {
        Route::Local => None,
        Route::Unreachable => Some(Problem::Unreachable),
        Route::Prohibited => Some(Problem::Prohibited),
        Route::Redirect { .. } | Route::NeedsKernel | Route::TooBig { .. } if expired => Some(Problem::TtlExpired),
        // The kernel fragments it after the rewrite.
        Route::TooBig { mtu } if !header.may_be_fragmented() => Some(Problem::TooBig { mtu }),
        Route::Redirect { .. } | Route::NeedsKernel | Route::TooBig { .. } => None,
    }
}

#[inline(always)]
fn leave<const N: usize, F: Frame>(
    frame: &mut F,
    l3: usize,
    header: &<[u8; N] as Address<N>>::Header,
    rewrite: &Rewrite<N>,
    route: Route,
    onward: Onward,
) -> Option<KernelVerdict>
where
    [u8; N]: Address<N>,
{
    remap::apply(frame, l3, rewrite)?;
    let remap = rewrite.remap;
    match (route, onward) {
        (Route::Redirect { interface, link }, Onward::Redirect) => {
            <[u8; N]>::age(frame, l3, header)?;
            if let Some(link) = link {
                relink(frame, l3, link)?;
            }
            Some(KernelVerdict::Redirect { remap, interface })
        }
        _ => Some(KernelVerdict::PassRewritten { remap }),
    }
}

/// Writes the addresses of the next link, if the frame has any.
#[inline(always)]
fn relink<F: Frame>(frame: &mut F, l3: usize, link: Link) -> Option<()> {
    if l3 != ethernet::LEN {
        return Some(());
    }
    frame.store(0, link.dst)?;
    frame.store(6, link.src)
}

#[cfg(test)]
mod generated;
#[cfg(test)]
mod tests;
