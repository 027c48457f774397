//! The frames that programs are timed with.

use mesh_common::{
    checksum,
    ids::IfIndex,
    wire::{ethernet, ipv4, ipv6},
};

/// `BPF_PROG_TEST_RUN` says that frames come in by this interface, the loopback device.
pub(super) const LOOPBACK: IfIndex = IfIndex(1);
/// And this is its Ethernet address.
pub(super) const TO: [u8; 6] = [0; 6];

const PROTOCOL_TCP: u8 = 6;
const TTL: u8 = 64;
const TCP_LEN: usize = 20;

/// A TCP segment without payload, all checksums right.
pub(super) fn tcp4(src: [u8; 4], dst: [u8; 4]) -> Vec<u8> {
    let header = ipv4::Header::new(0, (ipv4::LEN + TCP_LEN) as u16, TTL, PROTOCOL_TCP, src, dst);
    frame(ethernet::IPV4, &header.to_bytes(), src, dst)
}

/// The same over IPv6.
pub(super) fn tcp6(src: [u8; 16], dst: [u8; 16]) -> Vec<u8> {
    let header = ipv6::Header::new(0, TCP_LEN as u16, PROTOCOL_TCP, TTL, src, dst);
    frame(ethernet::IPV6, &header.to_bytes(), src, dst)
}

fn frame<const N: usize>(ethertype: [u8; 2], ip: &[u8], src: [u8; N], dst: [u8; N]) -> Vec<u8> {
    let mut tcp = [0; TCP_LEN];
    // From port 40000 to port 80, data offset 5 words, ACK, window 512.
    tcp[..4].copy_from_slice(&[0x9c, 0x40, 0, 80]);
    tcp[12..16].copy_from_slice(&[0x50, 0x10, 0x02, 0x00]);
    let sum = checksum::pseudo_header(src, dst, PROTOCOL_TCP, TCP_LEN as u32) + checksum::sum(&tcp);
    tcp[16..18].copy_from_slice(&checksum::finish(sum));

    let ethernet = ethernet::Header::new(TO, [2, 0, 0, 0, 0, 2], ethertype);
    [&ethernet.0, ip, &tcp].concat()
}
