//! The packet that is made up to be judged: a UDP datagram without payload or checksum.

use std::net::IpAddr;

const UDP: u8 = 17;
/// Offsets of source and destination in the IP header.
const ADDRESSES_V4: (usize, usize) = (12, 16);
const ADDRESSES_V6: (usize, usize) = (8, 24);

/// A datagram; both addresses are of one family.
pub(crate) fn datagram(source: IpAddr, destination: IpAddr) -> Vec<u8> {
    let octets = |address: IpAddr| match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let udp = [0x30, 0x39, 0x30, 0x39, 0, 8, 0, 0];
    let header: &[u8] = match source {
        IpAddr::V4(_) => &[0x45, 0, 0, 28, 0, 0, 0, 0, 64, UDP, 0, 0],
        IpAddr::V6(_) => &[0x60, 0, 0, 0, 0, 8, UDP, 64],
    };
    [header, &octets(source), &octets(destination), &udp].concat()
}

/// Source and destination of a datagram made here.
pub(crate) fn addresses(packet: &[u8]) -> (IpAddr, IpAddr) {
    if packet[0] >> 4 == 4 {
        let read = |at: usize| <[u8; 4]>::try_from(&packet[at..at + 4]).expect("four bytes").into();
        (read(ADDRESSES_V4.0), read(ADDRESSES_V4.1))
    } else {
        let read = |at: usize| <[u8; 16]>::try_from(&packet[at..at + 16]).expect("sixteen bytes").into();
        (read(ADDRESSES_V6.0), read(ADDRESSES_V6.1))
    }
}
