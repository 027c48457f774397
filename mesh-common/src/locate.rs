//! How an address is looked up in the tables of [`crate::maps`], whoever stores them.

use crate::maps::{CHUNK_SLOTS, Entry4, Entry6, Prefix6, Role, V6_LENGTHS};

/// The entry of the longest prefix that holds `address`: one read from the top slots and one from each chunk on the way.
///
/// `top` is asked for a slot by the first 16 bits, `chunks` by chunk index * 256 + the next byte.
#[inline(always)]
pub fn locate_v4(
    address: [u8; 4],
    top: impl Fn(u32) -> Option<Entry4>,
    chunks: impl Fn(u32) -> Option<Entry4>,
) -> Option<Entry4> {
    let [a, b, c, d] = address;
    let mut entry = top(u32::from(u16::from_be_bytes([a, b])))?;
    if entry.role.has(Role::CHUNK) {
        entry = chunks(chunk_slot(entry, c))?;
        if entry.role.has(Role::CHUNK) {
            entry = chunks(chunk_slot(entry, d))?;
        }
    }
    (entry.role != Role::NONE).then_some(entry)
}

/// The entry of the longest prefix that holds `address`. `lengths` are those in use, longest first, ended by 0.
#[inline(always)]
pub fn locate_v6(
    address: [u8; 16],
    lengths: [u8; V6_LENGTHS],
    table: impl Fn(&Prefix6) -> Option<Entry6>,
) -> Option<Entry6> {
    for len in lengths {
        if len == 0 {
            return None;
        }
        let entry = table(&prefix_v6(address, len));
        if entry.is_some() {
            return entry;
        }
    }
    None
}

/// The prefix of that length (1 to 128) around an address, as a key.
#[inline(always)]
pub fn prefix_v6(address: [u8; 16], len: u8) -> Prefix6 {
    // Two halves: the BPF target has no 128-bit shift.
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = address;
    let high = u64::from_be_bytes([a, b, c, d, e, f, g, h]) & mask(len);
    let low = u64::from_be_bytes([i, j, k, l, m, n, o, p]) & mask(len.saturating_sub(64));
    let ([a, b, c, d, e, f, g, h], [i, j, k, l, m, n, o, p]) = (high.to_be_bytes(), low.to_be_bytes());
    Prefix6 { network: [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p], len: u32::from(len) }
}

#[inline(always)]
fn chunk_slot(pointer: Entry4, byte: u8) -> u32 {
    u32::from_be_bytes(pointer.to).wrapping_mul(CHUNK_SLOTS as u32).wrapping_add(u32::from(byte))
}

#[inline(always)]
fn mask(bits: u8) -> u64 {
    match bits {
        0 => 0,
        1..=63 => u64::MAX << (64 - bits),
        _ => u64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_of_every_length_keeps_exactly_its_bits() {
        let address = 0xfd12_3456_789a_bcde_ffff_ffff_0123_ffff_u128;
        for len in 1..=128_u8 {
            let expected = address & (u128::MAX << (128 - len));
            let prefix = prefix_v6(address.to_be_bytes(), len);
            assert_eq!((u128::from_be_bytes(prefix.network), prefix.len), (expected, u32::from(len)));
        }
    }

    #[test]
    fn lengths_end_at_zero() {
        let found = locate_v6([0xfd; 16], [64, 0, 48, 0, 0, 0, 0, 0], |key| {
            (key.len == 48).then_some(Entry6 { role: Role::LOCAL, ..Entry6::default() })
        });
        assert_eq!(found, None);
    }
}
