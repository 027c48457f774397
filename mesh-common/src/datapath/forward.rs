//! The whole way of a packet through a kernel hook, XDP or tc: one function, read it top-down.
//!
//! Everything is decided before the first byte changes, so that an ICMP error can quote the packet as it came.

use super::{
    DropReason, Ingress, Tables,
    address::{Address, IpHeader},
    apart, guard,
    icmp_error::{self, Problem},
    remap::{Job, Rewrite, Ruling},
    route::{Fib, Flow, Link, Onward, Route},
};
use crate::{
    frame::Frame,
    ids::{IfIndex, RemapId},
    wire::{self, ethernet, protocol},
};

/// A packet of no more bytes fits through every link (RFC 8200 section 5). `direct` over IPv4 links with a smaller MTU is
/// not supported.
const ALWAYS_FITS: usize = 1_280;

/// A door that knows itself: a program with one door holds the rules of no other.
pub trait Door: Copy {
    fn ingress(self) -> Ingress;
}

impl Door for Ingress {
    #[inline(always)]
    fn ingress(self) -> Ingress {
        self
    }
}

/// [`Ingress::Workload`].
#[derive(Clone, Copy, Debug)]
pub struct Workload;

/// [`Ingress::Underlay`].
#[derive(Clone, Copy, Debug)]
pub struct Underlay(pub IfIndex);

impl Door for Workload {
    #[inline(always)]
    fn ingress(self) -> Ingress {
        Ingress::Workload
    }
}

impl Door for Underlay {
    #[inline(always)]
    fn ingress(self) -> Ingress {
        Ingress::Underlay(self.0)
    }
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

/// A [`KernelVerdict`] in one register, every bit of it defined: what a function of a BPF program can give back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packed(u64);

/// Which [`KernelVerdict`] it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Pass,
    PassRewritten,
    Redirect,
    Reply,
    Drop,
}

impl KernelVerdict {
    #[inline(always)]
    pub const fn pack(self) -> Packed {
        Packed(match self {
            KernelVerdict::Pass => 0,
            KernelVerdict::PassRewritten { remap } => 1 | (remap.0 as u64) << 16,
            KernelVerdict::Redirect { remap, interface } => 2 | (remap.0 as u64) << 16 | (interface.0 as u64) << 32,
            KernelVerdict::Reply(reason) => 3 | (reason as u64) << 8,
            KernelVerdict::Drop(reason) => return Packed::drop(reason as u8),
        })
    }
}

impl Packed {
    #[inline(always)]
    const fn drop(reason: u8) -> Packed {
        Packed(4 | (reason as u64) << 8)
    }

    #[inline(always)]
    pub const fn kind(self) -> Kind {
        match self.0 & 0xff {
            0 => Kind::Pass,
            1 => Kind::PassRewritten,
            2 => Kind::Redirect,
            3 => Kind::Reply,
            _ => Kind::Drop,
        }
    }

    /// Of a rewritten packet.
    #[inline(always)]
    pub const fn remap(self) -> RemapId {
        RemapId((self.0 >> 16) as u16)
    }

    /// Of a redirect.
    #[inline(always)]
    pub const fn interface(self) -> IfIndex {
        IfIndex((self.0 >> 32) as u32)
    }

    /// The index of the drop counter, of a reply or a drop.
    #[inline(always)]
    pub const fn reason(self) -> u8 {
        (self.0 >> 8) as u8
    }

    pub fn unpack(self) -> KernelVerdict {
        let (remap, interface) = (self.remap(), self.interface());
        let reason = || DropReason::ALL[usize::from(self.reason())];
        match self.kind() {
            Kind::Pass => KernelVerdict::Pass,
            Kind::PassRewritten => KernelVerdict::PassRewritten { remap },
            Kind::Redirect => KernelVerdict::Redirect { remap, interface },
            Kind::Reply => KernelVerdict::Reply(reason()),
            Kind::Drop => KernelVerdict::Drop(reason()),
        }
    }
}

/// Judges the frame with its IP header at `l3` (0: without an Ethernet header) and rewrites it where it is ours.
#[inline(always)]
pub fn ingress<F: Frame, T: Tables, R: Fib>(
    frame: &mut F,
    l3: usize,
    door: Ingress,
    tables: &T,
    fib: &R,
) -> KernelVerdict {
    match version(frame, l3) {
        Some(4) => packet::<4, F, _, T, R>(frame, l3, door, tables, fib).unpack(),
        Some(6) => packet::<16, F, _, T, R>(frame, l3, door, tables, fib).unpack(),
        // Other protocols, and tagged frames: VLANs are served on their own devices.
        Some(_) | None => KernelVerdict::Pass,
    }
}

/// The version of the packet, if the link header agrees with its first byte.
#[inline(always)]
pub fn version<F: Frame>(frame: &F, l3: usize) -> Option<u8> {
    let version = frame.load::<1>(l3).map(|[first]| wire::version(first))?;
    if l3 == 0 {
        return Some(version);
    }
    match (frame.load(ethernet::ETHERTYPE_AT)?, version) {
        (ethernet::IPV4, 4) | (ethernet::IPV6, 6) => Some(version),
        _ => None,
    }
}

/// The same for a packet of the version that [`version`] told: 4 for `N` = 4, 6 for `N` = 16. A BPF function has 512 bytes
/// of stack, so the hooks make a function of each.
#[inline(always)]
pub fn packet<const N: usize, F: Frame, D: Door, T: Tables, R: Fib>(
    frame: &mut F,
    l3: usize,
    door: D,
    tables: &T,
    fib: &R,
) -> Packed
where
    [u8; N]: Address<N>,
{
    let Some(mut job) = Job::<N, _, _, _>::new(frame, l3, door, tables) else { return KernelVerdict::Pass.pack() };
    let is_guarded = matches!(door.ingress(), Ingress::Underlay(_)) && job.header.protocol() == protocol::UDP;
    if is_guarded && apart(|| is_garbage_for_us(&job, fib)) {
        return KernelVerdict::Drop(DropReason::NotWireguard).pack();
    }
    match job.decide() {
        Ruling::REWRITE => {}
        Ruling::PASS => return KernelVerdict::Pass.pack(),
        ruling => return Packed::drop(ruling.reason_index()),
    }
    let remap = job.rewrite.remap;
    let way = if needs_no_route(&job, fib) { Way::PassUp.pack() } else { apart(|| choose(&mut job, fib).pack()) };
    let verdict = match Way::unpack(way) {
        Way::Tell(problem) => {
            let told = job.rewrite.may_be_reported() && apart(|| reply(&mut job, problem)).is_some();
            let reason = problem.reason();
            return if told { KernelVerdict::Reply(reason).pack() } else { KernelVerdict::Drop(reason).pack() };
        }
        Way::Redirect(interface) => KernelVerdict::Redirect { remap, interface }.pack(),
        Way::PassUp => KernelVerdict::PassRewritten { remap }.pack(),
    };
    let tells = job.tells_segments();
    match job.apply() {
        Some(()) if !tells || apart(|| fit_segments(&mut job)).is_some() => verdict,
        Some(()) | None => KernelVerdict::Drop(DropReason::Truncated).pack(),
    }
}

#[inline(always)]
fn is_garbage_for_us<const N: usize, F: Frame, D, T: Tables, R: Fib>(job: &Job<'_, N, F, D, T>, fib: &R) -> bool
where
    [u8; N]: Address<N>,
{
    if !guard::is_garbage(job.frame, job.l3, &job.header, job.tables) {
        return false;
    }
    // Others' datagrams that this node forwards may go to the same port elsewhere.
    let flow = flow(job.frame, job.l3, &job.header, job.header.src(), job.header.dst());
    fib.route(&flow) == Route::Local
}

/// What is passed up and can meet neither of the two problems that the kernel would report with the wrong addresses.
#[inline(always)]
fn needs_no_route<const N: usize, F: Frame, D, T, R: Fib>(job: &Job<'_, N, F, D, T>, fib: &R) -> bool
where
    [u8; N]: Address<N>,
{
    fib.onward() == Onward::PassUp && job.frame.len() <= job.l3 + ALWAYS_FITS && job.header.ttl() > 1
}

/// Finds the way on. For a redirect the packet becomes one hop older and gets its new Ethernet addresses.
#[inline(always)]
fn choose<const N: usize, F: Frame, D, T, R: Fib>(job: &mut Job<'_, N, F, D, T>, fib: &R) -> Way
where
    [u8; N]: Address<N>,
{
    let route = route(job.frame, job.l3, &job.header, &job.rewrite, fib);
    if let Some(problem) = problem::<N>(&job.header, route) {
        return Way::Tell(problem);
    }
    let (Route::Redirect { interface, link }, Onward::Redirect) = (route, fib.onward()) else { return Way::PassUp };
    let aged = <[u8; N]>::age(job.frame, job.l3, &job.header);
    let linked = link.map_or(Some(()), |link| relink(job.frame, job.l3, link));
    if aged.and(linked).is_some() { Way::Redirect(interface) } else { Way::PassUp }
}

#[inline(always)]
fn fit_segments<const N: usize, F: Frame, D: Door, T: Tables>(job: &mut Job<'_, N, F, D, T>) -> Option<()>
where
    [u8; N]: Address<N>,
{
    if job.opens_tcp() { job.fit_segments() } else { Some(()) }
}

#[inline(always)]
fn reply<const N: usize, F: Frame, D: Door, T: Tables>(job: &mut Job<'_, N, F, D, T>, problem: Problem) -> Option<()>
where
    [u8; N]: Address<N>,
{
    let presented = matches!(job.door.ingress(), Ingress::Underlay(_));
    icmp_error::replace_by_error(job.frame, job.l3, &job.header, problem, presented, job.tables)
}

/// How the packet goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    PassUp,
    Redirect(IfIndex),
    Tell(Problem),
}

impl Way {
    /// One number: what a BPF function gives back in a register, and no byte of it undefined.
    #[inline(always)]
    fn pack(self) -> u64 {
        match self {
            Way::PassUp => 0,
            Way::Redirect(interface) => 1 << 32 | u64::from(interface.0),
            Way::Tell(problem) => 2 << 32 | u64::from(problem.to_number()),
        }
    }

    #[inline(always)]
    fn unpack(packed: u64) -> Way {
        match packed >> 32 {
            0 => Way::PassUp,
            1 => Way::Redirect(IfIndex(packed as u32)),
            _ => Way::Tell(Problem::from_number(packed as u32)),
        }
    }
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
) -> Route
where
    [u8; N]: Address<N>,
{
    let flow = flow(frame, l3, header, rewrite.src, rewrite.dst);
    match fib.onward() {
        Onward::PassUp if flow.len <= ALWAYS_FITS && header.ttl() > 1 => Route::NeedsKernel,
        Onward::PassUp | Onward::Redirect => fib.route(&flow),
    }
}

#[inline(always)]
fn flow<const N: usize, F: Frame>(
    frame: &F,
    l3: usize,
    header: &<[u8; N] as Address<N>>::Header,
    src: [u8; N],
    dst: [u8; N],
) -> Flow
where
    [u8; N]: Address<N>,
{
    Flow {
        family: <[u8; N]>::FAMILY,
        protocol: header.protocol(),
        class: <[u8; N]>::class(header.tos()),
        src: src.words(),
        dst: dst.words(),
        len: frame.segment_len(l3),
    }
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
