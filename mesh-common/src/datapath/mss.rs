//! How large may the segments of a TCP connection be? Its two SYNs say so, and a tunnel lowers what they say to what fits.
//!
//! Where ICMP is lost on the way, nothing else keeps a connection from hanging at its first full segment.

use crate::{
    frame::{Frame, L4Checksum},
    wire::tcp,
};

/// A header has room for so many options of one byte.
const MAX_OPTIONS: usize = 40;

/// The TCP header at `l4` opens a connection, from either side.
#[inline(always)]
pub fn opens<F: Frame>(frame: &F, l4: usize) -> bool {
    frame.load::<1>(l4 + tcp::FLAGS_AT).is_some_and(|[flags]| flags & tcp::SYN != 0)
}

/// Lowers the maximum segment size (RFC 9293 section 3.7.1) in the options of the TCP header at `l4` to `most`. A header
/// without that option means 536 or 1,220 bytes, which always fit. `None` only if the frame cannot be written.
#[inline(always)]
pub fn clamp<F: Frame>(frame: &mut F, l4: usize, most: u16) -> Option<()> {
    find(frame, l4).map_or(Some(()), |at| lower(frame, l4, at, most))
}

/// The same where it is the first option, as the stacks of all widespread systems have it: a BPF program that may find it
/// anywhere is more than the verifier follows.
#[inline(always)]
pub fn clamp_first<F: Frame>(frame: &mut F, l4: usize, most: u16) -> Option<()> {
    let at = l4 + tcp::LEN;
    // No `match` on what is read: BPF may not look at registers that one of the ways leaves undefined.
    let [offset] = frame.load::<1>(l4 + tcp::DATA_OFFSET_AT).unwrap_or([0]);
    let option = frame.load::<4>(at).unwrap_or([0; 4]);
    let [kind, len, high, low] = option;
    let is_told = offset >= 0x60 && kind == tcp::option::MAX_SEGMENT && len == tcp::option::MAX_SEGMENT_LEN as u8;
    if !is_told || u16::from_be_bytes([high, low]) <= most {
        return Some(());
    }
    let [high, low] = most.to_be_bytes();
    write(frame, l4, at, option, [kind, len, high, low])
}

/// The option at `at`.
#[inline(always)]
fn lower<F: Frame>(frame: &mut F, l4: usize, at: usize, most: u16) -> Option<()> {
    // The checksum is of words of two bytes, and padding may have put the option at an odd place: then its kind is in the
    // word before those that change.
    let is_odd = (at - l4) & 1 != 0;
    let start = if is_odd { at + 1 } else { at };
    // In a first fragment the header may end early.
    let Some(old) = frame.load::<4>(start) else { return Some(()) };
    let [a, b, c, d] = old;
    let said = if is_odd { u16::from_be_bytes([b, c]) } else { u16::from_be_bytes([c, d]) };
    if said <= most {
        return Some(());
    }
    let [high, low] = most.to_be_bytes();
    let new = if is_odd { [a, high, low, d] } else { [a, b, high, low] };
    write(frame, l4, start, old, new)
}

#[inline(always)]
fn write<F: Frame>(frame: &mut F, l4: usize, at: usize, old: [u8; 4], new: [u8; 4]) -> Option<()> {
    let checksum = L4Checksum { at: l4 + tcp::CHECKSUM_AT, pseudo_header: false, zero_is_none: false };
    frame.l4_replace(checksum, old, new)?;
    frame.store(at, new)
}

/// Where the option begins that says the maximum segment size.
#[inline(always)]
fn find<F: Frame>(frame: &F, l4: usize) -> Option<usize> {
    let [offset] = frame.load::<1>(l4 + tcp::DATA_OFFSET_AT)?;
    let end = l4 + tcp::header_len(offset);
    let mut at = l4 + tcp::LEN;
    for _ in 0..MAX_OPTIONS {
        if at + tcp::option::MAX_SEGMENT_LEN > end {
            return None;
        }
        let [kind, len] = frame.load::<2>(at)?;
        match kind {
            tcp::option::END => return None,
            tcp::option::NONE => at += 1,
            tcp::option::MAX_SEGMENT => return (usize::from(len) == tcp::option::MAX_SEGMENT_LEN).then_some(at),
            _ if len < 2 => return None,
            _ => at += usize::from(len),
        }
    }
    None
}

#[cfg(test)]
mod tests;
