//! Cuts a super-packet of the kernel into the packets that it stands for.
//!
//! It is done in place and in order: the headers of a segment are written right before its payload, over the end of the
//! segment before, which has been sealed by then. So each segment is one slice, without a copy.

use mesh_common::{
    checksum,
    datapath::DropReason,
    wire::{ipv4, ipv6, protocol, tcp, udp, version},
};

use super::{
    flow,
    vnet::{Gso, Header, Partial},
};

/// What must follow the packet in the buffer, so that the last segment can be padded.
pub const SLACK: usize = PAD - 1;

/// WireGuard pads to a multiple of this, but not beyond the tunnel's MTU.
const PAD: usize = 16;
/// IP options or extensions and TCP options at their longest that TUN gives us.
const MAX_HEADERS: usize = 256;

const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;
const SEQUENCE_AT: usize = 4;
const FLAGS_AT: usize = 13;
const TOTAL_LEN_AT: usize = 2;
const IDENTIFICATION_AT: usize = 4;

/// The packets of one super-packet, one after the other.
#[derive(Debug)]
pub struct Segments<'a> {
    buffer: &'a mut [u8],
    /// Bytes of the super-packet.
    len: usize,
    cut: Option<Cut>,
    /// Where the payload of the next segment starts; `None`: all were given out.
    next: Option<usize>,
    index: u16,
    /// What the padding of the last segment covered.
    covered: Covered,
}

#[derive(Debug)]
struct Cut {
    is_tcp: bool,
    is_v4: bool,
    size: usize,
    transport: usize,
    headers_len: usize,
    headers: [u8; MAX_HEADERS],
}

#[derive(Clone, Copy, Debug, Default)]
struct Covered {
    at: usize,
    len: usize,
    bytes: [u8; PAD],
}

impl<'a> Segments<'a> {
    /// The packet is the first `len` bytes of `buffer`; [`SLACK`] bytes more let the last segment be padded.
    ///
    /// # Errors
    /// `header` and packet contradict each other.
    pub fn new(header: &Header, buffer: &'a mut [u8], len: usize) -> Result<Segments<'a>, DropReason> {
        let packet = buffer.get_mut(..len).ok_or(DropReason::Truncated)?;
        let cut = match (header.gso, header.partial) {
            (Some((gso, size)), Some(partial)) => Some(Cut::new(packet, gso, size, partial)?),
            // The kernel never leaves a super-packet with a finished checksum.
            (Some(_), None) => return Err(DropReason::Malformed),
            (None, Some(partial)) => {
                finish_checksum(packet, partial)?;
                None
            }
            (None, None) => None,
        };
        let next = Some(cut.as_ref().map_or(0, |cut| cut.headers_len));
        Ok(Segments { buffer, len, cut, next, index: 0, covered: Covered::default() })
    }

    /// How many packets there are.
    pub fn count(&self) -> usize {
        self.cut.as_ref().map_or(1, |cut| (self.len - cut.headers_len).div_ceil(cut.size).max(1))
    }

    /// The next packet, padded with zeros to a multiple of 16 but not beyond `mtu`.
    pub fn next(&mut self, mtu: usize) -> Option<&[u8]> {
        let payload = self.next?;
        let covered = self.covered;
        self.buffer[covered.at..covered.at + covered.len].copy_from_slice(&covered.bytes[..covered.len]);
        let (start, end) = match &self.cut {
            None => (0, self.len),
            Some(cut) => {
                let end = (payload + cut.size).min(self.len);
                let start = payload - cut.headers_len;
                cut.write_headers(&mut self.buffer[start..end], self.index, end == self.len);
                (start, end)
            }
        };
        self.index = self.index.wrapping_add(1);
        self.next = (end < self.len).then_some(end);
        Some(self.pad(start, end, mtu))
    }

    fn pad(&mut self, start: usize, end: usize, mtu: usize) -> &[u8] {
        let len = end - start;
        let padded = len.next_multiple_of(PAD).min(mtu.max(len)).min(self.buffer.len() - start);
        let covered = &mut self.buffer[end..start + padded];
        self.covered = Covered { at: end, len: covered.len(), bytes: [0; PAD] };
        self.covered.bytes[..covered.len()].copy_from_slice(covered);
        covered.fill(0);
        &self.buffer[start..start + padded]
    }
}

impl Cut {
    fn new(packet: &[u8], gso: Gso, size: u16, partial: Partial) -> Result<Cut, DropReason> {
        let is_v4 = match version(*packet.first().ok_or(DropReason::Truncated)?) {
            4 => true,
            6 => false,
            _ => return Err(DropReason::UnknownVersion),
        };
        let transport = usize::from(partial.start);
        let (is_tcp, checksum_at) = match gso {
            Gso::TcpV4 if is_v4 => (true, tcp::CHECKSUM_AT),
            Gso::TcpV6 if !is_v4 => (true, tcp::CHECKSUM_AT),
            Gso::Udp => (false, udp::CHECKSUM_AT),
            Gso::TcpV4 | Gso::TcpV6 => return Err(DropReason::Malformed),
        };
        let ip_len = if is_v4 { ipv4::LEN } else { ipv6::LEN };
        let is_sane = transport >= ip_len
            && usize::from(partial.offset) == checksum_at
            && (!is_v4 || transport == ipv4::header_len(packet[0]));
        if !is_sane {
            return Err(DropReason::Malformed);
        }
        let header_len = if is_tcp {
            let offset = packet.get(transport + tcp::DATA_OFFSET_AT).ok_or(DropReason::Truncated)?;
            tcp::header_len(*offset).max(tcp::LEN)
        } else {
            udp::LEN
        };
        let headers_len = transport + header_len;
        let mut headers = [0; MAX_HEADERS];
        let template = headers.get_mut(..headers_len).ok_or(DropReason::Malformed)?;
        template.copy_from_slice(packet.get(..headers_len).ok_or(DropReason::Truncated)?);
        Ok(Cut { is_tcp, is_v4, size: usize::from(size), transport, headers_len, headers })
    }

    /// Writes the headers of segment `index` in front of its payload.
    fn write_headers(&self, segment: &mut [u8], index: u16, is_last: bool) {
        segment[..self.headers_len].copy_from_slice(&self.headers[..self.headers_len]);
        self.write_ip(segment, index);
        if self.is_tcp {
            self.write_tcp(segment, index, is_last);
        } else {
            let len = (segment.len() - self.transport) as u16;
            put(segment, self.transport + udp::LENGTH_AT, len.to_be_bytes());
        }
        let (number, checksum_at) =
            if self.is_tcp { (protocol::TCP, tcp::CHECKSUM_AT) } else { (protocol::UDP, udp::CHECKSUM_AT) };
        put(segment, self.transport + checksum_at, [0, 0]);
        let pseudo = flow::pseudo_header(segment, self.is_v4, number, segment.len() - self.transport);
        let sum = checksum::finish(pseudo + checksum::sum(&segment[self.transport..]));
        let sum = if !self.is_tcp && sum == [0, 0] { [0xff, 0xff] } else { sum };
        put(segment, self.transport + checksum_at, sum);
    }

    fn write_ip(&self, segment: &mut [u8], index: u16) {
        if !self.is_v4 {
            let len = (segment.len() - ipv6::LEN) as u16;
            put(segment, ipv6::PAYLOAD_LEN_AT, len.to_be_bytes());
            return;
        }
        let len = segment.len() as u16;
        put(segment, TOTAL_LEN_AT, len.to_be_bytes());
        let first = u16::from_be_bytes([segment[IDENTIFICATION_AT], segment[IDENTIFICATION_AT + 1]]);
        put(segment, IDENTIFICATION_AT, first.wrapping_add(index).to_be_bytes());
        put(segment, ipv4::CHECKSUM_AT, [0, 0]);
        let sum = checksum::finish(checksum::sum(&segment[..self.transport]));
        put(segment, ipv4::CHECKSUM_AT, sum);
    }

    fn write_tcp(&self, segment: &mut [u8], index: u16, is_last: bool) {
        let at = self.transport + SEQUENCE_AT;
        let first = u32::from_be_bytes([segment[at], segment[at + 1], segment[at + 2], segment[at + 3]]);
        let sequence = first.wrapping_add(u32::from(index).wrapping_mul(self.size as u32));
        put(segment, at, sequence.to_be_bytes());
        let flags = &mut segment[self.transport + FLAGS_AT];
        if !is_last {
            *flags &= !(FIN | PSH);
        }
        // The receiver is told once that the window was reduced (RFC 3168 section 6.1.2).
        if index > 0 {
            *flags &= !CWR;
        }
    }
}

fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&value);
}

/// Finishes the checksum of a packet that is sent as it is.
fn finish_checksum(packet: &mut [u8], partial: Partial) -> Result<(), DropReason> {
    let start = usize::from(partial.start);
    let at = start + usize::from(partial.offset);
    if at + 2 > packet.len() {
        return Err(DropReason::Malformed);
    }
    let sum = match checksum::finish(checksum::sum(&packet[start..])) {
        // UDP calls a checksum of zero "none" (RFC 768); no other transport minds the other zero.
        [0, 0] => [0xff, 0xff],
        sum => sum,
    };
    put(packet, at, sum);
    Ok(())
}
