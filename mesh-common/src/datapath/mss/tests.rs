//! Every layout of options, and checksums summed from scratch.

use std::{vec, vec::Vec};

use super::*;
use crate::{
    frame::{Checksum, SliceFrame},
    testkit::{Ip, Packet, Random, sums},
    wire::protocol,
};

const L4: usize = 20;

/// An IPv4 packet with these flags and options, which are padded to whole words.
fn packet(flags: u8, options: &[u8], payload: usize) -> Vec<u8> {
    let mut transport = vec![0; 20];
    transport[13] = flags;
    transport.extend_from_slice(options);
    transport.resize(transport.len().next_multiple_of(4), 0);
    transport[12] = ((transport.len() / 4) << 4) as u8;
    transport.resize(transport.len() + payload, 0xab);
    Packet::new(Ip::V4([10, 0, 0, 1]), Ip::V4([10, 0, 0, 2]), protocol::TCP, transport).build()
}

/// The maximum segment size that the packet says after it was lowered; its checksum is true.
fn lowered(options: &[u8], most: u16) -> Option<u16> {
    let mut bytes = packet(tcp::SYN, options, 0);
    let before = bytes.clone();
    clamp(&mut SliceFrame::new(&mut bytes), L4, most).unwrap();
    assert!(sums(&bytes, &[]).iter().all(|sum| sum.found == sum.computed), "{options:?}");
    let at = find(&SliceFrame::new(&mut bytes), L4)?;
    let said = u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]);
    let changed = bytes.iter().zip(&before).enumerate().filter(|(_, (a, b))| a != b).map(|(at, _)| at);
    let allowed = [L4 + 16, L4 + 17, at + 2, at + 3];
    assert!(changed.clone().all(|at| allowed.contains(&at)), "{options:?}: {:?}", changed.collect::<Vec<_>>());
    Some(said)
}

/// LQ-73
#[test]
fn the_segment_size_is_lowered_and_never_raised() {
    assert_eq!(lowered(&[2, 4, 5, 0xb4], 1_300), Some(1_300));
    assert_eq!(lowered(&[2, 4, 5, 0xb4], 1_460), Some(1_460));
    assert_eq!(lowered(&[2, 4, 2, 0x18], 1_300), Some(536));
    // Behind one, two and three bytes of padding, and behind SACK-permitted, window scale and timestamps.
    assert_eq!(lowered(&[1, 2, 4, 5, 0xb4], 1_300), Some(1_300));
    assert_eq!(lowered(&[1, 1, 2, 4, 5, 0xb4], 1_300), Some(1_300));
    assert_eq!(lowered(&[1, 1, 1, 2, 4, 5, 0xb4], 1_300), Some(1_300));
    assert_eq!(lowered(&[4, 2, 3, 3, 7, 2, 4, 5, 0xb4], 1_300), Some(1_300));
    assert_eq!(lowered(&[8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 2, 4, 5, 0xb4], 1_300), Some(1_300));
    // At the very end of the longest header.
    let last: Vec<u8> = [vec![1; 36], vec![2, 4, 5, 0xb4]].concat();
    assert_eq!(lowered(&last, 1_300), Some(1_300));
    let odd: Vec<u8> = [vec![1; 35], vec![2, 4, 5, 0xb4]].concat();
    assert_eq!(lowered(&odd, 1_300), Some(1_300));
}

#[test]
fn what_says_nothing_stays_as_it_is() {
    for options in
        [&[][..], &[1, 1, 1, 1], &[0, 2, 4, 5], &[2, 3, 5, 0xb4], &[9, 0, 2, 4], &[9, 1, 2, 4, 5, 0xb4], &[9, 60]]
    {
        assert_eq!(lowered(options, 1_300), None, "{options:?}");
    }
}

/// Whatever the bytes are, nothing behind the header changes and nothing panics.
#[test]
fn random_options_change_nothing_else() {
    let mut random = Random::new(73);
    let mut found = 0;
    for _ in 0..200_000 {
        let mut options = vec![0; random.below(41)];
        for byte in &mut options {
            *byte = random.pick(&[0, 1, 1, 1, 2, 2, 3, 4, 4, 8, 10, 5, 0xb4]);
        }
        found += u32::from(lowered(&options, 1_300).is_some_and(|said| said == 1_300));
    }
    assert!(found > 1_000, "{found}");
    for len in 0..60 {
        let mut bytes = packet(tcp::SYN, &[1, 1, 1, 2, 4, 5, 0xb4], 8);
        bytes.truncate(len);
        let whole = clamp(&mut SliceFrame::new(&mut bytes), L4, 9);
        assert_eq!(whole, Some(()), "a header that ends too early has no option");
    }
}

#[test]
fn both_syns_open_and_nothing_else_does() {
    let opens = |flags| opens(&SliceFrame::new(&mut packet(flags, &[], 0)), L4);
    assert!(opens(tcp::SYN) && opens(tcp::SYN | tcp::ACK) && opens(0xff));
    assert!(!opens(tcp::ACK) && !opens(0) && !opens(0xfd));
}

/// A checksum that somebody else finishes covers the option when it is made.
#[test]
fn a_partial_checksum_is_left_alone() {
    let mut bytes = packet(tcp::SYN, &[2, 4, 5, 0xb4], 0);
    let sum = [bytes[L4 + 16], bytes[L4 + 17]];
    clamp(&mut SliceFrame::new(&mut bytes).checksum(Checksum::Partial { at: L4 + 16 }), L4, 1_300).unwrap();
    assert_eq!([bytes[L4 + 16], bytes[L4 + 17]], sum);
    assert_eq!(bytes[L4 + 20..L4 + 24], [2, 4, 5, 0x14]);
}

#[test]
fn a_hook_knows_the_first_option_only() {
    let first = |options: &[u8]| {
        let mut bytes = packet(tcp::SYN, options, 4);
        clamp_first(&mut SliceFrame::new(&mut bytes), L4, 1_300).unwrap();
        assert!(sums(&bytes, &[]).iter().all(|sum| sum.found == sum.computed), "{options:?}");
        bytes != packet(tcp::SYN, options, 4)
    };
    assert!(first(&[2, 4, 5, 0xb4]) && first(&[2, 4, 5, 0xb4, 1, 3, 3, 7]));
    assert!(!first(&[2, 4, 4, 0xb4]) && !first(&[1, 2, 4, 5, 0xb4]) && !first(&[]) && !first(&[2, 3, 5, 0xb4]));
}
