//! What the kernel writes to a TUN queue: a header of vnet_hdr and a packet. Here nobody trusts it.

use mesh_core::tunnel::{
    segment::{SLACK, Segments},
    vnet::{Header, LEN},
};

use crate::Bytes;

/// The first two bytes are the MTU. Cutting ends, gives as many packets as it said, and none longer than the whole.
pub fn segment(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let mtu = usize::from(u16::from_le_bytes(bytes.array()));
    let header: [u8; LEN] = bytes.array();
    let Ok(header) = Header::parse(header) else { return };
    let packet = bytes.0;
    let mut buffer = packet.to_vec();
    buffer.resize(packet.len() + SLACK, 0xee);
    let Ok(mut segments) = Segments::new(&header, &mut buffer, packet.len()) else { return };
    let promised = segments.count();
    let mut count = 0;
    while let Some(segment) = segments.next(mtu) {
        assert!(segment.len() <= packet.len() + SLACK, "a segment is longer than the packet");
        count += 1;
        assert!(count <= promised, "more segments than promised");
    }
    assert_eq!(count, promised);
}
