//! What was decided about a packet, small enough to be remembered by a BPF program until it is written.

use crate::{datapath::DropReason, frame::L4Checksum, ids::RemapId, wire::icmp};

/// What is to be done with a packet, none of it done yet: to pass it as it is, to write what [`super::Job::decide`] noted, or to drop it
/// for a reason. One number, since a BPF function gives back no more, and may leave no bit of it undefined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ruling(u16);

impl Ruling {
    /// Not ours, or left to the kernel as it is.
    pub const PASS: Ruling = Ruling(0);
    pub const REWRITE: Ruling = Ruling(1);
    /// From a source that may not come in, unless with an ICMP error about a packet of ours.
    pub(super) const UNWELCOME: Ruling = Ruling(2);
    const DROP: u16 = 0x100;

    #[inline(always)]
    pub const fn drop(reason: DropReason) -> Ruling {
        Ruling(Ruling::DROP | reason as u16)
    }

    /// The index of the drop counter. Meaningless where nothing is dropped.
    #[inline(always)]
    pub const fn reason_index(self) -> u8 {
        self.0 as u8
    }

    pub(super) fn reason(self) -> DropReason {
        DropReason::ALL[usize::from(self.reason_index())]
    }
}

/// Everything that [`super::Job::apply`] will write. All of it was found to lie in the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Rewrite<const N: usize> {
    /// The addresses that it leaves with. They come first: aligned, they move as words.
    pub src: [u8; N],
    pub dst: [u8; N],
    /// What the destination of the packet becomes that an ICMP error quotes.
    pub(super) quoted: [u8; N],
    /// The remap of the remote's prefix.
    pub remap: RemapId,
    /// Our own side leaves with its mesh-wide address.
    pub(super) presented: bool,
    pub(super) body: PackedBody,
}

impl<const N: usize> Rewrite<N> {
    #[inline(always)]
    pub const fn none() -> Self {
        let body = Body::without_checksum(BodyKind::Untouched).pack();
        Rewrite { remap: RemapId(0), src: [0; N], dst: [0; N], quoted: [0; N], presented: false, body }
    }

    /// Whether an ICMP error may tell the sender of a problem: never of another error, nor of a later fragment
    /// (RFC 1122 section 3.2.2, RFC 4443 section 2.4).
    #[inline(always)]
    pub(in crate::datapath) fn may_be_reported(&self) -> bool {
        match self.body.kind() {
            BodyKind::Untouched | BodyKind::Summed => true,
            BodyKind::LaterFragment | BodyKind::Error => false,
        }
    }
}

/// What changes behind the IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Body {
    pub(super) kind: BodyKind,
    /// Of [`BodyKind::Summed`] and [`BodyKind::Error`].
    pub(super) checksum: L4Checksum,
    /// Of [`BodyKind::Error`].
    pub(super) quote: Quote,
}

/// A [`Body`] in one word. The verifier of BPF programs follows every combination of values that it knows to the end; of
/// this word it is made to forget them ([`crate::frame::Frame::forget`]), so that the stages behind are walked once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PackedBody(pub(super) u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyKind {
    Untouched,
    LaterFragment,
    Summed,
    Error,
}

impl Body {
    #[inline(always)]
    pub(super) const fn without_checksum(kind: BodyKind) -> Body {
        Body { kind, checksum: L4Checksum::NONE, quote: Quote::NONE }
    }

    #[inline(always)]
    pub(super) const fn pack(self) -> PackedBody {
        let kind = match self.kind {
            BodyKind::Untouched => 0,
            BodyKind::LaterFragment => 1,
            BodyKind::Summed => 2,
            BodyKind::Error => 3,
        };
        let flags = (self.checksum.pseudo_header as u64) << 2 | (self.checksum.zero_is_none as u64) << 3;
        PackedBody(kind | flags | (self.checksum.at as u64) << 8 | (self.quote.end as u64) << 32)
    }
}

impl PackedBody {
    #[inline(always)]
    pub(super) const fn kind(self) -> BodyKind {
        match self.0 & 3 {
            0 => BodyKind::Untouched,
            1 => BodyKind::LaterFragment,
            2 => BodyKind::Summed,
            _ => BodyKind::Error,
        }
    }

    #[inline(always)]
    pub(super) const fn checksum(self) -> L4Checksum {
        // Seven extensions of 2,048 bytes are the farthest that a transport header can be away.
        let at = (self.0 >> 8) as usize & 0x7fff;
        L4Checksum { at, pseudo_header: self.0 & 1 << 2 != 0, zero_is_none: self.0 & 1 << 3 != 0 }
    }

    /// A quote starts behind the ICMP header that the checksum is in.
    #[inline(always)]
    pub(super) const fn quote(self) -> Quote {
        let at = self.checksum().at + (icmp::LEN - icmp::CHECKSUM_AT);
        Quote { at, end: (self.0 >> 32) as usize }
    }
}

/// Where the packet is that an ICMP error quotes. It went the other way, so its source is the error's destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quote {
    pub(super) at: usize,
    pub(super) end: usize,
}

impl Quote {
    pub(super) const NONE: Quote = Quote { at: 0, end: 0 };
}
