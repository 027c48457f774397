//! `struct virtio_net_hdr`: what the kernel says of a packet on a TUN queue, and what we say of ours.

use mesh_common::datapath::DropReason;

/// Bytes of the header on a queue without mergeable buffers.
pub const LEN: usize = 10;

const NEEDS_CHECKSUM: u8 = 1;
const GSO_NONE: u8 = 0;
const GSO_TCP_V4: u8 = 1;
const GSO_TCP_V6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

/// How a super-packet is to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gso {
    TcpV4,
    TcpV6,
    /// Each segment is a datagram of its own (Linux 6.2).
    Udp,
}

/// Where an unfinished checksum is: the sum from `start` on goes to `start + offset`, whose bytes hold the
/// pseudo-header's part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partial {
    pub start: u16,
    pub offset: u16,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    pub partial: Option<Partial>,
    /// With the payload bytes of each segment.
    pub gso: Option<(Gso, u16)>,
    /// Bytes of all headers; a hint.
    pub header_len: u16,
}

impl Header {
    /// # Errors
    /// A kind of super-packet that we never asked for.
    pub fn parse(bytes: [u8; LEN]) -> Result<Header, DropReason> {
        let [flags, kind, header @ ..] = bytes;
        let [header_len, size, start, offset] = *header.as_chunks::<2>().0 else { return Err(DropReason::Malformed) };
        let size = u16::from_le_bytes(size);
        let gso = match kind & !GSO_ECN {
            GSO_NONE => None,
            GSO_TCP_V4 => Some((Gso::TcpV4, size)),
            GSO_TCP_V6 => Some((Gso::TcpV6, size)),
            GSO_UDP_L4 => Some((Gso::Udp, size)),
            _ => return Err(DropReason::Malformed),
        };
        if matches!(gso, Some((_, 0))) {
            return Err(DropReason::Malformed);
        }
        let partial = (flags & NEEDS_CHECKSUM != 0)
            .then_some(Partial { start: u16::from_le_bytes(start), offset: u16::from_le_bytes(offset) });
        Ok(Header { partial, gso, header_len: u16::from_le_bytes(header_len) })
    }

    pub fn bytes(&self) -> [u8; LEN] {
        let (kind, size) = match self.gso {
            None => (GSO_NONE, 0),
            Some((Gso::TcpV4, size)) => (GSO_TCP_V4, size),
            Some((Gso::TcpV6, size)) => (GSO_TCP_V6, size),
            Some((Gso::Udp, size)) => (GSO_UDP_L4, size),
        };
        let (flags, start, offset) =
            self.partial.map_or((0, 0, 0), |partial| (NEEDS_CHECKSUM, partial.start, partial.offset));
        let [a, b] = self.header_len.to_le_bytes();
        let [c, d] = size.to_le_bytes();
        let [e, f] = start.to_le_bytes();
        let [g, h] = offset.to_le_bytes();
        [flags, kind, a, b, c, d, e, f, g, h]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let partial = Some(Partial { start: 20, offset: 16 });
        for gso in [None, Some((Gso::TcpV4, 1_288)), Some((Gso::TcpV6, 1)), Some((Gso::Udp, 512))] {
            let header = Header { partial, gso, header_len: 52 };
            assert_eq!(Header::parse(header.bytes()), Ok(header));
        }
        assert_eq!(Header::default().bytes(), [0; LEN]);
    }

    #[test]
    fn the_ecn_flag_changes_nothing_and_unknown_kinds_are_refused() {
        let mut bytes = Header { gso: Some((Gso::TcpV4, 9)), ..Header::default() }.bytes();
        bytes[1] |= GSO_ECN;
        assert_eq!(Header::parse(bytes).unwrap().gso, Some((Gso::TcpV4, 9)));
        bytes[1] = 3;
        assert_eq!(Header::parse(bytes), Err(DropReason::Malformed));
        bytes[1] = GSO_TCP_V6;
        bytes[4..6].fill(0);
        assert_eq!(Header::parse(bytes), Err(DropReason::Malformed));
    }
}
