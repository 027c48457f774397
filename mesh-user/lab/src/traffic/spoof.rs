//! Packets with a source that is not the sender's.

use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};

use anyhow::{Context, Result, bail};
use rustix::net::{self, AddressFamily, RawProtocol, SendFlags, SocketFlags, SocketType};

use crate::Namespace;

/// Sends `count` UDP packets from `source`, which need not be an address of `namespace`, to `to`.
pub fn udp(namespace: &Namespace, source: SocketAddr, to: SocketAddr, payload: &[u8], count: usize) -> Result<()> {
    let packet = packet(source, to, payload)?;
    // A raw socket takes the destination from here for the route; the port must be zero for IPv6.
    let (family, target): (_, SocketAddr) = match to.ip() {
        IpAddr::V4(ip) => (AddressFamily::INET, SocketAddrV4::new(ip, 0).into()),
        IpAddr::V6(ip) => (AddressFamily::INET6, SocketAddrV6::new(ip, 0, 0, 0).into()),
    };
    // IPPROTO_RAW: the packet brings its own IP header, for either family (raw(7), RFC 3542 is not asked).
    let raw = RawProtocol::new(255).context("255 is not zero")?;
    namespace.enter(|| {
        let kind = net::Protocol::from_raw(raw);
        let socket = net::socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, Some(kind))?;
        for _ in 0..count {
            net::sendto(&socket, &packet, SendFlags::empty(), &target)
                .with_context(|| format!("cannot send a packet from {source} to {to}"))?;
        }
        Ok(())
    })
}

fn packet(source: SocketAddr, to: SocketAddr, payload: &[u8]) -> Result<Vec<u8>> {
    let length = u16::try_from(8 + payload.len()).context("the payload of a UDP packet is short of 64 KiB")?;
    let mut packet = Vec::new();
    let addresses: Vec<u8> = match (source.ip(), to.ip()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            packet.extend([0x45, 0]);
            packet.extend((20 + length).to_be_bytes());
            // The kernel fills in identification and header checksum (raw(7)).
            packet.extend([0, 0, 0, 0, 64, 17, 0, 0]);
            [a.octets(), b.octets()].concat()
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            packet.extend([0x60, 0, 0, 0]);
            packet.extend(length.to_be_bytes());
            packet.extend([17, 64]);
            [a.octets(), b.octets()].concat()
        }
        _ => bail!("{source} and {to} are of different families"),
    };
    packet.extend(&addresses);
    let mut datagram = [source.port().to_be_bytes(), to.port().to_be_bytes(), length.to_be_bytes(), [0, 0]].concat();
    datagram.extend(payload);
    let pseudo = [addresses, vec![0, 17], length.to_be_bytes().to_vec()].concat();
    // A sum of zero is sent as all ones (RFC 768).
    let sum = match !fold(&pseudo, &datagram) {
        0 => 0xffff,
        sum => sum,
    };
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    packet.extend(datagram);
    Ok(packet)
}

/// One's complement sum of two byte strings, the first of even length (RFC 1071).
fn fold(first: &[u8], second: &[u8]) -> u16 {
    let words = first.chunks(2).chain(second.chunks(2));
    let mut sum: u32 = words.map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A correct packet sums to all ones over pseudo-header and datagram.
    #[test]
    fn checksum_is_right() {
        let source: SocketAddr = "192.0.2.1:1000".parse().unwrap();
        let to: SocketAddr = "192.0.2.2:2000".parse().unwrap();
        let packet = packet(source, to, b"odd").unwrap();
        let pseudo = [&packet[12..20], &[0, 17, 0, 11]].concat();
        assert_eq!(fold(&pseudo, &packet[20..]), 0xffff);
        assert_eq!(packet.len(), 31);
    }
}
