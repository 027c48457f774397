//! How an address is looked up in the tables of [`crate::maps`], whoever stores them.

use crate::maps::{CHUNK_SLOTS, Entry4, Entry6, Prefix6, Role, V6_LENGTHS};

/// The entry of the longest prefix that holds `address`, with no role if there is none: one read from the top slots and one from each chunk on the way.
///
/// `top` is asked for a slot by the first 16 bits, `chunks` by chunk index * 256 + the next byte.
#[inline(always)]
pub fn locate_v4(
    address: [u8; 4],
    top: impl Fn(u32) -> Option<Entry4>,
    chunks: impl Fn(u32) -> Option<Entry4>,
) -> Entry4 {
    let [a, b, c, d] = address;
    let mut entry = top(u32::from(u16::from_be_bytes([a, b]))).unwrap_or_default();
    if entry.role.has(Role::CHUNK) {
        entry = chunks(chunk_slot(entry, c)).unwrap_or_default();
        if entry.role.has(Role::CHUNK) {
            entry = chunks(chunk_slot(entry, d)).unwrap_or_default();
        }
    }
    entry
}

/// The entry of the longest prefix that holds `address`, with no role if there is none. `lengths` are those in use, longest
/// first, ended by 0.
#[inline(always)]
pub fn locate_v6(address: [u8; 16], lengths: [u8; V6_LENGTHS], table: impl Fn(&Prefix6) -> Option<Entry6>) -> Entry6 {
    for len in lengths {
        if len == 0 {
            break;
        }
        if let Some(entry) = table(&prefix_v6(address, len)) {
            return entry;
        }
    }
    Entry6::default()
}

/// The prefix of that length (1 to 128) around an address, as a key.
#[inline(always)]
pub fn prefix_v6(address: [u8; 16], len: u8) -> Prefix6 {
    // Two halves: the BPF target shifts 128 bits by constants only.
    let address = u128::from_be_bytes(address);
    let (high, low) = ((address >> 64) as u64 & mask(len), address as u64 & mask(len.saturating_sub(64)));
    let network = u128::from(high) << 64 | u128::from(low);
    Prefix6 { network: network.to_be_bytes(), len: u32::from(len) }
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
        assert_eq!(found, Entry6::default());
    }
}
