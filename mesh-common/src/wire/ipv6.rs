//! The IPv6 header and the extension headers that may stand before the transport (RFC 8200).

pub const LEN: usize = 40;

/// What an ICMPv6 error quotes: header, 40 bytes of extensions and 8 of the transport.
pub const QUOTE_LEN: usize = LEN + 48;

pub const PAYLOAD_LEN_AT: usize = 4;
pub const NEXT_HEADER_AT: usize = 6;
pub const HOP_LIMIT_AT: usize = 7;
pub const SRC_AT: usize = 8;
pub const DST_AT: usize = 24;

/// Next-header values of extensions. Others (ESP, AH, no next header) end the walk as unknown protocols do.
pub mod extension {
    pub const HOP_BY_HOP: u8 = 0;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const NO_NEXT_HEADER: u8 = 59;
    pub const DESTINATION: u8 = 60;

    pub const FRAGMENT_LEN: usize = 8;

    /// Bytes of an extension whose second byte counts units of 8 beyond the first.
    #[inline(always)]
    pub const fn len(units: u8) -> usize {
        ((units as usize) << 3) + 8
    }

    /// A fragment header of a fragment that does not hold the transport header.
    #[inline(always)]
    pub const fn is_later(fragment: [u8; FRAGMENT_LEN]) -> bool {
        u16::from_be_bytes([fragment[2], fragment[3]]) & 0xfff8 != 0
    }
}

/// In parts, so that an address stays two words for the compiler, on the BPF target as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Header {
    /// All before the addresses.
    pub head: [u8; SRC_AT],
    pub src: [u8; 16],
    pub dst: [u8; 16],
}

impl From<[u8; LEN]> for Header {
    fn from(bytes: [u8; LEN]) -> Header {
        let mut header = Header { head: [0; SRC_AT], src: [0; 16], dst: [0; 16] };
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

    /// Flow label 0.
    #[inline(always)]
    pub fn new(
        traffic_class: u8,
        payload_len: u16,
        next_header: u8,
        hop_limit: u8,
        src: [u8; 16],
        dst: [u8; 16],
    ) -> Header {
        let [l0, l1] = payload_len.to_be_bytes();
        let head = [0x60 | (traffic_class >> 4), traffic_class << 4, 0, 0, l0, l1, next_header, hop_limit];
        Header { head, src, dst }
    }

    #[inline(always)]
    pub const fn version(&self) -> u8 {
        super::version(self.head[0])
    }

    #[inline(always)]
    pub const fn traffic_class(&self) -> u8 {
        (self.head[0] << 4) | (self.head[1] >> 4)
    }

    /// Bytes behind this header.
    #[inline(always)]
    pub const fn payload_len(&self) -> u16 {
        u16::from_be_bytes([self.head[4], self.head[5]])
    }

    #[inline(always)]
    pub const fn next_header(&self) -> u8 {
        self.head[6]
    }

    #[inline(always)]
    pub const fn hop_limit(&self) -> u8 {
        self.head[7]
    }

    #[inline(always)]
    pub const fn src(&self) -> [u8; 16] {
        self.src
    }

    #[inline(always)]
    pub const fn dst(&self) -> [u8; 16] {
        self.dst
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_make_the_same_header_again() {
        let bytes: [u8; LEN] = std::array::from_fn(|i| i as u8);
        assert_eq!(Header::from(bytes).to_bytes(), bytes);
    }

    #[test]
    fn getters_read_their_bytes() {
        let mut bytes = [0_u8; LEN];
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = i as u8;
        }
        bytes[0] = 0x6b;
        bytes[1] = 0xc1;
        let header = Header {
            head: *bytes.first_chunk().unwrap(),
            src: bytes[8..24].try_into().unwrap(),
            dst: bytes[24..].try_into().unwrap(),
        };
        assert_eq!((header.version(), header.traffic_class()), (6, 0xbc));
        assert_eq!((header.payload_len(), header.next_header(), header.hop_limit()), (0x0405, 6, 7));
        assert_eq!(header.src(), bytes[8..24]);
        assert_eq!(header.dst(), bytes[24..40]);
    }

    #[test]
    fn a_made_header_says_what_it_was_told() {
        let header = Header::new(0xc1, 56, 58, 64, [1; 16], [2; 16]);
        assert_eq!((header.version(), header.traffic_class()), (6, 0xc1));
        assert_eq!((header.payload_len(), header.next_header(), header.hop_limit()), (56, 58, 64));
        assert_eq!((header.src(), header.dst()), ([1; 16], [2; 16]));
    }

    #[test]
    fn extension_lengths() {
        assert_eq!((extension::len(0), extension::len(1), extension::len(255)), (8, 16, 2_048));
        assert!(!extension::is_later([6, 0, 0, 1, 0, 0, 0, 9]));
        assert!(extension::is_later([6, 0, 0, 8, 0, 0, 0, 9]));
    }
}
