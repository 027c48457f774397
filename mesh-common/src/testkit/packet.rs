//! Builds IP packets byte by byte, with true checksums summed from scratch.

use std::{vec, vec::Vec};

use super::Ip;
use crate::{
    checksum::{finish, pseudo_header, sum},
    wire::{ipv6::extension, protocol},
};

/// A packet to be built. The transport comes with its checksum field zero; [`Packet::build`] fills it.
#[derive(Clone, Debug)]
pub struct Packet {
    pub src: Ip,
    pub dst: Ip,
    pub protocol: u8,
    pub ttl: u8,
    pub dont_fragment: bool,
    /// IPv4 options, or IPv6 extension headers without their next-header byte being right; a multiple of 4 or 8 bytes.
    pub options: Vec<u8>,
    pub transport: Vec<u8>,
    /// UDP: leave the checksum 0, "none".
    pub no_checksum: bool,
}

impl Packet {
    pub fn new(src: Ip, dst: Ip, protocol: u8, transport: Vec<u8>) -> Packet {
        let (ttl, dont_fragment) = (64, false);
        Packet { src, dst, protocol, ttl, dont_fragment, options: vec![], transport, no_checksum: false }
    }

    /// The whole packet from its IP header on.
    pub fn build(&self) -> Vec<u8> {
        let mut transport = self.transport.clone();
        self.seal(&mut transport);
        self.with_header(&transport, None)
    }

    /// The packet as a fragment: the bytes of its transport from `start` (a multiple of 8) to `end`.
    pub fn fragment(&self, start: usize, end: usize) -> Vec<u8> {
        let mut transport = self.transport.clone();
        self.seal(&mut transport);
        let more = end < transport.len();
        self.with_header(&transport[start..end], Some((start, more)))
    }

    /// The transport with its true checksum.
    pub fn sealed_transport(&self) -> Vec<u8> {
        let mut transport = self.transport.clone();
        self.seal(&mut transport);
        transport
    }

    fn seal(&self, transport: &mut [u8]) {
        let len = transport.len() as u32;
        let pseudo = match (self.src, self.dst) {
            (Ip::V4(src), Ip::V4(dst)) => pseudo_header(src, dst, self.protocol, len),
            (Ip::V6(src), Ip::V6(dst)) => pseudo_header(src, dst, self.protocol, len),
            _ => panic!("both addresses of a packet are of one family"),
        };
        let (at, start) = match self.protocol {
            protocol::TCP => (16, pseudo),
            protocol::UDP => (6, pseudo),
            protocol::ICMP => (2, 0),
            protocol::ICMPV6 => (2, pseudo),
            _ => return,
        };
        let Some(field) = transport.get_mut(at..at + 2) else { return };
        field.fill(0);
        if self.no_checksum {
            return;
        }
        let mut checksum = finish(start + sum(transport));
        if self.protocol == protocol::UDP && checksum == [0, 0] {
            checksum = [0xff, 0xff];
        }
        transport[at..at + 2].copy_from_slice(&checksum);
    }

    fn with_header(&self, transport: &[u8], fragment: Option<(usize, bool)>) -> Vec<u8> {
        match (self.src, self.dst) {
            (Ip::V4(src), Ip::V4(dst)) => self.with_ipv4(src, dst, transport, fragment),
            (Ip::V6(src), Ip::V6(dst)) => self.with_ipv6(src, dst, transport, fragment),
            _ => panic!("both addresses of a packet are of one family"),
        }
    }

    fn with_ipv4(&self, src: [u8; 4], dst: [u8; 4], transport: &[u8], fragment: Option<(usize, bool)>) -> Vec<u8> {
        let header_len = 20 + self.options.len();
        let total_len = (header_len + transport.len()) as u16;
        let flags = match fragment {
            Some((start, more)) => (start / 8) as u16 | if more { 0x2000 } else { 0 },
            None if self.dont_fragment => 0x4000,
            None => 0,
        };
        let mut bytes = vec![0x40 | (header_len / 4) as u8, 0];
        bytes.extend_from_slice(&total_len.to_be_bytes());
        bytes.extend_from_slice(&[0x12, 0x34]);
        bytes.extend_from_slice(&flags.to_be_bytes());
        bytes.extend_from_slice(&[self.ttl, self.protocol, 0, 0]);
        bytes.extend_from_slice(&src);
        bytes.extend_from_slice(&dst);
        bytes.extend_from_slice(&self.options);
        let checksum = finish(sum(&bytes));
        bytes[10..12].copy_from_slice(&checksum);
        bytes.extend_from_slice(transport);
        bytes
    }

    fn with_ipv6(&self, src: [u8; 16], dst: [u8; 16], transport: &[u8], fragment: Option<(usize, bool)>) -> Vec<u8> {
        let mut behind = vec![];
        let mut first = self.protocol;
        if let Some((start, more)) = fragment {
            behind.extend_from_slice(&[first, 0]);
            behind.extend_from_slice(&(start as u16 | u16::from(more)).to_be_bytes());
            behind.extend_from_slice(&[0, 0, 0x12, 0x34]);
            first = extension::FRAGMENT;
        }
        // Each extension goes in front of what is there, so that the last one names the transport.
        for (i, eight) in self.options.chunks(8).enumerate() {
            let mut eight = eight.to_vec();
            eight[0] = first;
            eight[1] = 0;
            first = if i % 2 == 0 { extension::DESTINATION } else { extension::HOP_BY_HOP };
            eight.append(&mut behind);
            behind = eight;
        }
        let mut bytes = vec![0x60, 0, 0, 0];
        bytes.extend_from_slice(&((behind.len() + transport.len()) as u16).to_be_bytes());
        bytes.extend_from_slice(&[first, self.ttl]);
        bytes.extend_from_slice(&src);
        bytes.extend_from_slice(&dst);
        bytes.extend_from_slice(&behind);
        bytes.extend_from_slice(transport);
        bytes
    }
}
