//! Frames of every kind that the data path tells apart, from a seed.

use std::{vec, vec::Vec};

use super::{Ip, Packet, Place, Random, World, world::WIREGUARD_PORT};
use crate::{
    datapath::Ingress,
    wire::{ethernet, icmp, protocol, tcp},
};

/// What a generated frame was made as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Tcp,
    Udp,
    UdpWithoutChecksum,
    Echo,
    /// An ICMP error that quotes a whole packet.
    Error,
    /// One whose quote ends somewhere.
    ErrorCut,
    FirstFragment,
    LaterFragment,
    /// IPv4 options, or IPv6 extension headers.
    Options,
    Sctp,
    Unknown,
    /// To a WireGuard port, with or without a message in it.
    Wireguard,
    Vlan,
    /// Random bytes behind addresses that mean something, or nothing but random bytes.
    Garbage,
    /// A good frame that ends too early.
    Truncated,
}

impl Kind {
    pub const ALL: [Kind; 15] = [
        Kind::Tcp,
        Kind::Udp,
        Kind::UdpWithoutChecksum,
        Kind::Echo,
        Kind::Error,
        Kind::ErrorCut,
        Kind::FirstFragment,
        Kind::LaterFragment,
        Kind::Options,
        Kind::Sctp,
        Kind::Unknown,
        Kind::Wireguard,
        Kind::Vlan,
        Kind::Garbage,
        Kind::Truncated,
    ];
}

/// A frame, and what is known of it.
#[derive(Clone, Debug)]
pub struct Generated {
    pub kind: Kind,
    pub v6: bool,
    pub door: Ingress,
    pub frame: Vec<u8>,
    /// Offset of the IP header: 14 at kernel hooks, 0 at tunnels.
    pub l3: usize,
    /// What the frame lacks of a transport that is a first fragment or quoted in part.
    pub rest: Vec<u8>,
    /// Every checksum was made true. Otherwise one was spoilt, or the frame is no packet.
    pub true_sums: bool,
}

/// An endless source of frames for the doors of a world.
#[derive(Clone, Debug)]
pub struct Generator<'a> {
    world: &'a World,
    random: Random,
}

impl<'a> Generator<'a> {
    pub fn new(world: &'a World, seed: u64) -> Generator<'a> {
        Generator { world, random: Random::new(seed) }
    }

    /// A frame for any door.
    pub fn frame(&mut self) -> Generated {
        let door = self.random.pick(&self.world.doors());
        self.frame_for(door)
    }

    pub fn frame_for(&mut self, door: Ingress) -> Generated {
        let kind = self.random.pick(&Kind::ALL);
        let v6 = self.random.one_in(2);
        let (src, dst) = self.addresses(door, v6);
        let (mut bytes, rest) = self.packet(kind, door, src, dst, v6);
        let mut true_sums = !matches!(kind, Kind::Garbage | Kind::Truncated);
        if true_sums && self.random.one_in(4) {
            true_sums = !self.spoil(&mut bytes);
        }
        let l3 = match door {
            Ingress::Workload | Ingress::Underlay(_) => ethernet::LEN,
            Ingress::Tun | Ingress::Tunnel(_) => 0,
        };
        let mut frame = if l3 == 0 { vec![] } else { self.link(v6, kind) };
        frame.append(&mut bytes);
        if kind == Kind::Truncated {
            frame.truncate(self.random.below(frame.len()));
        } else if self.random.one_in(4) {
            let padding = self.random.below(20);
            frame.resize(frame.len() + padding, 0x5a);
        }
        Generated { kind, v6, door, frame, l3, rest, true_sums }
    }

    /// Mostly a pair that may pass this door, sometimes any.
    fn addresses(&mut self, door: Ingress, v6: bool) -> (Ip, Ip) {
        let (from, to) = self.world.welcome(door);
        let (src, dst) = if self.random.one_in(4) {
            (self.random.pick(&Place::ALL), self.random.pick(&Place::ALL))
        } else {
            (self.random.pick(&from), self.random.pick(&to))
        };
        (self.address(src, v6), self.address(dst, v6))
    }

    fn address(&mut self, place: Place, v6: bool) -> Ip {
        self.world.address(place, v6, &mut self.random)
    }

    /// A packet from its IP header on, and what it lacks of a transport.
    fn packet(&mut self, kind: Kind, door: Ingress, src: Ip, dst: Ip, v6: bool) -> (Vec<u8>, Vec<u8>) {
        match kind {
            Kind::Error | Kind::ErrorCut => return self.error(kind, door, src, dst, v6),
            Kind::Garbage => return (self.garbage(src, dst), vec![]),
            Kind::Tcp
            | Kind::Udp
            | Kind::UdpWithoutChecksum
            | Kind::Echo
            | Kind::FirstFragment
            | Kind::LaterFragment
            | Kind::Options
            | Kind::Sctp
            | Kind::Unknown
            | Kind::Wireguard
            | Kind::Vlan
            | Kind::Truncated => {}
        }
        let mut packet = self.plain(kind, src, dst, v6);
        packet.ttl = self.random.pick(&[0, 1, 2, 64, 64, 64, 64, 255]);
        packet.dont_fragment = self.random.one_in(2);
        let len = packet.transport.len() & !7;
        match kind {
            Kind::FirstFragment if len >= 24 => {
                let end = 24 + self.random.below(len - 16) / 8 * 8;
                let end = end.min(len);
                (packet.fragment(0, end), packet.sealed_transport().split_off(end))
            }
            Kind::LaterFragment if len >= 16 => (packet.fragment(8, len), vec![]),
            _ => (packet.build(), vec![]),
        }
    }

    fn plain(&mut self, kind: Kind, src: Ip, dst: Ip, v6: bool) -> Packet {
        let echo = if v6 { protocol::ICMPV6 } else { protocol::ICMP };
        let any = self.random.pick(&[protocol::TCP, protocol::UDP, echo]);
        let protocol = match kind {
            Kind::Tcp => protocol::TCP,
            Kind::Udp | Kind::UdpWithoutChecksum | Kind::Wireguard => protocol::UDP,
            Kind::Echo => echo,
            Kind::Sctp => protocol::SCTP,
            Kind::Unknown => 200 + self.random.byte() % 50,
            Kind::Error | Kind::ErrorCut | Kind::Garbage => any,
            Kind::FirstFragment | Kind::LaterFragment | Kind::Options | Kind::Vlan | Kind::Truncated => any,
        };
        let mut packet = Packet::new(src, dst, protocol, self.transport(protocol));
        packet.no_checksum = kind == Kind::UdpWithoutChecksum;
        if kind == Kind::Options {
            packet.options = self.options(v6);
        }
        if kind == Kind::Wireguard {
            packet.transport = self.wireguard();
            // Also to the node itself, where the guard acts.
            if self.random.one_in(2) {
                packet.src = self.address(Place::Elsewhere, v6);
                packet.dst = self.address(Place::Elsewhere, v6);
            }
        }
        packet
    }

    /// Transport header and payload, checksum still to be made.
    fn transport(&mut self, protocol: u8) -> Vec<u8> {
        let payload = if self.random.one_in(16) { 1_100 + self.random.below(400) } else { self.random.below(80) };
        let mut bytes = vec![0; 20 + payload];
        self.random.fill(&mut bytes);
        match protocol {
            protocol::TCP => self.segment(&mut bytes),
            protocol::UDP => {
                let len = bytes.len() as u16;
                bytes[4..6].copy_from_slice(&len.to_be_bytes());
            }
            protocol::ICMP => bytes[..2].copy_from_slice(&[self.random.pick(&[0, 8]), 0]),
            protocol::ICMPV6 => bytes[..2].copy_from_slice(&[self.random.pick(&[128, 129]), 0]),
            _ => {}
        }
        bytes
    }

    /// A TCP header in front of random bytes, sometimes one that opens a connection and says how large segments may be.
    fn segment(&mut self, bytes: &mut Vec<u8>) {
        bytes[12] = 0x50;
        if !self.random.one_in(4) {
            return;
        }
        bytes[13] = self.random.pick(&[tcp::SYN, tcp::SYN | tcp::ACK]);
        let mut options = vec![tcp::option::NONE; self.random.below(6)];
        options.extend_from_slice(&[tcp::option::MAX_SEGMENT, 4, self.random.pick(&[1, 4, 5, 6, 255]), 180]);
        options.resize(options.len().next_multiple_of(4), tcp::option::END);
        bytes[12] = (((tcp::LEN + options.len()) / 4) << 4) as u8;
        bytes.splice(tcp::LEN..tcp::LEN, options);
    }

    /// A datagram to the node's port: sometimes a message, sometimes nearly one.
    fn wireguard(&mut self) -> Vec<u8> {
        let (kind, len) = self.random.pick(&[(1_u8, 148_usize), (2, 92), (3, 64), (4, 32), (4, 96), (4, 1_372)]);
        let len = if self.random.one_in(3) { len - 1 } else { len };
        let mut bytes = vec![0; 8 + len];
        self.random.fill(&mut bytes);
        bytes[2..4].copy_from_slice(&WIREGUARD_PORT.to_be_bytes());
        bytes[4..6].copy_from_slice(&(8 + len as u16).to_be_bytes());
        bytes[8..12].copy_from_slice(&[kind, 0, 0, 0]);
        if self.random.one_in(6) {
            bytes[8 + self.random.below(4)] = self.random.byte();
        }
        bytes
    }

    /// Up to 40 bytes of IPv4 options (record route, as large as needed), or one to five extension headers.
    fn options(&mut self, v6: bool) -> Vec<u8> {
        if v6 {
            // Pad option of 4 bytes: type 1, length 4.
            return [0, 0, 1, 4, 0, 0, 0, 0].repeat(1 + self.random.below(5));
        }
        let mut bytes = vec![0; 4 * (1 + self.random.below(10))];
        bytes[..3].copy_from_slice(&[7, 3, 4]);
        bytes
    }

    fn error(&mut self, kind: Kind, door: Ingress, src: Ip, dst: Ip, v6: bool) -> (Vec<u8>, Vec<u8>) {
        // The quoted packet went the other way: mostly to the very host that answers, or to one behind a router.
        let (from, _) = self.world.welcome(door);
        let other = self.random.pick(&from);
        let quoted_dst = if self.random.one_in(4) { self.address(other, v6) } else { src };
        let quoted_src = if self.random.one_in(12) { self.address(Place::Elsewhere, v6) } else { dst };
        let src = if self.random.one_in(4) { self.address(Place::Elsewhere, v6) } else { src };
        let quoted_kinds = [
            Kind::Tcp,
            Kind::Udp,
            Kind::UdpWithoutChecksum,
            Kind::Echo,
            Kind::Options,
            Kind::Sctp,
            Kind::LaterFragment,
        ];
        let quoted_kind = self.random.pick(&quoted_kinds);
        let (mut quote, mut rest) = self.packet(quoted_kind, door, quoted_src, quoted_dst, v6);
        // RFC 4443 section 2.4: the error is no longer than the smallest MTU of IPv6.
        let whole = quote.len().min(1_280 - 48);
        let kept = match kind {
            Kind::ErrorCut => self.random.below(whole).min(16 + self.random.below(100)),
            _ => whole,
        };
        rest.splice(..0, quote.split_off(kept));
        let (protocol, head) = if v6 {
            let kinds = [icmp::v6::UNREACHABLE, icmp::v6::TOO_BIG, icmp::v6::TIME_EXCEEDED, 4];
            (protocol::ICMPV6, [self.random.pick(&kinds), 0, 0, 0, 0, 0, 5, 20])
        } else {
            let kinds = [icmp::v4::UNREACHABLE, icmp::v4::TIME_EXCEEDED, icmp::v4::PARAMETER_PROBLEM];
            (protocol::ICMP, [self.random.pick(&kinds), 4, 0, 0, 0, 0, 5, 20])
        };
        let transport = [&head[..], &quote].concat();
        (Packet::new(src, dst, protocol, transport).build(), rest)
    }

    fn garbage(&mut self, src: Ip, dst: Ip) -> Vec<u8> {
        let mut bytes = vec![0; self.random.below(200)];
        self.random.fill(&mut bytes);
        if self.random.one_in(4) {
            return bytes;
        }
        bytes.resize(bytes.len().max(40), 0);
        match (src, dst) {
            (Ip::V4(src), Ip::V4(dst)) => {
                bytes[0] = 0x40 | (bytes[0] & 15);
                bytes[12..16].copy_from_slice(&src);
                bytes[16..20].copy_from_slice(&dst);
            }
            (Ip::V6(src), Ip::V6(dst)) => {
                bytes[0] = 0x60 | (bytes[0] & 15);
                bytes[8..24].copy_from_slice(&src);
                bytes[24..40].copy_from_slice(&dst);
            }
            _ => {}
        }
        // Lengths and protocols that lead somewhere, more often than chance would.
        let len = bytes.len() as u16;
        if bytes[0] >> 4 == 4 {
            bytes[2..4].copy_from_slice(&len.to_be_bytes());
            bytes[9] = self.random.pick(&[1, 6, 17, 58]);
        } else {
            bytes[4..6].copy_from_slice(&(len - 40).to_be_bytes());
            bytes[6] = self.random.pick(&[0, 6, 17, 43, 44, 58, 60]);
        }
        bytes
    }

    fn link(&mut self, v6: bool, kind: Kind) -> Vec<u8> {
        let mut link = [World::MAC, [2, 0, 0, 0, 0, 2]].concat();
        if kind == Kind::Vlan {
            link.extend_from_slice(&ethernet::VLAN);
            link.extend_from_slice(&[0, 7]);
        }
        link.extend_from_slice(if v6 { &ethernet::IPV6 } else { &ethernet::IPV4 });
        link
    }

    /// Changes bytes that a checksum covers and nothing else depends on; false where there are none.
    fn spoil(&mut self, bytes: &mut [u8]) -> bool {
        let flip = 1 + self.random.byte() % 255;
        if bytes[0] >> 4 == 4 && self.random.one_in(2) {
            bytes[4] ^= flip;
            return true;
        }
        let (at, protocol, fragment) = if bytes[0] >> 4 == 4 {
            (usize::from(bytes[0] & 15) * 4, bytes[9], bytes[6] & 0x3f != 0 || bytes[7] != 0)
        } else {
            (40, bytes[6], false)
        };
        let at = match protocol {
            protocol::TCP | protocol::UDP => at,
            protocol::ICMP | protocol::ICMPV6 => at + 4,
            _ => return false,
        };
        if fragment || bytes.len() <= at {
            return false;
        }
        bytes[at] ^= flip;
        true
    }
}
