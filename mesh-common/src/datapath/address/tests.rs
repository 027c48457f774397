//! Whether a moved address keeps what it must.

use super::*;
use crate::maps::{Entry4, Entry6};

#[test]
fn every_ipv4_prefix_length_keeps_the_host_bits() {
    let (from, to) = (0xc0a8_1234_u32, 0x5a5a_5a5a_u32);
    for len in 0..=32_u8 {
        let entry = Entry4 { to: to.to_be_bytes(), len, ..Entry4::default() };
        let mask = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
        let want = (to & mask) | (from & !mask);
        assert_eq!(from.to_be_bytes().moved_to(&entry), want.to_be_bytes(), "/{len}");
    }
}

#[test]
fn every_ipv6_prefix_length_keeps_the_host_bits() {
    let (from, to) = (0xfd00_1234_5678_9abc_def0_1122_3344_5566_u128, 0x5a5a_u128 * (u128::MAX / 0xffff));
    for len in 0..=128_u8 {
        let entry = Entry6 { to: to.to_be_bytes(), len, ..Entry6::default() };
        let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
        let want = (to & mask) | (from & !mask);
        assert_eq!(from.to_be_bytes().moved_to(&entry), want.to_be_bytes(), "/{len}");
    }
}

#[test]
fn no_reserved_address_is_none() {
    let node = Node { unknown_v4: [10, 70, 0, 1], ..Node::default() };
    assert_eq!(<[u8; 4]>::unknown(&node, false), Some([10, 70, 0, 1]));
    assert_eq!(<[u8; 4]>::unknown(&node, true), None);
    assert_eq!(<[u8; 16]>::gateway(&node, false), None);
}
