//! Every checksum of a packet, summed from scratch by code that shares nothing with the rewrite but the sum itself.

use std::{vec, vec::Vec};

use crate::checksum::{fold, pseudo_header, sum};

/// One checksum as found and as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sum {
    /// Which: "ipv4", "transport", "quoted ipv4", "quoted transport".
    pub of: &'static str,
    pub found: [u8; 2],
    pub computed: [u8; 2],
    /// By how much it is wrong, modulo 0xffff: 0 for a true one.
    pub error: u16,
}

/// The checksums of a packet from its IP header on. `rest` is what the frame lacks of a transport that is a first fragment
/// or quoted in part. A UDP checksum of 0 is none.
pub fn sums(packet: &[u8], rest: &[u8]) -> Vec<Sum> {
    let mut found = vec![];
    let Some(read) = read(packet, "ipv4", &mut found) else { return found };
    let transport = &packet[read.at..read.end];
    let errors = matches!((read.protocol, transport.first()), (1, Some(3 | 4 | 5 | 11 | 12)) | (58, Some(0..=127)));
    if !errors {
        transport_sum(&read, transport, rest, "transport", &mut found);
        return found;
    }
    transport_sum(&read, transport, &[], "transport", &mut found);
    let quote = transport.get(8..).unwrap_or_default();
    if let Some(inner) = self::read(quote, "quoted ipv4", &mut found) {
        transport_sum(&inner, &quote[inner.at..inner.end], rest, "quoted transport", &mut found);
    }
    found
}

/// A packet's IP layer.
struct Read {
    pseudo: u64,
    protocol: u8,
    /// Where the transport is in the packet.
    at: usize,
    end: usize,
}

/// `None` where there is no transport to be summed: a later fragment, or bytes that are no packet.
fn read(packet: &[u8], header: &'static str, found: &mut Vec<Sum>) -> Option<Read> {
    match packet.first()? >> 4 {
        4 => {
            let at = usize::from(packet[0] & 15) * 4;
            let end = usize::from(u16::from_be_bytes([*packet.get(2)?, packet[3]])).min(packet.len());
            push(found, header, 0, packet.get(..at)?, 10, false);
            if u16::from_be_bytes([packet[6], packet[7]]) & 0x1fff != 0 {
                return None;
            }
            let (src, dst) = (packet[12..16].first_chunk::<4>()?, packet[16..20].first_chunk::<4>()?);
            let protocol = packet[9];
            Some(Read { pseudo: pseudo_header(*src, *dst, protocol, 0), protocol, at: at.min(end), end })
        }
        6 => {
            let payload = usize::from(u16::from_be_bytes([*packet.get(4)?, packet[5]]));
            let end = (40 + payload).min(packet.len());
            let (mut protocol, mut at) = (packet[6], 40);
            while matches!(protocol, 0 | 43 | 44 | 60) {
                let extension = packet.get(at..at + 8)?;
                if protocol == 44 {
                    if u16::from_be_bytes([extension[2], extension[3]]) & 0xfff8 != 0 {
                        return None;
                    }
                    at += 8;
                } else {
                    at += usize::from(extension[1]) * 8 + 8;
                }
                protocol = extension[0];
            }
            let (src, dst) = (packet[8..24].first_chunk::<16>()?, packet[24..40].first_chunk::<16>()?);
            Some(Read { pseudo: pseudo_header(*src, *dst, protocol, 0), protocol, at: at.min(end), end })
        }
        _ => None,
    }
}

fn transport_sum(read: &Read, transport: &[u8], rest: &[u8], of: &'static str, found: &mut Vec<Sum>) {
    let whole = [transport, rest].concat();
    let len = u64::from((whole.len() as u32).to_be());
    let (at, pseudo) = match read.protocol {
        6 => (16, read.pseudo + len),
        17 => (6, read.pseudo + len),
        1 => (2, 0),
        58 => (2, read.pseudo + len),
        _ => return,
    };
    // A field that the frame does not hold cannot be kept true.
    if transport.len() >= at + 2 && !(read.protocol == 17 && transport[6..8] == [0, 0]) {
        push(found, of, pseudo, &whole, at, read.protocol == 17);
    }
}

fn push(found: &mut Vec<Sum>, of: &'static str, start: u64, bytes: &[u8], at: usize, udp: bool) {
    let mut bytes = bytes.to_vec();
    let Some(field) = bytes.get(at..at + 2) else { return };
    let field = [field[0], field[1]];
    let error = fold(start + sum(&bytes)) % 0xffff;
    bytes[at..at + 2].fill(0);
    let mut computed = (!fold(start + sum(&bytes))).to_ne_bytes();
    if udp && computed == [0, 0] {
        computed = [0xff, 0xff];
    }
    found.push(Sum { of, found: field, computed, error });
}
