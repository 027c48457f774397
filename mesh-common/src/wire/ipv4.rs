//! The IPv4 header without options (RFC 791).

use crate::checksum;

pub const LEN: usize = 20;
/// With all options.
pub const MAX_LEN: usize = 60;

pub const TTL_AT: usize = 8;
pub const PROTOCOL_AT: usize = 9;
pub const CHECKSUM_AT: usize = 10;
pub const SRC_AT: usize = 12;
pub const DST_AT: usize = 16;

const DONT_FRAGMENT: u16 = 0x4000;
const OFFSET_MASK: u16 = 0x1fff;
const MORE_OR_OFFSET: u16 = 0x3fff;

/// Bytes of a header with its options, by its first byte.
#[inline(always)]
pub const fn header_len(first: u8) -> usize {
    ((first & 0x0f) as usize) << 2
}

/// In parts, so that an address stays one word for the compiler, on the BPF target as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(4))]
pub struct Header {
    /// All before the addresses.
    pub head: [u8; SRC_AT],
    pub src: [u8; 4],
    pub dst: [u8; 4],
}

impl From<[u8; LEN]> for Header {
    fn from(bytes: [u8; LEN]) -> Header {
        let mut header = Header { head: [0; SRC_AT], src: [0; 4], dst: [0; 4] };
        header.head.copy_from_slice(&bytes[..SRC_AT]);
        header.src.copy_from_slice(&bytes[SRC_AT..DST_AT]);
        header.dst.copy_from_slice(&bytes[DST_AT..]);
        header
    }
}

impl Header {
    /// As it stands in a packet.
    pub fn to_bytes(self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[..SRC_AT].copy_from_slice(&self.head);
        bytes[SRC_AT..DST_AT].copy_from_slice(&self.src);
        bytes[DST_AT..].copy_from_slice(&self.dst);
        bytes
    }

    /// A whole packet of `total_len` bytes without options that may not be fragmented, checksum included.
    #[inline(always)]
    pub fn new(tos: u8, total_len: u16, ttl: u8, protocol: u8, src: [u8; 4], dst: [u8; 4]) -> Header {
        let [l0, l1] = total_len.to_be_bytes();
        // DF, so the identification may be 0 (RFC 6864 section 4.1).
        let head = [0x45, tos, l0, l1, 0, 0, 0x40, 0, ttl, protocol, 0, 0];
        let sum = checksum::words(head) + checksum::words(src) + checksum::words(dst);
        let [c0, c1] = checksum::finish(sum);
        Header { head: [0x45, tos, l0, l1, 0, 0, 0x40, 0, ttl, protocol, c0, c1], src, dst }
    }

    #[inline(always)]
    pub const fn version(&self) -> u8 {
        super::version(self.head[0])
    }

    /// Bytes of the header with its options.
    #[inline(always)]
    pub const fn header_len(&self) -> usize {
        header_len(self.head[0])
    }

    #[inline(always)]
    pub const fn tos(&self) -> u8 {
        self.head[1]
    }

    /// Bytes of header and payload.
    #[inline(always)]
    pub const fn total_len(&self) -> u16 {
        u16::from_be_bytes([self.head[2], self.head[3]])
    }

    #[inline(always)]
    const fn flags_and_offset(&self) -> u16 {
        u16::from_be_bytes([self.head[6], self.head[7]])
    }

    #[inline(always)]
    pub const fn dont_fragment(&self) -> bool {
        self.flags_and_offset() & DONT_FRAGMENT != 0
    }

    /// A fragment that does not hold the transport header.
    #[inline(always)]
    pub const fn is_later_fragment(&self) -> bool {
        self.flags_and_offset() & OFFSET_MASK != 0
    }

    /// A part of a packet, first or later.
    #[inline(always)]
    pub const fn is_fragment(&self) -> bool {
        self.flags_and_offset() & MORE_OR_OFFSET != 0
    }

    #[inline(always)]
    pub const fn ttl(&self) -> u8 {
        self.head[8]
    }

    #[inline(always)]
    pub const fn protocol(&self) -> u8 {
        self.head[9]
    }

    #[inline(always)]
    pub const fn checksum(&self) -> [u8; 2] {
        [self.head[10], self.head[11]]
    }

    #[inline(always)]
    pub const fn src(&self) -> [u8; 4] {
        self.src
    }

    #[inline(always)]
    pub const fn dst(&self) -> [u8; 4] {
        self.dst
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header {
        head: [0x46, 0x10, 0x05, 0xdc, 0, 1, 0x40, 0, 63, 17, 0xab, 0xcd],
        src: [10, 0, 0, 1],
        dst: [192, 0, 2, 9],
    };

    #[test]
    fn bytes_make_the_same_header_again() {
        let bytes: [u8; LEN] = std::array::from_fn(|i| i as u8);
        assert_eq!(Header::from(bytes).to_bytes(), bytes);
    }

    #[test]
    fn getters_read_their_bytes() {
        assert_eq!((HEADER.version(), HEADER.header_len(), HEADER.tos()), (4, 24, 0x10));
        assert_eq!((HEADER.total_len(), HEADER.ttl(), HEADER.protocol()), (1_500, 63, 17));
        assert_eq!(HEADER.checksum(), [0xab, 0xcd]);
        assert_eq!((HEADER.src(), HEADER.dst()), ([10, 0, 0, 1], [192, 0, 2, 9]));
    }

    #[test]
    fn a_made_header_says_what_it_was_told() {
        let header = Header::new(0xc0, 56, 64, 1, [10, 0, 0, 1], [192, 0, 2, 9]);
        assert_eq!((header.version(), header.header_len(), header.tos()), (4, 20, 0xc0));
        assert_eq!((header.total_len(), header.ttl(), header.protocol()), (56, 64, 1));
        assert_eq!((header.src(), header.dst()), ([10, 0, 0, 1], [192, 0, 2, 9]));
        assert!(header.dont_fragment() && !header.is_fragment());
        assert_eq!(
            checksum::fold(checksum::words(header.head) + checksum::words(header.src) + checksum::words(header.dst)),
            0xffff
        );
    }

    #[test]
    fn fragments_are_told_apart() {
        let with = |flags: [u8; 2]| {
            let mut header = HEADER;
            header.head[6..8].copy_from_slice(&flags);
            (header.is_fragment(), header.is_later_fragment(), header.dont_fragment())
        };
        assert_eq!(with([0x40, 0]), (false, false, true));
        assert_eq!(with([0x20, 0]), (true, false, false));
        assert_eq!(with([0x20, 1]), (true, true, false));
        assert_eq!(with([0x00, 1]), (true, true, false));
    }
}
