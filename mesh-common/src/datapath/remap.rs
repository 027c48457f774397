//! The 1:1 prefix rewrite of one packet: what its addresses become, and the rewrite itself.
//!
//! [`decide`] only looks up and checks; [`apply`] only writes, and only what was decided. So a drop never leaves a packet
//! half-written, and an ICMP error can quote the packet as it came although its new addresses are already known.

use core::ops::Range;

use super::{
    DropReason, Ingress, Tables, Verdict,
    address::{Address, Change, IpHeader},
    doors::{self, Pair, Rule},
    transport::Transport,
};
use crate::{
    checksum,
    frame::{Frame, L4Checksum},
    ids::{ConnectionId, RemapId},
    wire,
};

/// Judges the IP packet at `l3` and rewrites it where it is ours.
#[inline(always)]
pub fn remap<F: Frame, T: Tables>(frame: &mut F, l3: usize, ingress: Ingress, tables: &T) -> Verdict {
    match frame.load::<1>(l3).map(|[first]| wire::version(first)) {
        Some(4) => remap_version::<4, F, T>(frame, l3, ingress, tables),
        Some(6) => remap_version::<16, F, T>(frame, l3, ingress, tables),
        Some(_) => unreadable(ingress, DropReason::UnknownVersion),
        None => unreadable(ingress, DropReason::Truncated),
    }
}

#[inline(always)]
fn remap_version<const N: usize, F: Frame, T: Tables>(frame: &mut F, l3: usize, ingress: Ingress, tables: &T) -> Verdict
where
    [u8; N]: Address<N>,
{
    let Some(header) = <[u8; N] as Address<N>>::Header::load(frame, l3) else {
        return unreadable(ingress, DropReason::Truncated);
    };
    let rewrite = match decide(frame, l3, &header, ingress, tables) {
        Decision::Pass => return Verdict::Pass,
        Decision::Drop(reason) => return Verdict::Drop(reason),
        Decision::Rewrite(rewrite) => rewrite,
    };
    let connection = match ingress {
        Ingress::Tunnel(connection) => Some(connection),
        Ingress::Tun | Ingress::Workload | Ingress::Underlay(_) => {
            tables.remap(rewrite.remap).map(|remap| ConnectionId(remap.connection))
        }
    };
    // A remap without an entry is one that is just being taken away.
    let Some(connection) = connection else { return Verdict::Drop(DropReason::NotOurDestination) };
    match apply(frame, l3, &rewrite) {
        Some(()) => Verdict::Accept { remap: rewrite.remap, connection },
        None => Verdict::Drop(DropReason::Truncated),
    }
}

/// What cannot be read is not ours where others' packets come in, and is dropped where only ours may.
#[inline(always)]
fn unreadable(ingress: Ingress, reason: DropReason) -> Verdict {
    match ingress {
        Ingress::Workload | Ingress::Underlay(_) => Verdict::Pass,
        Ingress::Tun | Ingress::Tunnel(_) => Verdict::Drop(reason),
    }
}

/// What is to be done with a packet, none of it done yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision<const N: usize> {
    /// Not ours, or left to the kernel as it is.
    Pass,
    Rewrite(Rewrite<N>),
    Drop(DropReason),
}

/// Everything that [`apply`] will write. All of it was found to lie in the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewrite<const N: usize> {
    /// The remap of the remote's prefix.
    pub remap: RemapId,
    pub src: Change<N>,
    pub dst: Change<N>,
    body: Body<N>,
}

impl<const N: usize> Rewrite<N> {
    /// Whether an ICMP error may tell the sender of a problem: never of another error, nor of a later fragment
    /// (RFC 1122 section 3.2.2, RFC 4443 section 2.4).
    #[inline(always)]
    pub(super) fn may_be_reported(&self) -> bool {
        match self.body {
            Body::Untouched | Body::Summed(_) => true,
            Body::LaterFragment | Body::Error { .. } => false,
        }
    }
}

/// What changes behind the IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body<const N: usize> {
    Untouched,
    LaterFragment,
    Summed(L4Checksum),
    Error { checksum: L4Checksum, quote: Quote<N> },
}

/// The packet that an ICMP error quotes. It went the other way, so its source is the error's destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Quote<const N: usize> {
    at: usize,
    dst: Change<N>,
    /// The remap of its destination.
    remap: RemapId,
    /// Its own transport checksum, where the quote reaches as far as that.
    checksum: Option<L4Checksum>,
}

/// Judges the packet at `l3` by look-ups only.
#[inline(always)]
pub fn decide<const N: usize, F: Frame, T: Tables>(
    frame: &F,
    l3: usize,
    header: &<[u8; N] as Address<N>>::Header,
    ingress: Ingress,
    tables: &T,
) -> Decision<N>
where
    [u8; N]: Address<N>,
{
    match doors::rule(ingress, header.src(), header.dst(), tables) {
        Rule::Untouched => Decision::Pass,
        Rule::Drop(reason) => Decision::Drop(reason),
        Rule::Rewrite(pair) => match rewrite(frame, l3, header, &pair, ingress, tables) {
            Ok(rewrite) => Decision::Rewrite(rewrite),
            Err(_) if pair.src.is_none() => Decision::Drop(DropReason::SpoofedSource),
            Err(reason) => Decision::Drop(reason),
        },
    }
}

#[inline(always)]
fn rewrite<const N: usize, F: Frame, T: Tables>(
    frame: &F,
    l3: usize,
    header: &<[u8; N] as Address<N>>::Header,
    pair: &Pair<N>,
    ingress: Ingress,
    tables: &T,
) -> Result<Rewrite<N>, DropReason>
where
    [u8; N]: Address<N>,
{
    let dst = Change { old: header.dst(), new: pair.dst };
    let (new_src, remap, body) = match (header.transport(frame, l3)?, pair.src) {
        (Transport::Opaque, Some(src)) => (src, pair.remap, Body::Untouched),
        (Transport::LaterFragment, Some(src)) => (src, pair.remap, Body::LaterFragment),
        (Transport::Summed(checksum), Some(src)) => (src, pair.remap, Body::Summed(checksum)),
        (Transport::Error { checksum, quote, end }, Some(src)) => {
            let quote = quoted(frame, quote..end, &dst, pair.presented, ingress, tables)?;
            if !may_report(ingress, pair.remap, quote.remap, tables) {
                return Err(DropReason::ForeignQuote);
            }
            (src, pair.remap, Body::Error { checksum, quote })
        }
        (Transport::Error { checksum, quote, end }, None) => {
            let quote = quoted(frame, quote..end, &dst, pair.presented, ingress, tables)?;
            let src = tables.node().and_then(|node| <[u8; N]>::unknown(&node, pair.presented));
            let remap = match ingress {
                Ingress::Tun | Ingress::Workload => pair.remap,
                Ingress::Underlay(_) | Ingress::Tunnel(_) => quote.remap,
            };
            (src.ok_or(DropReason::SpoofedSource)?, remap, Body::Error { checksum, quote })
        }
        (Transport::Opaque | Transport::LaterFragment | Transport::Summed(_), None) => {
            return Err(DropReason::SpoofedSource);
        }
    };
    Ok(Rewrite { remap, src: Change { old: header.src(), new: new_src }, dst, body })
}

/// Reads the packet quoted in `span` of an error for `outer_dst` and finds what its destination becomes: the quoted
/// packet must be one that went out from `outer_dst` through this very door, to where packets may come in.
#[inline(always)]
fn quoted<const N: usize, F: Frame, T: Tables>(
    frame: &F,
    span: Range<usize>,
    outer_dst: &Change<N>,
    presented: bool,
    ingress: Ingress,
    tables: &T,
) -> Result<Quote<N>, DropReason>
where
    [u8; N]: Address<N>,
{
    let Range { start: at, end } = span;
    let header = <[u8; N] as Address<N>>::Header::load(frame, at).ok_or(DropReason::Truncated)?;
    let checksum = header.quoted(frame, at, end)?;
    if header.src() != outer_dst.old {
        return Err(DropReason::ForeignQuote);
    }
    let (new, remap) = doors::source(ingress, presented, header.dst(), tables).ok_or(DropReason::ForeignQuote)?;
    Ok(Quote { at, dst: Change { old: header.dst(), new }, remap, checksum })
}

/// A `direct` remote may report on packets that went to itself only. Elsewhere the door itself says whose they were.
#[inline(always)]
fn may_report<T: Tables>(ingress: Ingress, reporter: RemapId, quoted: RemapId, tables: &T) -> bool {
    match ingress {
        Ingress::Workload | Ingress::Tun | Ingress::Tunnel(_) => true,
        Ingress::Underlay(_) => {
            let connection = |id| tables.remap(id).map(|remap| remap.connection);
            reporter == quoted || connection(reporter) == connection(quoted)
        }
    }
}

/// Writes what was decided. `None` only if the frame became shorter since.
#[inline(always)]
pub fn apply<const N: usize, F: Frame>(frame: &mut F, l3: usize, rewrite: &Rewrite<N>) -> Option<()>
where
    [u8; N]: Address<N>,
{
    match &rewrite.body {
        Body::Untouched | Body::LaterFragment => {}
        Body::Summed(checksum) => {
            cover(frame, *checksum, &rewrite.src)?;
            cover(frame, *checksum, &rewrite.dst)?;
        }
        Body::Error { checksum, quote } => apply_to_error(frame, rewrite, *checksum, quote)?,
    }
    readdress(frame, l3, <[u8; N]>::SRC_AT, &rewrite.src)?;
    readdress(frame, l3, <[u8; N]>::DST_AT, &rewrite.dst)?;
    Some(())
}

/// The quoted packet is rewritten the other way round, so that its sender knows it again, and the checksum of the
/// message follows every byte of that.
#[inline(always)]
fn apply_to_error<const N: usize, F: Frame>(
    frame: &mut F,
    rewrite: &Rewrite<N>,
    checksum: L4Checksum,
    quote: &Quote<N>,
) -> Option<()>
where
    [u8; N]: Address<N>,
{
    if checksum.pseudo_header {
        cover(frame, checksum, &rewrite.src)?;
        cover(frame, checksum, &rewrite.dst)?;
    }
    let payload = L4Checksum { pseudo_header: false, ..checksum };
    for (at, change) in [(<[u8; N]>::SRC_AT, &rewrite.dst), (<[u8; N]>::DST_AT, &quote.dst)] {
        cover(frame, payload, change)?;
        if let Some(header) = readdress(frame, quote.at, at, change)? {
            cover(frame, payload, &header.widened())?;
        }
        if let Some(inner) = quote.checksum {
            let inner = recover(frame, inner, change)?;
            cover(frame, payload, &inner.widened())?;
        }
    }
    Some(())
}

/// Tells a checksum of the frame that a field changed.
#[inline(always)]
fn cover<const N: usize, F: Frame>(frame: &mut F, checksum: L4Checksum, change: &Change<N>) -> Option<()> {
    if change.is_none() { Some(()) } else { frame.l4_replace(checksum, change.old, change.new) }
}

/// Corrects the checksum inside a quote, which is payload like any other byte there.
#[inline(always)]
fn recover<const N: usize, F: Frame>(frame: &mut F, at: L4Checksum, change: &Change<N>) -> Option<Change<2>> {
    let old = frame.load::<2>(at.at)?;
    let new = if at.zero_is_none {
        checksum::replace_optional(old, change.old, change.new)
    } else {
        checksum::replace(old, change.old, change.new)
    };
    frame.store(at.at, new)?;
    Some(Change { old, new })
}

/// Writes an address of the header at `l3`. Gives the change of the header's own checksum, where it has one.
#[inline(always)]
fn readdress<const N: usize, F: Frame>(
    frame: &mut F,
    l3: usize,
    at: usize,
    change: &Change<N>,
) -> Option<Option<Change<2>>>
where
    [u8; N]: Address<N>,
{
    if change.is_none() {
        return Some(None);
    }
    frame.store(l3 + at, change.new)?;
    <[u8; N]>::reseal(frame, l3, change.old, change.new)
}

#[cfg(test)]
mod roundtrip;
#[cfg(test)]
mod tests;
