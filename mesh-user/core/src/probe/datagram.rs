//! One UDP datagram as an IP packet, as the device of the responder gives and takes it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use mesh_common::checksum::{finish, pseudo_header, sum};

const UDP: u8 = 17;
const UDP_HEADER: usize = 8;
const V4_HEADER: usize = 20;
const V6_HEADER: usize = 40;
const HOPS: u8 = 64;
/// "Don't fragment", RFC 791 section 3.1.
const DF: [u8; 2] = [0x40, 0];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    pub from: IpAddr,
    pub from_port: u16,
    pub to: IpAddr,
    pub to_port: u16,
    pub payload: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// `None`: not a whole UDP datagram without IP options or extension headers. Checksums are not looked at: a damaged
    /// probe is no message.
    pub fn parse(packet: &'a [u8]) -> Option<Self> {
        let (from, to, datagram) = match packet.first()? >> 4 {
            4 => {
                let (header, rest) = packet.split_first_chunk::<V4_HEADER>()?;
                let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
                let is_fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0;
                if header[0] != 0x45 || header[9] != UDP || is_fragment {
                    return None;
                }
                let from: [u8; 4] = header[12..16].try_into().ok()?;
                let to: [u8; 4] = header[16..].try_into().ok()?;
                (Ipv4Addr::from(from).into(), Ipv4Addr::from(to).into(), rest.get(..length.checked_sub(V4_HEADER)?)?)
            }
            6 => {
                let (header, rest) = packet.split_first_chunk::<V6_HEADER>()?;
                let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
                if header[6] != UDP {
                    return None;
                }
                let from: [u8; 16] = header[8..24].try_into().ok()?;
                let to: [u8; 16] = header[24..].try_into().ok()?;
                (IpAddr::from(Ipv6Addr::from(from)), Ipv6Addr::from(to).into(), rest.get(..length)?)
            }
            _ => return None,
        };
        let (header, payload) = datagram.split_first_chunk::<UDP_HEADER>()?;
        if usize::from(u16::from_be_bytes([header[4], header[5]])) != datagram.len() {
            return None;
        }
        let (from_port, to_port) =
            (u16::from_be_bytes([header[0], header[1]]), u16::from_be_bytes([header[2], header[3]]));
        Some(Datagram { from, from_port, to, to_port, payload })
    }

    /// The packet; `None` if the addresses are of two families or the payload is too long for one.
    pub fn packet(&self) -> Option<Vec<u8>> {
        let length = u16::try_from(UDP_HEADER + self.payload.len()).ok()?;
        let mut packet = match (self.from, self.to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => v4_header(from, to, length)?.to_vec(),
            (IpAddr::V6(from), IpAddr::V6(to)) => v6_header(from, to, length).to_vec(),
            _ => return None,
        };
        let begin = packet.len();
        for number in [self.from_port, self.to_port, length, 0] {
            packet.extend(number.to_be_bytes());
        }
        packet.extend(self.payload);
        let addresses = match (self.from, self.to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => pseudo_header(from.octets(), to.octets(), UDP, u32::from(length)),
            (IpAddr::V6(from), IpAddr::V6(to)) => pseudo_header(from.octets(), to.octets(), UDP, u32::from(length)),
            _ => return None,
        };
        let checksum = match finish(addresses + sum(&packet[begin..])) {
            // That would say that there is none (RFC 768).
            [0, 0] => [0xff; 2],
            checksum => checksum,
        };
        packet[begin + 6..begin + 8].copy_from_slice(&checksum);
        Some(packet)
    }
}

fn v4_header(from: Ipv4Addr, to: Ipv4Addr, length: u16) -> Option<[u8; V4_HEADER]> {
    let mut header = [0; V4_HEADER];
    header[0] = 0x45;
    header[2..4].copy_from_slice(&length.checked_add(V4_HEADER as u16)?.to_be_bytes());
    header[6..8].copy_from_slice(&DF);
    (header[8], header[9]) = (HOPS, UDP);
    header[12..16].copy_from_slice(&from.octets());
    header[16..].copy_from_slice(&to.octets());
    let checksum = finish(sum(&header));
    header[10..12].copy_from_slice(&checksum);
    Some(header)
}

fn v6_header(from: Ipv6Addr, to: Ipv6Addr, length: u16) -> [u8; V6_HEADER] {
    let mut header = [0; V6_HEADER];
    header[0] = 0x60;
    header[4..6].copy_from_slice(&length.to_be_bytes());
    (header[6], header[7]) = (UDP, HOPS);
    header[8..24].copy_from_slice(&from.octets());
    header[24..].copy_from_slice(&to.octets());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram<'a>(from: &str, to: &str, payload: &'a [u8]) -> Datagram<'a> {
        Datagram { from: from.parse().unwrap(), from_port: 7, to: to.parse().unwrap(), to_port: 12_345, payload }
    }

    #[test]
    fn datagrams_survive_and_their_checksums_are_right() {
        for (from, to) in [("10.70.0.3", "10.68.0.2"), ("fd00::3", "fd01::2")] {
            let sent = datagram(from, to, b"odd");
            let packet = sent.packet().unwrap();
            assert_eq!(Datagram::parse(&packet), Some(sent));
            let begin = packet.len() - UDP_HEADER - 3;
            let addresses = match (sent.from, sent.to) {
                (IpAddr::V4(from), IpAddr::V4(to)) => {
                    assert_eq!(finish(sum(&packet[..V4_HEADER])), [0, 0]);
                    pseudo_header(from.octets(), to.octets(), UDP, 11)
                }
                (IpAddr::V6(from), IpAddr::V6(to)) => pseudo_header(from.octets(), to.octets(), UDP, 11),
                _ => panic!("two families"),
            };
            assert_eq!(finish(addresses + sum(&packet[begin..])), [0, 0]);
        }
    }

    #[test]
    fn what_is_no_datagram_is_refused_at_every_length() {
        assert_eq!(datagram("10.0.0.1", "fd00::1", b"").packet(), None);
        for (from, to) in [("10.70.0.3", "10.68.0.2"), ("fd00::3", "fd01::2")] {
            let packet = datagram(from, to, b"hello").packet().unwrap();
            for length in 0..packet.len() {
                assert_eq!(Datagram::parse(&packet[..length]), None);
            }
        }
        let mut fragment = datagram("10.70.0.3", "10.68.0.2", b"x").packet().unwrap();
        fragment[6] |= 0x20;
        assert_eq!(Datagram::parse(&fragment), None);
    }
}
