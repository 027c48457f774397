//! Where the headers of a TCP or UDP packet are, and whether its checksum is right.

use std::net::IpAddr;

use mesh_common::{
    checksum,
    wire::{ipv4, ipv6, protocol, tcp, udp, version},
};

/// Where an IP packet goes; `None`: it has no whole IP header.
pub fn destination(packet: &[u8]) -> Option<IpAddr> {
    address(packet, ipv4::DST_AT, ipv6::DST_AT)
}

/// Where an IP packet says that it comes from; `None`: it has no whole IP header.
pub fn source(packet: &[u8]) -> Option<IpAddr> {
    address(packet, ipv4::SRC_AT, ipv6::SRC_AT)
}

fn address(packet: &[u8], v4_at: usize, v6_at: usize) -> Option<IpAddr> {
    match version(*packet.first()?) {
        4 if packet.len() >= ipv4::LEN => Some(IpAddr::from(*packet[v4_at..].first_chunk::<4>()?)),
        6 if packet.len() >= ipv6::LEN => Some(IpAddr::from(*packet[v6_at..].first_chunk::<16>()?)),
        _ => None,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Tcp,
    Udp,
}

/// A whole packet of plain TCP or UDP: no IP options, extensions or fragments, and nothing behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) is_v4: bool,
    pub(super) protocol: Protocol,
    /// Where the transport header starts.
    pub(super) transport: usize,
    /// Where the payload starts.
    pub(super) payload: usize,
    pub(super) len: usize,
}

impl Shape {
    pub(super) fn of(packet: &[u8]) -> Option<Shape> {
        let (is_v4, protocol, transport) = match version(*packet.first()?) {
            4 => {
                let header = ipv4::Header::from(*packet.first_chunk()?);
                let is_plain = header.header_len() == ipv4::LEN
                    && !header.is_fragment()
                    && usize::from(header.total_len()) == packet.len();
                is_plain.then_some((true, header.protocol(), ipv4::LEN))?
            }
            6 => {
                let header = ipv6::Header::from(*packet.first_chunk()?);
                let is_plain = ipv6::LEN + usize::from(header.payload_len()) == packet.len();
                is_plain.then_some((false, header.next_header(), ipv6::LEN))?
            }
            _ => return None,
        };
        let (protocol, header_len) = match protocol {
            protocol::TCP => (Protocol::Tcp, tcp::header_len(*packet.get(transport + tcp::DATA_OFFSET_AT)?)),
            protocol::UDP => (Protocol::Udp, udp::LEN),
            _ => return None,
        };
        let payload = transport + header_len;
        let is_whole = match protocol {
            Protocol::Tcp => header_len >= tcp::LEN && payload <= packet.len(),
            Protocol::Udp => {
                let length: [u8; 2] = *packet.get(transport + udp::LENGTH_AT..)?.first_chunk()?;
                payload <= packet.len() && usize::from(u16::from_be_bytes(length)) == packet.len() - transport
            }
        };
        is_whole.then_some(Shape { is_v4, protocol, transport, payload, len: packet.len() })
    }

    /// Where the transport checksum is, from the start of its header.
    pub(super) fn checksum_offset(&self) -> usize {
        match self.protocol {
            Protocol::Tcp => tcp::CHECKSUM_AT,
            Protocol::Udp => udp::CHECKSUM_AT,
        }
    }

    /// The sum of the pseudo-header for `len` bytes of transport header and payload.
    pub(super) fn pseudo_header(&self, packet: &[u8], len: usize) -> u64 {
        let number = match self.protocol {
            Protocol::Tcp => protocol::TCP,
            Protocol::Udp => protocol::UDP,
        };
        pseudo_header(packet, self.is_v4, number, len)
    }

    /// The checksums of transport and IPv4 header are there and right.
    pub(super) fn is_intact(&self, packet: &[u8]) -> bool {
        if self.is_v4 && checksum::fold(checksum::sum(&packet[..ipv4::LEN])) != 0xffff {
            return false;
        }
        let at = self.transport + self.checksum_offset();
        if self.protocol == Protocol::Udp && packet[at..at + 2] == [0, 0] {
            return false;
        }
        let sum = self.pseudo_header(packet, self.len - self.transport) + checksum::sum(&packet[self.transport..]);
        checksum::fold(sum) == 0xffff
    }
}

/// The sum of the pseudo-header of a packet whose IP header is whole.
pub(super) fn pseudo_header(packet: &[u8], is_v4: bool, protocol: u8, len: usize) -> u64 {
    let addresses = if is_v4 { &packet[ipv4::SRC_AT..ipv4::LEN] } else { &packet[ipv6::SRC_AT..ipv6::LEN] };
    let len = u32::try_from(len).unwrap_or(u32::MAX);
    checksum::sum(addresses) + checksum::pseudo_header([0; 4], [0; 4], protocol, len)
}
