//! Joins packets of one flow that follow each other into one super-packet for the kernel.
//!
//! The rules are those of the kernel's GRO: what is joined must come out the same when it is cut again. Nothing is
//! copied; a [`Run`] only says which parts of the buffer follow each other.

use std::ops::Range;

use mesh_common::{
    checksum,
    wire::{ipv4, ipv6, tcp, udp},
};

use super::{
    flow::{Protocol, Shape},
    vnet::{Gso, Header, Partial},
};

/// Packets of one super-packet.
pub const MAX_PARTS: usize = 64;

const MAX_LEN: usize = 65_535;
const MAX_HEADERS: usize = ipv6::LEN + 60;

const IDENTIFICATION: Range<usize> = 4..6;
const DONT_FRAGMENT: u8 = 0x40;
const SEQUENCE: Range<usize> = 4..8;
const FLAGS_AT: usize = 13;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
const ECE: u8 = 0x40;

/// A super-packet in the making. The first packet may be rewritten after [`Run::begin`]; the others are compared with
/// what it was.
#[derive(Debug)]
pub struct Run {
    parts: Vec<Range<usize>>,
    /// `None`: the first packet takes no others.
    flow: Option<Flow>,
}

#[derive(Debug)]
struct Flow {
    shape: Shape,
    /// Of the first packet as it came.
    headers: [u8; MAX_HEADERS],
    /// Payload bytes of all but the last packet.
    size: usize,
    /// Bytes of the super-packet.
    len: usize,
    next_sequence: u32,
    next_identification: u16,
    pushed: bool,
    /// No packet may follow.
    closed: bool,
}

impl Default for Run {
    fn default() -> Self {
        Run { parts: Vec::with_capacity(MAX_PARTS), flow: None }
    }
}

impl Run {
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The parts of the super-packet, in order; the first has the headers.
    pub fn parts(&self) -> &[Range<usize>] {
        &self.parts
    }

    /// Starts with the packet at `at`. `joins_udp`: the kernel takes UDP super-packets.
    pub fn begin(&mut self, buffer: &[u8], at: Range<usize>, joins_udp: bool) {
        self.parts.clear();
        self.flow = Flow::of(&buffer[at.clone()]).filter(|flow| joins_udp || flow.shape.protocol == Protocol::Tcp);
        self.parts.push(at);
    }

    /// Takes the packet at `at` as the next one, if it is.
    #[inline]
    pub fn extend(&mut self, buffer: &[u8], at: Range<usize>) -> bool {
        let (Some(flow), Some(first)) = (&mut self.flow, self.parts.first()) else { return false };
        let packet = &buffer[at.clone()];
        if flow.closed || !flow.continues(packet) {
            return false;
        }
        // Both are summed only now, since most packets that nothing follows never have to be.
        if self.parts.len() == 1 && !flow.shape.is_intact(&buffer[first.clone()]) {
            flow.closed = true;
            return false;
        }
        let shape = Shape { len: packet.len(), ..flow.shape };
        if !shape.is_intact(packet) {
            return false;
        }
        flow.take(packet);
        self.parts.push(at.start + shape.payload..at.end);
        flow.closed |= self.parts.len() == MAX_PARTS;
        true
    }

    /// Writes the headers of the super-packet over those of the first packet. The parts stay until the next
    /// [`Run::begin`] or [`Run::clear`].
    pub fn finish(&mut self, buffer: &mut [u8]) -> Header {
        match (&self.flow, self.parts.as_slice()) {
            (Some(flow), [first, _, ..]) => flow.write_headers(&mut buffer[first.clone()]),
            _ => Header::default(),
        }
    }

    pub fn clear(&mut self) {
        self.parts.clear();
        self.flow = None;
    }
}

impl Flow {
    fn of(packet: &[u8]) -> Option<Flow> {
        let shape = Shape::of(packet)?;
        let size = shape.len - shape.payload;
        if size == 0 {
            return None;
        }
        let mut headers = [0; MAX_HEADERS];
        headers.get_mut(..shape.payload)?.copy_from_slice(&packet[..shape.payload]);
        let transport = &headers[shape.transport..];
        let (mut next_sequence, mut pushed) = (0, false);
        if shape.protocol == Protocol::Tcp {
            let flags = transport[FLAGS_AT];
            if flags & !(PSH | ECE) != ACK {
                return None;
            }
            pushed = flags & PSH != 0;
            next_sequence = sequence(transport).wrapping_add(size as u32);
        }
        let next_identification = identification(&headers).wrapping_add(1);
        Some(Flow { shape, headers, size, len: shape.len, next_sequence, next_identification, pushed, closed: pushed })
    }

    /// The packet is the next one of the flow and may be joined.
    fn continues(&self, packet: &[u8]) -> bool {
        let Some(shape) = Shape::of(packet) else { return false };
        let same_shape = Shape { len: shape.len, ..self.shape } == shape;
        let size = shape.len - shape.payload.min(shape.len);
        if !same_shape || size == 0 || size > self.size || self.len + size > MAX_LEN {
            return false;
        }
        self.continues_ip(packet)
            && match shape.protocol {
                Protocol::Tcp => self.continues_tcp(&packet[shape.transport..shape.payload]),
                Protocol::Udp => self.continues_udp(&packet[shape.transport..shape.payload]),
            }
    }

    /// All fields but length and checksum are equal, and an identification that matters counts up.
    fn continues_ip(&self, packet: &[u8]) -> bool {
        let first = &self.headers;
        if !self.shape.is_v4 {
            return first[..ipv6::PAYLOAD_LEN_AT] == packet[..ipv6::PAYLOAD_LEN_AT]
                && first[ipv6::NEXT_HEADER_AT..ipv6::LEN] == packet[ipv6::NEXT_HEADER_AT..ipv6::LEN];
        }
        let counts_up = packet[6] & DONT_FRAGMENT != 0 || identification(packet) == self.next_identification;
        first[..2] == packet[..2]
            && counts_up
            && first[6..ipv4::CHECKSUM_AT] == packet[6..ipv4::CHECKSUM_AT]
            && first[ipv4::SRC_AT..ipv4::LEN] == packet[ipv4::SRC_AT..ipv4::LEN]
    }

    /// Ports, acknowledgement, flags but PSH, window, urgent pointer and options are equal.
    fn continues_tcp(&self, header: &[u8]) -> bool {
        let first = &self.headers[self.shape.transport..self.shape.payload];
        sequence(header) == self.next_sequence
            && first[..SEQUENCE.start] == header[..SEQUENCE.start]
            && first[SEQUENCE.end..FLAGS_AT] == header[SEQUENCE.end..FLAGS_AT]
            && (first[FLAGS_AT] ^ header[FLAGS_AT]) & !PSH == 0
            && first[FLAGS_AT + 1..tcp::CHECKSUM_AT] == header[FLAGS_AT + 1..tcp::CHECKSUM_AT]
            && first[tcp::CHECKSUM_AT + 2..] == header[tcp::CHECKSUM_AT + 2..]
    }

    fn continues_udp(&self, header: &[u8]) -> bool {
        self.headers[self.shape.transport..][..udp::LENGTH_AT] == header[..udp::LENGTH_AT]
    }

    fn take(&mut self, packet: &[u8]) {
        let size = packet.len() - self.shape.payload;
        self.len += size;
        self.next_sequence = self.next_sequence.wrapping_add(size as u32);
        self.next_identification = self.next_identification.wrapping_add(1);
        if self.shape.protocol == Protocol::Tcp {
            self.pushed |= packet[self.shape.transport + FLAGS_AT] & PSH != 0;
        }
        self.closed |= self.pushed || size < self.size;
    }

    fn write_headers(&self, packet: &mut [u8]) -> Header {
        let transport = self.shape.transport;
        let len = self.len - transport;
        if self.shape.is_v4 {
            put(packet, 2, (self.len as u16).to_be_bytes());
            put(packet, ipv4::CHECKSUM_AT, [0, 0]);
            let sum = checksum::finish(checksum::sum(&packet[..transport]));
            put(packet, ipv4::CHECKSUM_AT, sum);
        } else {
            put(packet, ipv6::PAYLOAD_LEN_AT, (len as u16).to_be_bytes());
        }
        let gso = match (self.shape.protocol, self.shape.is_v4) {
            (Protocol::Tcp, true) => Gso::TcpV4,
            (Protocol::Tcp, false) => Gso::TcpV6,
            (Protocol::Udp, _) => Gso::Udp,
        };
        match self.shape.protocol {
            Protocol::Tcp if self.pushed => packet[transport + FLAGS_AT] |= PSH,
            Protocol::Tcp => {}
            Protocol::Udp => put(packet, transport + udp::LENGTH_AT, (len as u16).to_be_bytes()),
        }
        let offset = self.shape.checksum_offset();
        let pseudo = checksum::fold(self.shape.pseudo_header(packet, len));
        put(packet, transport + offset, pseudo.to_ne_bytes());
        Header {
            partial: Some(Partial { start: transport as u16, offset: offset as u16 }),
            gso: Some((gso, self.size as u16)),
            header_len: self.shape.payload as u16,
        }
    }
}

fn sequence(tcp: &[u8]) -> u32 {
    u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]])
}

fn identification(ipv4: &[u8]) -> u16 {
    u16::from_be_bytes([ipv4[IDENTIFICATION.start], ipv4[IDENTIFICATION.start + 1]])
}

fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&value);
}
