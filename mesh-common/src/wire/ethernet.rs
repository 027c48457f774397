//! The Ethernet II header: destination, source and type.

pub const LEN: usize = 14;

pub const ETHERTYPE_AT: usize = 12;

pub const IPV4: [u8; 2] = [0x08, 0x00];
pub const IPV6: [u8; 2] = [0x86, 0xdd];
/// IEEE 802.1Q: a VLAN tag follows.
pub const VLAN: [u8; 2] = [0x81, 0x00];
/// IEEE 802.1ad: a service tag follows.
pub const SERVICE_VLAN: [u8; 2] = [0x88, 0xa8];

/// The group bit of the destination: broadcast and multicast.
#[inline(always)]
pub const fn is_group(first: u8) -> bool {
    first & 1 != 0
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header(pub [u8; LEN]);

impl Header {
    #[inline(always)]
    pub const fn new(dst: [u8; 6], src: [u8; 6], ethertype: [u8; 2]) -> Header {
        let [d0, d1, d2, d3, d4, d5] = dst;
        let [s0, s1, s2, s3, s4, s5] = src;
        let [t0, t1] = ethertype;
        Header([d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1])
    }

    #[inline(always)]
    pub const fn dst(&self) -> [u8; 6] {
        let [d0, d1, d2, d3, d4, d5, ..] = self.0;
        [d0, d1, d2, d3, d4, d5]
    }

    #[inline(always)]
    pub const fn src(&self) -> [u8; 6] {
        let [_, _, _, _, _, _, s0, s1, s2, s3, s4, s5, ..] = self.0;
        [s0, s1, s2, s3, s4, s5]
    }

    #[inline(always)]
    pub const fn ethertype(&self) -> [u8; 2] {
        let [.., t0, t1] = self.0;
        [t0, t1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_where_they_are_made() {
        let header = Header::new([1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12], IPV6);
        assert_eq!(header.dst(), [1, 2, 3, 4, 5, 6]);
        assert_eq!(header.src(), [7, 8, 9, 10, 11, 12]);
        assert_eq!(header.ethertype(), IPV6);
        assert_eq!(header.0[12..], IPV6);
        assert!(is_group(0xff) && is_group(0x33) && !is_group(0x02));
    }
}
