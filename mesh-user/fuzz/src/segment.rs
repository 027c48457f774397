//! What the kernel writes to a TUN queue: a header of vnet_hdr and a packet. Here nobody trusts it.

use std::net::IpAddr;

use mesh_common::ids::ConnectionId;
use mesh_core::tunnel::{
    AllowedIps, Opened, flow,
    segment::{SLACK, Segments},
    vnet::{Header, LEN},
};

use crate::{
    Bytes, ip_len,
    pair::{Pair, SENDER},
    unpadded,
};

/// So many segments of a super-packet are sealed; the others only differ in what the headers count.
const SEALED: usize = 16;

/// The first two bytes are the MTU. Cutting ends, gives as many packets as it said, and none longer than the whole.
/// Each that is an IP packet has the owner of the longest prefix, and comes out of the tunnel as it went in.
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
    let mut way_out = None;
    while let Some(segment) = segments.next(mtu) {
        assert!(segment.len() <= packet.len() + SLACK, "a segment is longer than the packet");
        count += 1;
        assert!(count <= promised, "more segments than promised");
        if count <= SEALED
            && let Some(to) = flow::destination(segment)
        {
            way_out.get_or_insert_with(WayOut::new).send(to, segment);
        }
    }
    assert_eq!(count, promised);
}

/// What a packet of a TUN queue meets after it was cut.
struct WayOut {
    allowed: AllowedIps,
    pair: Pair,
}

impl WayOut {
    fn new() -> WayOut {
        let prefixes = ["0.0.0.0/0", "10.0.0.0/8", "10.0.0.2/32", "192.168.0.0/17", "::/0", "2000::/3", "fd00::/8"];
        let prefixes = prefixes.iter().zip(1..).map(|(prefix, owner)| (prefix.parse(), ConnectionId(owner)));
        let allowed = AllowedIps::new(prefixes.map(|(prefix, owner)| (prefix.expect("a prefix"), owner)));
        WayOut { allowed, pair: Pair::new() }
    }

    fn send(&mut self, to: IpAddr, segment: &[u8]) {
        let owners = self.allowed.iter().filter(|(prefix, _)| prefix.contains(&to));
        let longest = owners.max_by_key(|(prefix, _)| prefix.prefix_len()).map(|(_, owner)| owner);
        assert_eq!(self.allowed.lookup(to), longest, "the owner of {to}");
        let message = self.pair.seal(segment).expect("the session has just begun");
        let (opened, out) = self.pair.receive(SENDER, &message);
        match opened {
            Opened::Packet { len, .. } => assert_eq!(&out[..len], unpadded(segment)),
            // Its length field says more than there is, or less than a header.
            Opened::Refused(_) => assert!(!is_whole(segment), "{opened:?} of {segment:02x?}"),
            Opened::Probe { .. } | Opened::Empty { .. } | Opened::Reply { .. } | Opened::Cookie { .. } => {
                panic!("{opened:?} of an IP packet")
            }
        }
    }
}

/// The length field of an IP packet says at least its header and at most what there is.
fn is_whole(packet: &[u8]) -> bool {
    ip_len(packet).is_some_and(|len| (20..=packet.len()).contains(&len))
}
