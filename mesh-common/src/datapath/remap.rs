//! The 1:1 prefix rewrite of one packet: what its addresses become, and the rewrite itself.
//!
//! [`Job::decide`] only looks up and checks; [`Job::apply`] only writes, and only what was decided. So a drop never leaves a packet
//! half-written, and an ICMP error can quote the packet as it came although its new addresses are already known.

mod rewrite;

pub use rewrite::{Rewrite, Ruling};

use super::{
    DropReason, Ingress, Tables, Verdict,
    address::{Address, Change, IpHeader},
    apart,
    doors::{self, Rule},
    forward::Door,
    mss,
    transport::Transport,
};
use crate::{
    checksum,
    frame::{Frame, L4Checksum},
    ids::{ConnectionId, RemapId},
    wire::{self, protocol, tcp},
};
use rewrite::{Body, BodyKind, PackedBody, Quote};

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
    let Some(mut job) = Job::new(frame, l3, ingress, tables) else { return unreadable(ingress, DropReason::Truncated) };
    match job.decide() {
        Ruling::REWRITE => {}
        Ruling::PASS => return Verdict::Pass,
        ruling => return Verdict::Drop(ruling.reason()),
    }
    let remap = job.rewrite.remap;
    let connection = match ingress {
        Ingress::Tunnel(connection) => Some(connection),
        Ingress::Tun | Ingress::Workload | Ingress::Underlay(_) => {
            tables.remap(remap).map(|remap| ConnectionId(remap.connection))
        }
    };
    // A remap without an entry is one that is just being taken away.
    let Some(connection) = connection else { return Verdict::Drop(DropReason::NotOurDestination) };
    match job.apply() {
        Some(()) if !job.opens_tcp() || job.fit_segments().is_some() => Verdict::Accept { remap, connection },
        Some(()) | None => Verdict::Drop(DropReason::Truncated),
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

/// One packet on its way through the stages. Each may be a function of a BPF program with a stack frame of its own, so what
/// they share is here, once.
#[expect(missing_debug_implementations, reason = "a frame is not for printing")]
pub struct Job<'a, const N: usize, F, D, T>
where
    [u8; N]: Address<N>,
{
    pub frame: &'a mut F,
    pub l3: usize,
    pub door: D,
    pub tables: &'a T,
    pub header: <[u8; N] as Address<N>>::Header,
    pub rewrite: Rewrite<N>,
}

impl<'a, const N: usize, F: Frame, D: Door, T: Tables> Job<'a, N, F, D, T>
where
    [u8; N]: Address<N>,
{
    /// `None`: no whole header.
    #[inline(always)]
    pub fn new(frame: &'a mut F, l3: usize, door: D, tables: &'a T) -> Option<Self> {
        let header = <[u8; N] as Address<N>>::Header::load(frame, l3)?;
        Some(Job { frame, l3, door, tables, header, rewrite: Rewrite::none() })
    }

    /// Judges the packet by look-ups only, and notes in `rewrite` what there is to write.
    #[inline(always)]
    pub fn decide(&mut self) -> Ruling {
        let rule = <[u8; N]>::stage(|| self.judge_addresses());
        let welcome = match rule {
            Ruling::REWRITE => true,
            Ruling::UNWELCOME => false,
            settled => return settled,
        };
        let body = <[u8; N]>::stage(|| self.read_body());
        let ruling = match self.rewrite.body.kind() {
            BodyKind::Error if body == Ruling::REWRITE => apart(|| self.judge_quote(welcome)),
            BodyKind::Untouched | BodyKind::LaterFragment | BodyKind::Summed if !welcome => Ruling::UNWELCOME,
            _ => body,
        };
        if welcome || ruling == Ruling::REWRITE { ruling } else { Ruling::drop(DropReason::SpoofedSource) }
    }

    /// Writes what was decided. `None` only if the frame became shorter, or the tables others, since.
    #[inline(always)]
    pub fn apply(&mut self) -> Option<()> {
        if self.rewrite.body.kind() == BodyKind::Error {
            apart(|| self.write_quote())?;
        }
        <[u8; N]>::stage(|| self.write())
    }

    /// The packet asks for a TCP connection, or grants one.
    #[inline(always)]
    pub fn opens_tcp(&self) -> bool {
        self.tcp().is_some_and(|at| mss::opens(self.frame, at))
    }

    /// Who opens a TCP connection this way is told how large segments may be.
    #[inline(always)]
    pub fn tells_segments(&self) -> bool {
        self.header.protocol() == protocol::TCP && self.mtu() != 0
    }

    /// Tells the two ends of a connection that is being opened which segments fit, where that is known.
    #[inline(always)]
    pub fn fit_segments(&mut self) -> Option<()> {
        let (Some(at), mtu @ 1..) = (self.tcp(), self.mtu()) else { return Some(()) };
        let most = mtu.saturating_sub((<[u8; N]>::HEADER_LEN + tcp::LEN) as u16);
        match self.door.ingress() {
            Ingress::Workload | Ingress::Underlay(_) => mss::clamp_first(self.frame, at, most),
            Ingress::Tun | Ingress::Tunnel(_) => mss::clamp(self.frame, at, most),
        }
    }

    /// Where the TCP header is. Nobody opens a connection with fragments or extension headers: they are left alone.
    #[inline(always)]
    fn tcp(&self) -> Option<usize> {
        self.header.plain_transport(self.l3).filter(|_| self.header.protocol() == protocol::TCP)
    }

    #[inline(always)]
    fn mtu(&self) -> u16 {
        self.tables.remap(self.rewrite.remap).map_or(0, |remap| remap.mtu)
    }

    #[inline(always)]
    fn judge_addresses(&mut self) -> Ruling {
        let (src, dst) = (self.header.src(), self.header.dst());
        match doors::rule(self.door.ingress(), src, dst, self.tables) {
            Rule::Untouched => Ruling::PASS,
            Rule::Drop(reason) => Ruling::drop(reason),
            Rule::Rewrite(pair) => {
                self.rewrite.src = pair.src.unwrap_or(src);
                self.rewrite.dst = pair.dst;
                self.rewrite.remap = pair.remap;
                self.rewrite.presented = pair.presented;
                if pair.src.is_some() { Ruling::REWRITE } else { Ruling::UNWELCOME }
            }
        }
    }

    /// Finds out what is behind the IP header.
    #[inline(always)]
    fn read_body(&mut self) -> Ruling {
        let body = match self.header.transport(self.frame, self.l3) {
            Ok(Transport::Opaque) => Body::without_checksum(BodyKind::Untouched),
            Ok(Transport::LaterFragment) => Body::without_checksum(BodyKind::LaterFragment),
            Ok(Transport::Summed(checksum)) => Body { kind: BodyKind::Summed, checksum, quote: Quote::NONE },
            Ok(Transport::Error { checksum, quote, end }) => {
                Body { kind: BodyKind::Error, checksum, quote: Quote { at: quote, end } }
            }
            Err(reason) => return Ruling::drop(reason),
        };
        self.rewrite.body = PackedBody(self.frame.forget(body.pack().0 as usize) as u64);
        Ruling::REWRITE
    }

    /// Whether the packet quoted by an ICMP error is one that its receiver sent out through this very door, to where packets
    /// may come in.
    #[inline(always)]
    fn judge_quote(&mut self, welcome: bool) -> Ruling {
        let (ingress, tables) = (self.door.ingress(), self.tables);
        let at = self.rewrite.body.quote().at;
        let Some(header) = <[u8; N] as Address<N>>::Header::load(self.frame, at) else {
            return Ruling::drop(DropReason::Truncated);
        };
        if !header.is_quotable() {
            return Ruling::drop(DropReason::Malformed);
        }
        let source = doors::source(ingress, self.rewrite.presented, header.dst(), tables);
        let (new, quoted) = match source {
            Some(source) if header.src() == self.header.dst() => source,
            Some(_) | None => return Ruling::drop(DropReason::ForeignQuote),
        };
        self.rewrite.quoted = new;
        if welcome {
            let known = may_report(ingress, self.rewrite.remap, quoted, tables);
            return if known { Ruling::REWRITE } else { Ruling::drop(DropReason::ForeignQuote) };
        }
        let unknown = tables.node().and_then(|node| <[u8; N]>::unknown(&node, self.rewrite.presented));
        let Some(unknown) = unknown else { return Ruling::drop(DropReason::SpoofedSource) };
        self.rewrite.src = unknown;
        if let Ingress::Underlay(_) | Ingress::Tunnel(_) = ingress {
            self.rewrite.remap = quoted;
        }
        Ruling::REWRITE
    }

    #[inline(always)]
    fn write(&mut self) -> Option<()> {
        let src = Change { old: self.header.src(), new: self.rewrite.src };
        let dst = Change { old: self.header.dst(), new: self.rewrite.dst };
        let body = self.rewrite.body;
        if body.kind() == BodyKind::Summed {
            cover(self.frame, body.checksum(), &src)?;
            cover(self.frame, body.checksum(), &dst)?;
        }
        readdress(self.frame, self.l3, <[u8; N]>::SRC_AT, &src)?;
        readdress(self.frame, self.l3, <[u8; N]>::DST_AT, &dst)?;
        Some(())
    }

    /// The checksum of an ICMPv6 error covers its addresses as well as the packet that it quotes.
    #[inline(always)]
    fn write_quote(&mut self) -> Option<()> {
        let (checksum, quote) = (self.rewrite.body.checksum(), self.rewrite.body.quote());
        let dst = Change { old: self.header.dst(), new: self.rewrite.dst };
        if checksum.pseudo_header {
            cover(self.frame, checksum, &Change { old: self.header.src(), new: self.rewrite.src })?;
            cover(self.frame, checksum, &dst)?;
        }
        let header = <[u8; N] as Address<N>>::Header::load(self.frame, quote.at)?;
        let inner = header.quoted(self.frame, quote.at, quote.end);
        requote(self.frame, checksum, quote.at, inner, &dst, &Change { old: header.dst(), new: self.rewrite.quoted })
    }
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

/// The packet quoted at `quote` is rewritten the other way round, so that its sender knows it again, and the checksum of
/// the message follows every byte of that.
#[inline(always)]
fn requote<const N: usize, F: Frame>(
    frame: &mut F,
    checksum: L4Checksum,
    quote: usize,
    inner: L4Checksum,
    src: &Change<N>,
    dst: &Change<N>,
) -> Option<()>
where
    [u8; N]: Address<N>,
{
    let payload = L4Checksum { pseudo_header: false, ..checksum };
    for (at, change) in [(<[u8; N]>::SRC_AT, src), (<[u8; N]>::DST_AT, dst)] {
        cover(frame, payload, change)?;
        if let Some(header) = readdress(frame, quote, at, change)? {
            cover(frame, payload, &header)?;
        }
        if inner != L4Checksum::NONE {
            let inner = recover(frame, inner, change)?;
            cover(frame, payload, &inner)?;
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
mod mirrored;
#[cfg(test)]
mod partial;
#[cfg(test)]
mod tests;
