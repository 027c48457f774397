//! Bounds-checked access to the bytes of one packet, wherever they live: XDP, tc or a slice.

mod slice;

pub use slice::{Checksum, SliceFrame};

/// Which transport checksum a field belongs to, and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct L4Checksum {
    /// Offset of the two checksum bytes in the frame.
    pub at: usize,
    /// The changed field is covered through the pseudo-header (addresses), not as payload.
    pub pseudo_header: bool,
    /// UDP: 0 means "none" and stays 0, and a computed 0 is written as 0xffff.
    pub zero_is_none: bool,
}

impl L4Checksum {
    /// Stands where there is none.
    pub const NONE: L4Checksum = L4Checksum { at: 0, pseudo_header: false, zero_is_none: false };
}

/// The bytes of one packet. Every access is checked; `None` means that the frame is too short.
pub trait Frame {
    /// Bytes in the frame, link header included where there is one.
    fn len(&self) -> usize;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn load<const N: usize>(&self, at: usize) -> Option<[u8; N]>;

    fn store<const N: usize>(&mut self, at: usize, bytes: [u8; N]) -> Option<()>;

    /// Tells the transport checksum that `old` became `new`; the bytes themselves are stored by the caller.
    ///
    /// The checksum is not exposed as bytes, since only the frame knows whether it is complete or partial
    /// (a partial one holds the *uninverted* pseudo-header sum). `N` is 4 or 16.
    fn l4_replace<const N: usize>(&mut self, checksum: L4Checksum, old: [u8; N], new: [u8; N]) -> Option<()>;

    /// Length from `l3` of the longest packet that this frame becomes on the wire: the frame's own, or the headers
    /// and one `gso_size` where it is a super-packet.
    fn segment_len(&self, l3: usize) -> usize {
        self.len().saturating_sub(l3)
    }

    /// The same number, of which nothing is known any more. The verifier of BPF programs looks at each way to come to an
    /// offset again; where many ways meet, they have to look the same.
    fn forget(&self, at: usize) -> usize {
        at
    }

    /// Makes room for `grow` bytes in front of the frame (their content is undefined) and cuts the result to `len` bytes.
    /// What it then holds is one packet with complete checksums.
    fn reshape(&mut self, grow: usize, len: usize) -> Option<()>;
}

/// Length from `l3` of the first packet of a super-packet with this `gso_size`: IP and transport headers and one
/// segment. Headers that say nothing else count as without extensions.
#[inline(always)]
pub fn super_segment_len<F: Frame>(frame: &F, l3: usize, gso_size: u16) -> usize {
    use crate::wire::{ipv4, ipv6, protocol, tcp, udp, version};

    let Some([first]) = frame.load::<1>(l3) else { return frame.len().saturating_sub(l3) };
    let (ip_len, protocol) = if version(first) == 4 {
        let [protocol] = frame.load::<1>(l3 + ipv4::PROTOCOL_AT).unwrap_or([protocol::TCP]);
        (ipv4::header_len(first), protocol)
    } else {
        let [protocol] = frame.load::<1>(l3 + ipv6::NEXT_HEADER_AT).unwrap_or([protocol::TCP]);
        (ipv6::LEN, protocol)
    };
    let transport_len = if protocol == protocol::UDP {
        udp::LEN
    } else {
        let [offset] = frame.load::<1>(l3 + ip_len + tcp::DATA_OFFSET_AT).unwrap_or([0x50]);
        tcp::header_len(offset)
    };
    let segment = ip_len + transport_len + gso_size as usize;
    segment.min(frame.len().saturating_sub(l3))
}
